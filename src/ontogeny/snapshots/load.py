"""The only place where transformers loads models, configs and tokenizers; files come through `hub`."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging

from ontogeny.errors import SnapshotError
from ontogeny.snapshots.hub import CONFIG_FILES, PICKLED_WEIGHTS, SAFE_WEIGHTS, download, named, weight_files

DTYPES = ("float32", "bfloat16", "float16")


def load_model(
    model: str,
    revision: str | None = None,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    allow_pickled_weights: bool = False,
) -> nn.Module:
    """A causal language model in evaluation mode, its weights cast to `dtype` whatever they were saved in.

    SnapshotError: no weights that may be read, weights that don't fit the config, float16 on the CPU.
    """
    _check_dtype(device, dtype)
    load_model_config(model, revision)
    folder = _fetch_weights(model, revision, allow_pickled_weights)
    # One bar a snapshot for reading a file would hide the bar over all of them.
    logging.disable_progress_bar()
    loaded, info = _read_weights(folder, getattr(torch, dtype), named(model, revision))
    missing = sorted(info["missing_keys"])
    if missing:
        raise SnapshotError(
            f"{named(model, revision)} lacks {len(missing)} tensors that its config asks for (first: {missing[0]}); "
            "it would run on random weights, so choose another snapshot."
        )
    misshapen = sorted(info["mismatched_keys"])
    if misshapen:
        tensor, stored, asked = misshapen[0]
        raise SnapshotError(
            f"{named(model, revision)} holds {tensor} of shape {list(stored)} where its config asks for {list(asked)}; "
            "fetch config.json and weights of the same snapshot."
        )
    return loaded.to(device).eval()


def _read_weights(folder: Path, dtype: torch.dtype, name: str) -> tuple[Any, dict[str, Any]]:
    """(model, loading info) of a folder; SnapshotError where a file of weights is damaged or not of tensors alone."""
    safe = any(folder.glob(SAFE_WEIGHTS))
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its table of what is missing: the caller says that in one sentence
    try:
        # With loading info the answer is a pair, which the type hints of transformers don't know. Pickles go through
        # torch's restricted unpickler (its `weights_only`), which transformers asks for itself.
        answer: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True if safe else None,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the caller refuses them, in one sentence
        )
    except UnpicklingError as error:
        raise SnapshotError(
            f"the pickled weights of {name} hold something other than tensors or are damaged, and none of it was run: "
            "fetch them again, or convert them to safetensors where you trust them."
        ) from error
    except (SafetensorError, OSError, ValueError) as error:  # the last: a model that predicts no tokens
        reason = str(error).splitlines()[0]
        raise SnapshotError(f"the weights of {name} cannot be read ({reason}): fetch them again.") from error
    finally:
        logging.set_verbosity(verbosity)
    loaded, info = answer
    return loaded, info


def _check_dtype(device: str, dtype: str) -> None:
    if dtype not in DTYPES:
        raise SnapshotError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    if dtype == "float16" and device == "cpu":
        raise SnapshotError(
            "dtype float16 loses too much on the cpu; use float32 there (snapshots saved in float16 load)."
        )


def _fetch_weights(model: str, revision: str | None, allow_pickled_weights: bool) -> Path:
    """The folder with config and weights: safetensors, or by leave of the config the pickled form."""
    folder = download(model, revision, (*CONFIG_FILES, SAFE_WEIGHTS))
    if any(folder.glob(SAFE_WEIGHTS)):
        return folder
    pickled = [file.name for file in weight_files(model, revision)]
    if not pickled:
        raise SnapshotError(f"{named(model, revision)} has no weights ({SAFE_WEIGHTS}); choose another snapshot.")
    if not allow_pickled_weights:
        raise SnapshotError(
            f"{named(model, revision)} has only pickled weights ({pickled[0]}); set series.allow_pickled_weights = "
            "true to read them through the restricted unpickler, or convert them to safetensors."
        )
    return download(model, revision, (*CONFIG_FILES, PICKLED_WEIGHTS))


def load_model_config(model: str, revision: str | None = None) -> PretrainedConfig:
    """A snapshot's model config: where every size comes from."""
    folder = download(model, revision, ("config.json",))
    path = folder / "config.json"
    if not path.is_file():
        raise SnapshotError(f"{named(model, revision)} has no config.json, so it is not a transformers model folder.")
    model_type = _read_settings(path).get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise SnapshotError(
            f"{named(model, revision)} is of type {model_type!r}, which the installed transformers does not know; "
            "upgrade transformers, or wrap the loaded module with HookedModel.wrap."
        )
    try:
        return AutoConfig.from_pretrained(folder)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SnapshotError(f"{path} describes no model that can be built ({reason}); fetch it again.") from error


def _read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of a snapshot; SnapshotError where it is torn."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SnapshotError(f"{path} is damaged: it is no JSON; fetch it again.") from error
    if not isinstance(config, dict):
        raise SnapshotError(f"{path} is no table of settings; fetch it again.")
    return config


def load_tokenizer(model: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer from a hub repository or a folder; SnapshotError where there is none."""
    folder = download(model, revision, CONFIG_FILES)
    if not has_tokenizer(folder):
        raise SnapshotError(
            f"{named(model, revision)} has no tokenizer; name the repository that has it as series.tokenizer."
        )
    return AutoTokenizer.from_pretrained(folder)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer in any of transformers' formats."""
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"))


def load_vocabulary(model: str, revision: str | None = None) -> dict[str, int] | None:
    """The token → id map of a snapshot's own tokenizer, added tokens included; None where it has no tokenizer."""
    folder = download(model, revision, CONFIG_FILES)
    if not has_tokenizer(folder):
        return None
    path = folder / "tokenizer.json"
    if path.is_file():
        if "model" not in _read_settings(path):  # a torn file is said to be torn, in our words
            raise SnapshotError(f"{path} holds no tokenizer; fetch it again.")
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    return dict(load_tokenizer(model, revision).get_vocab())
