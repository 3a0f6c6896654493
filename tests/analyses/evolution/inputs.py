"""Inputs of an evolution without a run: a dictionary whose lives are planted, and how often its latents fire."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.evolution import EVOLUTION, EvolutionConfig
from ontogeny.analyses.evolution.activity import Activity
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.results import Result, load_result, save_result
from ontogeny.types import HookPoint, Snapshot, Source, source_names

D_MODEL = 12
STEPS = (0, 1, 3, 7, 15, 31, 63, 127, 255, 511)
"""log2(1 + step) is 0, 1, ..., 9."""
LIVES = {
    "initialisation": (1, 0.2, 0.2, 0.3, 0.6, 0.7, 0.7, 0.8, 0.8, 0.8),
    "persistent": (0.9, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    "discontinued": (1, 1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1),
    "emergent": (0, 0, 0, 0, 0.6, 1.2, 1, 1, 1, 1),
    "transient": (0, 0, 1, 1, 1, 1, 0, 0, 0, 0),
    "late-specific": (0, 0, 0, 0, 0, 0, 0, 0, 0, 2),
    "mixed": (0, 1, 0, 0, 0, 0, 0, 1, 0, 0),
    "never": (1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
}
"""Decoder norms of latents 0 to 7 along the series; the last one never fires."""
N_ACTIVE = np.array([100, 100, 100, 100, 100, 100, 100, 3])


def sources(steps: tuple[int | None, ...] = STEPS, points: tuple[str, ...] = ("resid_post.1",)) -> tuple[Source, ...]:
    """Every snapshot at every hook point."""
    return tuple(
        Source(Snapshot("m", step=step, label=f"snapshot{place}"), HookPoint.parse(point))
        for point in points
        for place, step in enumerate(steps)
    )


def planted(of: tuple[Source, ...], norms: np.ndarray, seed: int = 0, turn: int = 5) -> Crosscoder:
    """Decoders of these norms [latent source] that point one way before source `turn` and another way from it on."""
    config = CrosscoderConfig.model_validate({"n_latents": len(norms), "activation": {"kind": "relu"}})
    made = Crosscoder(config, source_names(of), d_model=D_MODEL)
    generator = torch.Generator().manual_seed(seed)
    ways = torch.linalg.qr(torch.randn(len(norms), D_MODEL, 2, generator=generator)).Q
    noise = 0.02 * torch.randn(len(norms), len(of), D_MODEL, generator=generator)
    way = (torch.arange(len(of)) % len(STEPS) >= turn).long()
    units = torch.nn.functional.normalize(ways[:, :, way].mT + noise, dim=-1)
    with torch.no_grad():
        made.W_dec.copy_(units * torch.from_numpy(norms).float()[:, :, None])
    return made.eval()


def opened(folder: Path, dictionary: Crosscoder, of: tuple[Source, ...], **fields: Any) -> AnalysisInputs:
    """What the pipeline would open."""
    nothing: Any = None
    held_out: Any = SimpleNamespace(sources=of)
    return AnalysisInputs(dictionary, nothing, held_out, nothing, None, folder, "cpu", **fields)


def evolution(
    folder: Path,
    dictionary: Crosscoder,
    of: tuple[Source, ...],
    others: dict[str, Crosscoder] | None = None,
    n_active: np.ndarray = N_ACTIVE,
    **config: Any,
) -> Result:
    """The analysis as it comes back from disk."""
    inputs = opened(folder, dictionary, of, accumulated=Activity(n_active), others=others or {})
    save_result(EVOLUTION.run(inputs, EvolutionConfig.model_validate(config)), folder / "result")
    return load_result(folder / "result")
