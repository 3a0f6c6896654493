"""The crosscoder of dictionary_learning's fork, as it stands on the hub: config.json and model.safetensors.

x̃_s = (x_s - mean_s) · g with one g = target_rms / sqrt(sum std²) for all sources (NaN std: no normaliser);
f = relu(sum_s x̃_s W_enc^s + b); BatchTopK at inference: f where f · n > threshold. n_j is the code normalisation:
CROSSCODER = sum of the sources' decoder norms, SAE = norm over sources together, MIXED = both, NONE = 1, DECOUPLED = a
gate in each source by its own norm. Old files have the four weights alone and mean CROSSCODER without a normaliser.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ontogeny.dictionaries.config import BatchTopKConfig, CrosscoderConfig, ReLUConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.interop.conversion import (
    build_crosscoder,
    fold,
    inference_threshold,
    own_k,
    read_normaliser,
    require_kind,
    require_no_skip,
    scores_use_norm,
    set_thresholds,
    unfold,
    write_format,
)
from ontogeny.dictionaries.interop.folder import Folder, Tensors
from ontogeny.errors import DictionaryFormatError

NAME = "dictionary_learning_crosscoder"
CONFIG, TRAINER, WEIGHTS = "config.json", "trainer_config.json", "model.safetensors"
NORMALIZATIONS = {"CROSSCODER": 1, "SAE": 2, "MIXED": 3, "NONE": 4, "DECOUPLED": 5}
"""Code normalisation -> `code_normalization_id` in the file."""
NORMS: dict[str, Literal["sum", "frobenius", "mixed", "none"]] = {
    "CROSSCODER": "sum",
    "SAE": "frobenius",
    "MIXED": "mixed",
    "NONE": "none",
    "DECOUPLED": "sum",
}


def recognise(folder: Folder) -> bool:
    """A three-axis encoder.weight [source d_model latent]."""
    return len(folder.shapes.get("encoder.weight", ())) == 3


def load(folder: Folder) -> Crosscoder:
    """A crosscoder of several sources; the training loss (the error's norm) is kept in its configuration too."""
    config = folder.configs.get(CONFIG, {})
    if config.get("latent_processor") is not None:
        raise DictionaryFormatError(f"{folder.path} has a latent_processor, which cannot be held; export it without.")
    tensors = folder.read_tensors()
    W_dec = tensors.take("decoder.weight", None, None, None)
    n_sources, n_latents, d_model = W_dec.shape
    names = _source_names(folder, n_sources)
    reads = list(config.get("encoder_layers") or range(n_sources))
    W_enc = tensors.take("encoder.weight", len(reads), d_model, n_latents)
    b_enc, b_dec = tensors.take("encoder.bias", n_latents), tensors.take("decoder.bias", n_sources, d_model)
    normalization = _read_normalization(config, tensors, folder)
    k, threshold = tensors.take_optional("k"), tensors.take_optional("threshold")
    per_source = normalization == "DECOUPLED"
    crosscoder = build_crosscoder(
        CrosscoderConfig(
            n_latents=n_latents,
            activation=ReLUConfig()
            if k is None
            else BatchTopKConfig(k=int(k), budget="separate" if per_source else "joint"),
            norm=NORMS[normalization],
            norm_mix=(
                float(config.get("code_normalization_alpha_sae", 1.0)),
                float(config.get("code_normalization_alpha_cc", 0.1)),
            ),
            gate="per_source" if per_source else "shared",
            recon="norm",
        ),
        [names[i] for i in reads],
        W_enc.permute(2, 0, 1),
        b_enc,
        W_dec.transpose(0, 1),
        b_dec,
        sources_out=names,
    )
    read_normaliser(crosscoder, tensors, reads)
    tensors.finish()
    if k is not None:
        set_thresholds(crosscoder, torch.tensor([-1.0]) if threshold is None else threshold.reshape(-1))
    return crosscoder


def _source_names(folder: Folder, n_sources: int) -> list[str]:
    """Our own exports name the sources in trainer_config.json; others number them."""
    trainer = folder.configs.get(TRAINER, {}).get("trainer", {})
    names = trainer.get("source_names") if isinstance(trainer, dict) else None
    return [str(name) for name in names or (f"source{i}" for i in range(n_sources))]


def _read_normalization(config: dict[str, Any], tensors: Tensors, folder: Folder) -> str:
    """The code normalisation by the file's id, else by config.json, else CROSSCODER (files from before there were
    others).
    """
    number = tensors.take_optional("code_normalization_id")
    name = str(config.get("code_normalization") or "CROSSCODER").rsplit(".", 1)[-1].upper()
    if number is not None:
        name = next((key for key, value in NORMALIZATIONS.items() if value == int(number)), str(int(number)))
    if name not in NORMALIZATIONS:
        raise DictionaryFormatError(
            f"{folder.path} has the code normalisation {name!r}; {', '.join(NORMALIZATIONS)} can be imported."
        )
    return name


def save(crosscoder: Crosscoder, dest: Path) -> None:
    """Write a relu or batchtopk crosscoder whose sources read and written are the same.

    One scale for all sources goes into the normaliser. Unequal ones are folded into the weights where no norm moves the
    gate (relu, or norm none); other batchtopk crosscoders are refused, since their gates compare norms of scaled space.
    """
    kind = require_kind(crosscoder, NAME, "relu", "batchtopk")
    require_no_skip(crosscoder, NAME)
    if crosscoder.is_transcoder:
        raise DictionaryFormatError(f"{NAME} reads and writes the same sources, which this dictionary does not.")
    plain = unfold(crosscoder, NAME)
    if not torch.allclose(plain.scale, plain.scale[:1].expand_as(plain.scale), rtol=1e-6):
        if kind == "batchtopk" and scores_use_norm(crosscoder):
            cure = (
                "export it as lm_saes"
                if crosscoder.config.gate == "per_source"
                else "export it with --unit-decoder (in Python: unit_decoder=True), which moves norms into the codes"
            )
            raise DictionaryFormatError(
                f"{NAME} has one activation scale for all sources, this dictionary has "
                f"{', '.join(f'{scale:.4g}' for scale in plain.scale.tolist())}, and its gates depend on them: {cure}."
            )
        plain = fold(crosscoder)
    normalization = _name_normalization(crosscoder, kind)
    n_sources, d_model, n_latents = crosscoder.n_sources, crosscoder.d_model, crosscoder.n_latents
    mean, std, target_rms = _describe_scale(plain)
    tensors = {
        "encoder.weight": plain.W_enc.permute(1, 2, 0),
        "encoder.bias": plain.b_enc,
        "decoder.weight": plain.W_dec.transpose(0, 1),
        "decoder.bias": plain.b_dec,
        "code_normalization_id": torch.tensor(NORMALIZATIONS[normalization]),
        "activation_mean": mean,
        "activation_std": std,
        "activation_global_scale": plain.scale[0],
        "target_rms": torch.tensor(target_rms),
    }
    config: dict[str, Any] = {"activation_dim": d_model, "dict_size": n_latents, "num_layers": n_sources}
    config |= {"code_normalization": normalization, "target_rms": target_rms}
    config |= {"activation_mean": None, "activation_std": None, "norm_init_scale": None}
    if kind == "batchtopk":
        threshold = inference_threshold(crosscoder, NAME)
        tensors["k"] = torch.tensor(own_k(crosscoder), dtype=torch.int32)
        tensors["threshold"] = threshold if normalization == "DECOUPLED" else threshold.reshape(())
        config["k"] = own_k(crosscoder)
    else:
        alpha_sae, alpha_cc = crosscoder.config.norm_mix
        config |= {"code_normalization_alpha_sae": alpha_sae, "code_normalization_alpha_cc": alpha_cc}
        config |= {"encoder_layers": None, "latent_processor": None, "num_decoder_layers": None}
        config |= {"init_with_transpose": True, "same_init_for_all_layers": True}
    dict_class = "BatchTopKCrossCoder" if kind == "batchtopk" else "CrossCoder"
    trainer = {"trainer": {"dict_class": dict_class, "source_names": list(crosscoder.sources_in)}}
    write_format(dest, WEIGHTS, tensors, {CONFIG: config, TRAINER: trainer})


def _name_normalization(crosscoder: Crosscoder, kind: str) -> str:
    config = crosscoder.config
    if config.gate == "per_source":
        if getattr(config.activation, "budget", None) == "joint":
            raise DictionaryFormatError(f"{NAME} counts k in each source (budget separate), this dictionary over all.")
        return "DECOUPLED"
    if kind == "batchtopk" and config.norm == "mixed" and config.norm_mix != (1.0, 0.1):
        raise DictionaryFormatError(
            f"{NAME} mixes norms of a batchtopk crosscoder as (1.0, 0.1), not {config.norm_mix}."
        )
    return next(name for name, norm in NORMS.items() if norm == config.norm)


def _describe_scale(plain: Crosscoder) -> tuple[Tensor, Tensor, float]:
    """activation_mean, activation_std and target_rms that give the scale back; NaN where there is none to give."""
    shape = plain.b_dec.shape
    scale = float(plain.scale[0])
    if scale == 1.0:
        return torch.full(shape, torch.nan), torch.full(shape, torch.nan), 1.0
    # Every std alike: g = target_rms / sqrt(sum std²) with target_rms 1 gives std = 1 / (g sqrt(number of entries)).
    return torch.zeros(shape), torch.full(shape, 1 / (scale * plain.b_dec.numel() ** 0.5)), 1.0
