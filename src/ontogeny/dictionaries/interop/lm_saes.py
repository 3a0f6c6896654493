"""OpenMOSS lm-saes crosscoders (2.0.0b3): config.json and sae_weights.safetensors.

x̃_h = x_h · sqrt(d_model) / (average norm of hook point h); z = sum_h (x̃_h W_E^h + b_E^h); f_h = z where the
activation function keeps z · ||W_D^h||, a gate in each head; x̂_h = (f_h W_D^h + b_D^h) / scale_h. JumpReLU keeps its
thresholds as logarithms. `norm_activation = "inference"` means that nothing is scaled any more.
"""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ontogeny.dictionaries.config import BatchTopKConfig, CrosscoderConfig, JumpReLUConfig, ReLUConfig, TopKConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.interop.conversion import (
    build_crosscoder,
    inference_threshold,
    require_kind,
    require_no_skip,
    set_thresholds,
    unfold,
    write_format,
)
from ontogeny.dictionaries.interop.folder import Folder, Tensors
from ontogeny.errors import DictionaryFormatError

NAME = "lm_saes"
CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"
NORM_KEY = "dataset_average_activation_norm."
THRESHOLD_KEY = "activation_function.log_jumprelu_threshold"

log = logging.getLogger(__name__)


def recognise(folder: Folder) -> bool:
    """A config.json with sae_type, or tensors W_E and W_D."""
    return "sae_type" in folder.configs.get(CONFIG, {}) or {"W_E", "W_D"} <= set(folder.shapes)


def load(folder: Folder) -> Crosscoder:
    """A crosscoder with a gate per source and the scales of `dataset_average_activation_norm`.

    BatchTopK of this project has no threshold for inference (it selects over whatever batch it is given); ours then
    keeps everything positive until training has estimated one, and a warning says so.
    """
    config = folder.read_config(CONFIG, "sae_type", "hook_points", "d_model", "act_fn")
    if config["sae_type"] != "crosscoder":
        found = f"sae_type = {config['sae_type']!r}"
        raise DictionaryFormatError(
            f"{folder.path} has {found}; only lm-saes files of type crosscoder can be imported."
        )
    names = [str(name) for name in config["hook_points"]]
    tensors = folder.read_tensors()
    W_enc = tensors.take("W_E", len(names), int(config["d_model"]), None)
    n_sources, d_model, n_latents = W_enc.shape
    b_enc = tensors.take("b_E", n_sources, n_latents).sum(0)
    W_dec, b_dec = tensors.take("W_D", n_sources, n_latents, d_model), tensors.take("b_D", n_sources, d_model)
    crosscoder = build_crosscoder(
        CrosscoderConfig(
            n_latents=n_latents, activation=_read_activation(config, folder), gate="per_source", aux_k=None
        ),
        names,
        W_enc.permute(2, 0, 1),
        b_enc,
        W_dec.transpose(0, 1),
        b_dec,
    )
    if config["act_fn"] == "jumprelu":
        set_thresholds(crosscoder, tensors.take(THRESHOLD_KEY, n_latents).exp())
    crosscoder.set_scales(_read_scales(config, names, tensors, folder))
    tensors.finish()
    return crosscoder


def _read_activation(
    config: dict[str, Any], folder: Folder
) -> ReLUConfig | JumpReLUConfig | TopKConfig | BatchTopKConfig:
    kind = config.get("act_fn")
    if kind == "relu":
        return ReLUConfig()
    if kind == "jumprelu":
        return JumpReLUConfig(window=float(config.get("jumprelu_threshold_window", 2.0)))
    if kind == "topk":
        return TopKConfig(k=int(config["top_k"]))
    if kind == "batchtopk":
        log.warning("%s: batchtopk without a threshold; train on before relying on the inference form.", folder.path)
        return BatchTopKConfig(k=int(config["top_k"]))
    raise DictionaryFormatError(
        f"{folder.path} has act_fn {kind!r}; relu, jumprelu, topk and batchtopk can be imported."
    )


