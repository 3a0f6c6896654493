"""The crosscoder: one sparse dictionary over several sources; with one source it is a sparse autoencoder.

x̃_s = (x_s - centre_s) · scale_s                                  normalised space
pre = sum_s W_enc[:, s] x̃_s + b_enc                               one matmul over the flattened (source · d_model)
f   = activation(pre, decoder norms)                              sparse, shared by all sources
x̂_s = (sum_j f_j gate_js W_dec[j, s] + b_dec_s) / scale_s + centre_s
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ontogeny.dictionaries.activation_functions import ACTIVATION_FUNCTIONS
from ontogeny.dictionaries.activation_functions.contract import ActivationFunction
from ontogeny.dictionaries.activation_functions.preactivation import KeptTable, Preactivation
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.files import WEIGHTS_FILE, Description, read_dictionary, write_dictionary
from ontogeny.dictionaries.folding import compute_folded
from ontogeny.dictionaries.start import draw_weights, search_norm, set_bias
from ontogeny.dictionaries.step import StepContext, StepOutput, compute_terms
from ontogeny.errors import DictionaryError

__all__ = ["Crosscoder", "StepContext", "StepOutput", "load_dictionary"]


class Crosscoder(nn.Module):
    """One dictionary over `sources_in`, written to `sources_out` (the same ones unless given).

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
        self._kept_table = KeptTable()
        per_source = config.gate == "per_source"
        self.activation = ACTIVATION_FUNCTIONS[config.activation.kind](
            config.activation, self.n_latents, n_out, per_source
        )
        draw_weights(self, None)

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
        # Batches come in their stored dtype with each source's rows together: both are undone in this one pass.
        x = x.to(self.W_enc.dtype, memory_format=torch.contiguous_format)
        return (x - self.centre).mul_(self.scale[:, None])

    def normalise_target(self, y: Float[Tensor, "token source_out d_out"]) -> Float[Tensor, "token source_out d_out"]:
        """Raw activations written, centred and scaled."""
        y = y.to(self.W_dec.dtype, memory_format=torch.contiguous_format)
        return (y - self.centre_out).mul_(self.scale_out[:, None])

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

    # ---- training --------------------------------------------------------------------------------------------------

    def training_step(
        self,
        x: Float[Tensor, "token source_in d_model"],
        context: StepContext | None = None,
        target: Float[Tensor, "token source_out d_out"] | None = None,
    ) -> StepOutput:
        """The weighted loss terms of one batch of raw activations; `target` is what a transcoder writes."""
        context = context or StepContext()
        if self.gate_norms is not None:
            raise DictionaryError("a crosscoder with folded scales cannot be trained; train it before folding.")
        if target is None and self.is_transcoder:
            raise DictionaryError("a transcoder needs the activations it is to write; give target.")
        x = self.normalise(x)
        y = x if target is None else self.normalise_target(target)
        pre = self.preactivation(x, self._kept_table)
        codes = self.activation(pre, context.k)
        error = y - self.decode_normalised(codes, x)
        terms = compute_terms(self, pre, codes, error, y, context)
        return StepOutput(terms, codes.detach(), error.detach(), y, self)

    def loss_terms(
        self, x: Float[Tensor, "token source_in d_model"], target: Float[Tensor, "token source_out d_out"] | None = None
    ) -> dict[str, Tensor]:
        """The weighted terms whose sum is the loss."""
        return self.training_step(x, None, target).terms

    @torch.no_grad()
    def after_step(self, codes: Codes) -> None:
        """Update what is estimated from training batches; call once per training step, never in evaluation."""
        assert self.training, "thresholds are estimated in training only"
        self.activation.after_step(codes, self.shared_norm(codes.norms))

    # ---- start -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(
        self,
        x: Float[Tensor, "token source_in d_model"],
        generator: torch.Generator | None = None,
        target: Float[Tensor, "token source_out d_out"] | None = None,
    ) -> None:
        """Draw the weights, set the bias from a batch of raw activations, search the decoder norm if configured.

        Set the scales first. `target` is what a transcoder writes.
        """
        if target is None and self.is_transcoder:
            raise DictionaryError("a transcoder starts from the activations it is to write; give target.")
        target = x if target is None else target
        draw_weights(self, generator)
        set_bias(self, self.normalise_target(target))
        if self.config.init.norm_search:
            was_training = self.training
            search_norm(self.train(), x, target)
            self.train(was_training)

    # ---- other forms -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fold_scales(self) -> "Crosscoder":
        """The same dictionary on raw activations: scales 1, centres 0, equal codes, gates and reconstructions.

        W_enc ← W_enc s, b_enc ← b_enc - W_enc s·c, W_dec ← W_dec / s, b_dec ← b_dec / s + c. Thresholds stay, and so
        do the norms that the gates compare with them: they are kept in `gate_norms`, in the normalised space.
        """
        config = self.config.model_copy(update={"subtract_b_dec": False})
        folded = Crosscoder(config, self.sources_in, self.sources_out, self.d_model, self.d_out).to(self.W_enc)
        folded.gate_norms = self.decoder_norms().detach().clone()
        folded.load_state_dict(compute_folded(self))
        return folded.train(self.training)

    def save(self, directory: Path) -> None:
        """Write `config.json` and `weights.safetensors`."""
        description = Description(self.config, self.sources_in, self.sources_out, self.d_model, self.d_out)
        write_dictionary(directory, description, self.state_dict())


def load_dictionary(directory: Path | str) -> Crosscoder:
    """The dictionary that `save` wrote, in inference form; DictionaryError if there is none or it is damaged."""
    directory = Path(directory)
    description, tensors = read_dictionary(directory)
    crosscoder = Crosscoder(
        description.config, description.sources_in, description.sources_out, description.d_model, description.d_out
    )
    if "gate_norms" in tensors:
        crosscoder.gate_norms = torch.zeros_like(tensors["gate_norms"])
    expected = {name: tuple(tensor.shape) for name, tensor in crosscoder.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        raise DictionaryError(f"{directory / WEIGHTS_FILE} does not fit its config.json: {', '.join(wrong)} differ.")
    crosscoder.to(tensors["W_enc"].dtype).load_state_dict(tensors)
    return crosscoder.eval()
