"""What every format needs: a crosscoder from plain tensors, and a crosscoder in the plain form that a file can hold."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.activation_functions.batchtopk import BatchTopK
from ontogeny.dictionaries.activation_functions.jumprelu import JumpReLU
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.interop.folder import Tensors, as_float
from ontogeny.errors import DictionaryFormatError
from ontogeny.workspace import write_bytes, write_json


def build_crosscoder(
    config: CrosscoderConfig,
    sources_in: Sequence[str],
    W_enc: Float[Tensor, "latent source_in d_model"],
    b_enc: Float[Tensor, " latent"],
    W_dec: Float[Tensor, "latent source_out d_out"],
    b_dec: Float[Tensor, "source_out d_out"],
    sources_out: Sequence[str] | None = None,
) -> Crosscoder:
    """A crosscoder with these weights, in inference form, scales 1 and centres 0."""
    crosscoder = Crosscoder(config, sources_in, sources_out, W_enc.shape[2], W_dec.shape[2])
    with torch.no_grad():
        crosscoder.W_enc.copy_(W_enc)
        crosscoder.b_enc.copy_(b_enc)
        crosscoder.W_dec.copy_(W_dec)
        crosscoder.b_dec.copy_(b_dec)
    return crosscoder.eval()


@torch.no_grad()
def set_thresholds(crosscoder: Crosscoder, threshold: Float[Tensor, "..."]) -> None:
    """Set JumpReLU's thresholds [latent] (negative ones act as 0, under its ReLU) or BatchTopK's [1 or source]."""
    activation = crosscoder.activation
    if isinstance(activation, JumpReLU):
        activation.log_threshold.copy_(threshold.clamp_min(0).log())
    else:
        assert isinstance(activation, BatchTopK), "only JumpReLU and BatchTopK have thresholds"
        activation.threshold.copy_(threshold)
        activation.n_updates.fill_(int(bool((threshold >= 0).all())))


def read_normaliser(crosscoder: Crosscoder, tensors: Tensors, reads: Sequence[int] = (0,)) -> None:
    """Set centres and scales from the buffers of dictionary_learning's fork; NaN, or no buffers, means none.

    x̃_s = (x_s - activation_mean_s) · target_rms / sqrt(sum activation_std² + 1e-8), one scale for all sources; the file
    usually holds it as activation_global_scale. reads: positions of the sources read among those written.
    """
    mean, std = tensors.take_optional("activation_mean"), tensors.take_optional("activation_std")
    target_rms, scale = tensors.take_optional("target_rms"), tensors.take_optional("activation_global_scale")
    if mean is None or std is None or bool(std.isnan().any()) or bool(mean.isnan().any()):
        return
    if scale is None:
        scale = (torch.tensor(1.0) if target_rms is None else target_rms) / (std.square().sum() + 1e-8).sqrt()
    mean = mean.reshape(crosscoder.n_sources, crosscoder.d_out)
    crosscoder.set_scales(scale.expand(len(reads)), mean[list(reads)], scale.expand(len(mean)), mean)


def scores_use_norm(crosscoder: Crosscoder) -> bool:
    """Whether latents are chosen by pre-activation times decoder norm, and not by the pre-activation alone."""
    return crosscoder.config.gate == "per_source" or crosscoder.config.norm != "none"


def score_norm(crosscoder: Crosscoder) -> Float[Tensor, " latent"]:
    """The norm n_j with which a dictionary of one gate makes its score pre · n_j."""
    norms = crosscoder.decoder_norms().detach()
    shared = norms[:, 0] if crosscoder.config.gate == "per_source" else crosscoder.shared_norm(norms)
    return torch.ones_like(norms[:, 0]) if shared is None else shared


def inference_threshold(crosscoder: Crosscoder, name: str) -> Float[Tensor, "..."]:
    """The score above which a latent is on: [latent] for JumpReLU, [1 or source] for BatchTopK."""
    activation = crosscoder.activation
    if isinstance(activation, JumpReLU):
        return activation.threshold.detach()
    assert isinstance(activation, BatchTopK), "only JumpReLU and BatchTopK have thresholds"
    if bool((activation.threshold < 0).any()):
        raise DictionaryFormatError(
            f"this BatchTopK dictionary has no inference threshold yet, which {name} needs: train it for a few steps."
        )
    return activation.threshold.detach()


def preactivation_threshold(crosscoder: Crosscoder, name: str) -> Float[Tensor, " latent"]:
    """The pre-activation above which each latent of a one-source dictionary is on: threshold / n_j."""
    return inference_threshold(crosscoder, name) / score_norm(crosscoder)


def own_k(crosscoder: Crosscoder) -> int:
    """k of an activation function that has one."""
    k = getattr(crosscoder.config.activation, "k", None)
    assert k is not None, f"{crosscoder.config.activation.kind} has no k"
    return int(k)


def require_norm_free(crosscoder: Crosscoder, name: str) -> None:
    """Refuse scores that are weighed by unequal decoder norms, for formats that rank by the plain pre-activation."""
    norm = score_norm(crosscoder)
    if not torch.allclose(norm, norm[0].expand_as(norm), rtol=1e-6):
        raise DictionaryFormatError(
            f"{name} ranks latents by their pre-activation, this dictionary by pre-activation times decoder norm: "
            "export it with --unit-decoder (in Python: unit_decoder=True), which moves the norms into the codes (f "
            "becomes f · norm)."
        )


def require_one_source(crosscoder: Crosscoder, name: str) -> None:
    """Refuse what is no ordinary sparse autoencoder."""
    if len(crosscoder.sources_in) != 1 or crosscoder.sources_out != crosscoder.sources_in or crosscoder.is_transcoder:
        raise DictionaryFormatError(
            f"{name} holds one source; this dictionary reads {len(crosscoder.sources_in)} and writes "
            f"{crosscoder.n_sources}: choose a format for crosscoders (dictionary_learning_crosscoder, lm_saes)."
        )
    require_no_skip(crosscoder, name)


def require_no_skip(crosscoder: Crosscoder, name: str) -> None:
    if crosscoder.W_skip is not None:
        raise DictionaryFormatError(f"{name} cannot hold a skip connection; use the format sparsify.")


def require_kind(crosscoder: Crosscoder, name: str, *kinds: str) -> str:
    """The kind of the activation function, refused if it is none of these."""
    kind = crosscoder.config.activation.kind
    if kind not in kinds:
        raise DictionaryFormatError(f"{name} cannot hold the activation function {kind!r}, only {', '.join(kinds)}.")
    return kind


@torch.no_grad()
def fold(crosscoder: Crosscoder) -> Crosscoder:
    """A copy on raw activations (see `Crosscoder.fold_scales`), in float64 so that folding costs no digits."""
    return copy.deepcopy(crosscoder).double().fold_scales()


@torch.no_grad()
def bias_before_subtraction(folded: Crosscoder) -> Float[Tensor, " latent"]:
    """b_enc for a format that encodes x - b_dec: b_enc + W_enc b_dec."""
    return folded.b_enc + folded.W_enc.flatten(1) @ folded.b_dec.flatten()


@torch.no_grad()
def unfold(crosscoder: Crosscoder, name: str) -> Crosscoder:
    """A float64 copy whose gate norms are the norms of its own W_dec, with scales, and no subtracted bias or centre.

    Folded scales are found again as gate norm / ||W_dec[j, s]||, which is one number a source.
    """
    plain = copy.deepcopy(crosscoder).double()
    if plain.gate_norms is not None:
        norms = torch.linalg.vector_norm(plain.W_dec, dim=-1)
        live = norms[:, 0] > 0
        scales = (plain.gate_norms / norms)[live]
        if not torch.allclose(scales, scales[:1].expand_as(scales), rtol=1e-4):
            raise DictionaryFormatError(
                f"{name} derives the gates from W_dec, but this dictionary's gates have norms of their own: "
                "export the dictionary that it was made from."
            )
        scale = scales.median(0).values
        plain.gate_norms = None
        plain.W_enc.div_(scale[:, None])
        plain.W_dec.mul_(scale[:, None])
        plain.b_dec.mul_(scale[:, None])
        plain.scale.copy_(scale)
        plain.scale_out.copy_(scale)
    shift = plain.centre * plain.scale[:, None]
    if plain.config.subtract_b_dec:
        plain.b_enc.sub_(plain.W_enc.flatten(1) @ plain.b_dec.flatten())
        plain.config = plain.config.model_copy(update={"subtract_b_dec": False})
    plain.b_enc.sub_(plain.W_enc.flatten(1) @ shift.flatten())
    plain.b_dec.add_(plain.centre_out * plain.scale_out[:, None])
    plain.centre.zero_()
    plain.centre_out.zero_()
    return plain


@torch.no_grad()
def with_unit_decoder(crosscoder: Crosscoder) -> Crosscoder:
    """An equal dictionary on raw activations whose decoder norms have moved into its codes.

    One source: ||W_dec[j]|| = 1, the codes are f · ||W_dec[j]||. Several behind one gate: the codes are the scores
    f · n_j, so that norm is none. Dictionaries whose scores do not use the norm are returned as they are.
    """
    one_source = crosscoder.n_sources == 1 or crosscoder.config.gate == "per_source"
    if one_source:
        require_one_source(crosscoder, "unit_decoder=True")
    if not scores_use_norm(crosscoder):
        return crosscoder
    folded = fold(crosscoder)
    moved = torch.linalg.vector_norm(folded.W_dec, dim=-1)[:, 0] if one_source else score_norm(crosscoder).double()
    folded.W_enc.mul_(moved[:, None, None])
    folded.b_enc.mul_(moved)
    folded.W_dec.div_(moved.clamp_min(torch.finfo(torch.float64).tiny)[:, None, None])
    if one_source:
        # The score pre · n keeps its value: pre grew by the raw norm, so n shrinks by it.
        folded.gate_norms = crosscoder.decoder_norms().detach().double() / moved[:, None]
    else:
        folded.gate_norms, folded.config = None, folded.config.model_copy(update={"norm": "none"})
    return folded.float().eval()


def write_format(
    dest: Path, weights: str, tensors: Mapping[str, Tensor], configs: Mapping[str, dict[str, Any]]
) -> None:
    """Write one safetensors file and the JSON files beside it, each atomically."""
    dest.mkdir(parents=True, exist_ok=True)
    plain = {key: as_float(tensor) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    write_bytes(dest / weights, safetensors.torch.save(plain))
    for file, config in configs.items():
        write_json(dest / file, config)
