"""A crosscoder's tensors and the maps they make: into the normalised space, to codes, and back.

x̃_s = (x_s - centre_s) · scale_s                                  normalised space
pre = sum_s W_enc[:, s] x̃_s + b_enc                               one matmul over the flattened (source · d_model)
f   = activation(pre, decoder norms)                              sparse, shared by all sources
x̂_s = (sum_j f_j gate_js W_dec[j, s] + b_dec_s) / scale_s + centre_s
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ontogeny.dictionaries.activation_functions import ACTIVATION_FUNCTIONS
from ontogeny.dictionaries.activation_functions.contract import ActivationFunction
from ontogeny.dictionaries.activation_functions.preactivation import KeptTable, Preactivation
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.errors import DictionaryError


class Weights(nn.Module):
    """What `Crosscoder` learns, and how it encodes and decodes; how it starts, is trained and kept stands there.

    Parameters: W_enc [latent source_in d_model], W_dec [latent source_out d_out], b_enc [latent],
    b_dec [source_out d_out], W_skip [source_out·d_out source_in·d_model] if configured. Buffers: centre and scale of
    the sources read and written, and `gate_norms` once the scales are folded. Centres are in activation units.
    Raises DictionaryError for a configuration that cannot be built.
    """

    centre: Tensor
    scale: Tensor
    centre_out: Tensor
    scale_out: Tensor
    gate_norms: Tensor | None
    activation: ActivationFunction

    def __init__(
        self,
        config: CrosscoderConfig,
        sources_in: Sequence[str],
        sources_out: Sequence[str] | None = None,
        d_model: int = 0,
        d_model_out: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.sources_in = tuple(sources_in)
        self.sources_out = tuple(sources_in if sources_out is None else sources_out)
        self.d_model, self.d_out = d_model, d_model if d_model_out is None else d_model_out
        self.n_latents = config.latents_for(d_model)
        self._check()
        n_in, n_out = len(self.sources_in), len(self.sources_out)
        self.W_enc = nn.Parameter(torch.zeros(self.n_latents, n_in, self.d_model))
        self.b_enc = nn.Parameter(torch.zeros(self.n_latents))
        self.W_dec = nn.Parameter(torch.zeros(self.n_latents, n_out, self.d_out))
        self.b_dec = nn.Parameter(torch.zeros(n_out, self.d_out))
        self.W_skip = nn.Parameter(torch.zeros(n_out * self.d_out, n_in * self.d_model)) if config.skip else None
        self.register_buffer("centre", torch.zeros(n_in, self.d_model))
        self.register_buffer("scale", torch.ones(n_in))
        self.register_buffer("centre_out", torch.zeros(n_out, self.d_out))
        self.register_buffer("scale_out", torch.ones(n_out))
        self.register_buffer("gate_norms", None)
        per_source = config.gate == "per_source"
        self.activation = ACTIVATION_FUNCTIONS[config.activation.kind](
            config.activation, self.n_latents, n_out, per_source
        )

    def _check(self) -> None:
        k = getattr(self.config.activation, "k", 0)
        if not self.sources_in or not self.sources_out or self.d_model < 1 or self.d_out < 1:
            raise DictionaryError("a crosscoder needs at least one source to read, one to write, and their width.")
        if k > self.n_latents:
            raise DictionaryError(f"k = {k} is more than the {self.n_latents} latents; lower k or raise n_latents.")
        if self.config.subtract_b_dec and self.is_transcoder:
            raise DictionaryError(
                "subtract_b_dec needs the sources read and written to be the same; set subtract_b_dec = false."
            )

    @property
    def n_sources(self) -> int:
        """Sources written."""
        return len(self.sources_out)

    @property
    def is_transcoder(self) -> bool:
        """Whether the sources read are not the ones written."""
        return self.sources_in != self.sources_out or self.d_model != self.d_out

    # ---- the normalised space --------------------------------------------------------------------------------------

    def normalise(self, x: Float[Tensor, "token source_in d_model"]) -> Float[Tensor, "token source_in d_model"]:
        """Raw activations read, centred and scaled."""
        return (_token_major(x, self.W_enc.dtype) - self.centre).mul_(self.scale[:, None])

    def normalise_target(self, y: Float[Tensor, "token source_out d_out"]) -> Float[Tensor, "token source_out d_out"]:
        """Raw activations written, centred and scaled."""
        return (_token_major(y, self.W_dec.dtype) - self.centre_out).mul_(self.scale_out[:, None])

    def denormalise(self, y: Float[Tensor, "token source_out d_out"]) -> Float[Tensor, "token source_out d_out"]:
        """The inverse of `normalise_target`."""
        return y / self.scale_out[:, None] + self.centre_out

    @property
    def targets_are_inputs(self) -> bool:
        """Whether what is to be written is, normalised, what is read."""
        same = torch.equal(self.centre, self.centre_out) and torch.equal(self.scale, self.scale_out)
        return not self.is_transcoder and same

    @torch.no_grad()
    def set_scales(
        self,
        scale: Float[Tensor, " source_in"],
        centre: Float[Tensor, "source_in d_model"] | None = None,
        scale_out: Float[Tensor, " source_out"] | None = None,
        centre_out: Float[Tensor, "source_out d_out"] | None = None,
    ) -> None:
        """Set the scales (and centres) of the sources read; those written follow unless given (transcoders must)."""
        if self.is_transcoder and scale_out is None:
            raise DictionaryError("a transcoder needs the scales of the sources it writes; give scale_out.")
        self.scale.copy_(scale)
        self.scale_out.copy_(scale if scale_out is None else scale_out)
        if centre is not None:
            self.centre.copy_(centre)
            centre_out = centre if centre_out is None and not self.is_transcoder else centre_out
        if centre_out is not None:
            self.centre_out.copy_(centre_out)

    def decoder_norms(self) -> Float[Tensor, "latent source_out"]:
        """||W_dec[j, s]|| in the normalised space, also after folding."""
        if self.gate_norms is not None:
            return self.gate_norms
        return torch.linalg.vector_norm(self.W_dec, dim=-1)

    def shared_norm(self, norms: Float[Tensor, "latent source_out"]) -> Float[Tensor, " latent"] | None:
        """The one norm per latent that the configuration makes of the norms in the sources; None stands for all 1."""
        if self.config.norm == "none":
            return None
        if self.config.norm == "sum":
            return norms.sum(1)
        frobenius = torch.linalg.vector_norm(norms, dim=1)
        if self.config.norm == "frobenius":
            return frobenius
        frobenius_weight, sum_weight = self.config.norm_mix
        return frobenius_weight * frobenius + sum_weight * norms.sum(1)

    # ---- encode and decode -----------------------------------------------------------------------------------------

    def preactivation(
        self, x: Float[Tensor, "token source_in d_model"], kept_table: KeptTable | None = None
    ) -> Preactivation:
        """The encoder's view of normalised activations."""
        b_enc: Tensor = self.b_enc
        W_enc = self.W_enc.flatten(1)
        if self.config.subtract_b_dec:
            # W (x - b) = W x - W b: the gradient of b_dec is one matrix-vector product, not one matmul.
            b_enc = b_enc - W_enc @ self.b_dec.flatten()
        norms = self.decoder_norms().detach()
        return Preactivation(x.flatten(1), W_enc, b_enc, norms, self.shared_norm(norms), kept_table)

    def encode(self, x: Float[Tensor, "token source_in d_model"]) -> Codes:
        """The codes of raw activations.

        train(): the training form. eval(): the inference form, in which no token depends on the others.
        """
        return self.encode_normalised(self.normalise(x))

    def encode_normalised(self, x: Float[Tensor, "token source_in d_model"]) -> Codes:
        """The codes of normalised activations."""
        codes = self.activation(self.preactivation(x))
        return codes if torch.is_grad_enabled() or codes.is_dense else codes.sparse()

    def decode(
        self, codes: Codes, x: Float[Tensor, "token source_in d_model"] | None = None
    ) -> Float[Tensor, "token source_out d_out"]:
        """The raw reconstruction; with a skip the raw activations read are needed too."""
        return self.denormalise(self.decode_normalised(codes, None if x is None else self.normalise(x)))

    def forward(self, x: Float[Tensor, "token source_in d_model"]) -> Float[Tensor, "token source_out d_out"]:
        """Raw reconstruction of raw activations."""
        return self.decode(self.encode(x), x if self.W_skip is not None else None)

    def decode_normalised(self, codes: Codes, x: Tensor | None) -> Float[Tensor, "token source_out d_out"]:
        """The reconstruction in the normalised space; with a skip the normalised activations read are needed too."""
        out = codes.times(self.W_dec) + self.b_dec
        if self.W_skip is not None:
            if x is None:
                raise DictionaryError("this dictionary has a skip connection; decode needs the activations read too.")
            out = out + nn.functional.linear(x.flatten(1), self.W_skip).unflatten(1, self.b_dec.shape)
        return out


def _token_major(x: Float[Tensor, "token source width"], dtype: torch.dtype) -> Float[Tensor, "token source width"]:
    """Batches come in their stored dtype with each source's rows together: both are undone in one pass."""
    # `to` alone leaves the order of float32 as it is, and flattening the normalised batch would copy it once more.
    return x.to(dtype, memory_format=torch.contiguous_format).contiguous()
