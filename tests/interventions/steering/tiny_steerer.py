"""Tiny random snapshots with a tokenizer on disk, dictionaries over them, and a steerer of both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.steering.config import SteeringRequest
from ontogeny.interventions.steering.steerer import Steerer
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.series import SnapshotSeries, open_series
from ontogeny.tokens.vocabulary import closed_tokenizer
from snapshots.tiny_models import VOCABULARY, WIDTH, build_model

PROMPT = "w5 w9 w2 w17 w30"
N_LATENTS = 24
POINT = "resid_post.1"


def save_series(root: Path, name: str = "gpt_neox", labels: Sequence[str] = ("step0", "step8")) -> SnapshotSeries:
    """Snapshots of a tiny architecture, different random weights, with a tokenizer of words w0, w1, …"""
    tokenizer = closed_tokenizer([f"w{number}" for number in range(VOCABULARY - 2)])
    for seed, label in enumerate(labels):
        torch.manual_seed(seed)
        build_model(name).save_pretrained(root / label)
    # In a folder of its own: beside a model, transformers would take the tokenizer class of the model's type.
    tokenizer.save_pretrained(root / "tokenizer")
    return open_series(SeriesConfig(folders=str(root / "step*"), tokenizer=str(root / "tokenizer")))


def make_dictionary(sources: Sequence[str], **config: Any) -> Crosscoder:
    """A random dictionary whose scales and centres are neither 1 nor 0."""
    torch.manual_seed(3)
    structure = {"n_latents": N_LATENTS, "activation": {"kind": "topk", "k": 6}, **config}
    made = Crosscoder(CrosscoderConfig.model_validate(structure), list(sources), d_model=WIDTH)
    with torch.no_grad():
        for weight in (made.W_enc, made.W_dec, made.b_dec, made.b_enc):
            weight.normal_(std=0.5)
    made.set_scales(torch.rand(len(sources)) + 0.5, torch.randn(len(sources), WIDTH))
    return made.eval()


def make_steerer(series: SnapshotSeries, points: Sequence[str] = (POINT,), **config: Any) -> Steerer:
    """A steerer of a random dictionary over all snapshots."""
    labels = series.labels
    names = labels if len(points) == 1 else [f"{label}:{point}" for label in labels for point in points]
    return Steerer(series, make_dictionary(names, **config), points)


def ask(snapshot: str = "step8", *interventions: dict[str, Any], **rest: Any) -> SteeringRequest:
    """A greedy request of six tokens."""
    sampling = {"temperature": 0, "max_tokens": 6, **rest.pop("sampling", {})}
    values = {"prompt": PROMPT, "snapshot": snapshot, "interventions": list(interventions), "sampling": sampling}
    return SteeringRequest.model_validate({**values, **rest})