def _read_scales(config: dict[str, Any], names: list[str], tensors: Tensors, folder: Folder) -> Tensor:
    """sqrt(d_model) / average norm per source, or 1 where the weights are on raw activations already."""
    norms = [tensors.take_optional(NORM_KEY + name) for name in names]
    kind = config.get("norm_activation", "dataset-wise")
    if kind == "inference":
        return torch.ones(len(names))
    if kind != "dataset-wise":
        raise DictionaryFormatError(
            f"{folder.path} normalises activations {kind!r}, by each token or batch, which cannot be held."
        )
    known = [norm for norm in norms if norm is not None]
    if len(known) < len(names):
        raise DictionaryFormatError(f"{folder.path} lacks {NORM_KEY}NAME for one of {', '.join(names)}.")
    return math.sqrt(int(config["d_model"])) / torch.stack(known).reshape(-1)


def save(crosscoder: Crosscoder, dest: Path) -> None:
    """Write a crosscoder with its scales as average norms; batchtopk goes as jumprelu with its threshold.

    Gates are per head in this format: a shared gate is held only where it does not depend on norms (relu) or where
    there is one source.
    """
    kind = require_kind(crosscoder, NAME, "relu", "jumprelu", "topk", "batchtopk")
    require_no_skip(crosscoder, NAME)
    if crosscoder.is_transcoder:
        raise DictionaryFormatError(f"{NAME} reads and writes the same sources, which this dictionary does not.")
    if crosscoder.n_latents % crosscoder.d_model:
        raise DictionaryFormatError(
            f"{NAME} wants a whole multiple of d_model latents; {crosscoder.n_latents} is none of {crosscoder.d_model}."
        )
    if kind != "relu" and crosscoder.config.gate == "shared" and not _one_norm(crosscoder):
        raise DictionaryFormatError(
            f"{NAME} gates each source by its own decoder norm, this dictionary all by one: {_cure(crosscoder)}."
        )
    plain = unfold(crosscoder, NAME)
    n_sources, d_model = crosscoder.n_sources, crosscoder.d_model
    b_enc = torch.zeros(n_sources, crosscoder.n_latents, dtype=plain.b_enc.dtype)
    b_enc[0] = plain.b_enc
    tensors = {
        "W_E": plain.W_enc.permute(1, 2, 0),
        "b_E": b_enc,
        "W_D": plain.W_dec.transpose(0, 1),
        "b_D": plain.b_dec,
    }
    for name, scale in zip(crosscoder.sources_in, plain.scale):
        tensors[NORM_KEY + name] = math.sqrt(d_model) / scale
    if kind in ("jumprelu", "batchtopk"):
        threshold = inference_threshold(crosscoder, NAME)
        if kind == "batchtopk" and not bool((threshold == threshold[0]).all()):
            raise DictionaryFormatError(f"{NAME} has one threshold a latent, this dictionary one a source.")
        per_latent = threshold[:1].expand(crosscoder.n_latents) if kind == "batchtopk" else threshold
        tensors[THRESHOLD_KEY] = per_latent.double().log()
    config: dict[str, Any] = {
        "sae_type": "crosscoder",
        "hook_points": list(crosscoder.sources_in),
        "d_model": d_model,
        "expansion_factor": crosscoder.n_latents // d_model,
        "use_decoder_bias": True,
        "act_fn": "jumprelu" if kind == "batchtopk" else kind,
        "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": True,
        "top_k": getattr(crosscoder.config.activation, "k", 50),
        "jumprelu_threshold_window": getattr(crosscoder.config.activation, "window", 2.0),
    }
    write_format(dest, WEIGHTS, tensors, {CONFIG: config})


def _one_norm(crosscoder: Crosscoder) -> bool:
    """Whether one source's norm is the shared one, up to the choice that the format makes."""
    return crosscoder.n_sources == 1 and crosscoder.config.norm in ("sum", "frobenius")


def _cure(crosscoder: Crosscoder) -> str:
    """Which other format holds a gate that is shared."""
    kind = crosscoder.config.activation.kind
    if crosscoder.n_sources == 1:
        return "export it as saelens"
    if kind == "batchtopk":
        return "export it as dictionary_learning_crosscoder, with --unit-decoder where the sources' scales are unequal"
    return f'no format holds {kind} so; train it with gate = "per_source"'
