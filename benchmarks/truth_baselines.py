"""What the crosscoder is held against on planted rules: single neurons, principal components, an SAE per snapshot.

Each baseline gives units with a value on every token, and how strong each unit is along the snapshots, so that recall
and times of emergence are scored by the very same functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.truth_text import strongest
from ontogeny.activations.memory import MemoryStore
from ontogeny.analyses.rules.matching import Units
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder, load_dictionary
from ontogeny.latents.directions import compute_cosines, compute_turning_points
from ontogeny.latents.many_tests import adjust_p
from ontogeny.progress import Reporter
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.training.config import TrainingConfig
from ontogeny.training.trainer import train

TURNING_LEVEL = 0.05


@dataclass(frozen=True)
class Contender:
    """Units, and the strength [unit snapshot] of each at the snapshots `places` of the series.

    `units` are matched with rules on the probes; `fires`: where the same units fire in the held-out text. `turns`
    [unit]: the place among these at which its direction clearly turns, -1 where it does not or has none.
    """

    units: Units
    fires: Units
    strength: np.ndarray
    places: tuple[int, ...]
    turns: np.ndarray | None = None


def crosscoder(dictionary: Crosscoder, x: Tensor, text: Tensor) -> Contender:
    """A crosscoder's latents; strength: decoder norms, in normalised space. Turns: as the analysis `evolution` has."""
    norms = dictionary.decoder_norms().detach().numpy().astype(np.float64)
    turning = compute_turning_points(compute_cosines(dictionary.W_dec), norms, x.shape[2])
    turns = np.where(adjust_p(turning.p_value) <= TURNING_LEVEL, turning.place, -1)
    return Contender(
        code_units(dictionary, x), code_units(dictionary, text), norms, tuple(range(norms.shape[1])), turns
    )


def code_units(dictionary: Crosscoder, x: Tensor) -> Units:
    """A dictionary's codes on activations [token source d_model]."""
    with torch.no_grad():
        codes = dictionary.encode(x).sparse()
    pairs = (codes.indices.numpy(), codes.tokens.numpy(), codes.values.float().numpy())
    return Units(*pairs, n_units=codes.n_latents, n_tokens=codes.n_tokens)


Cells = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Token ids [row position], and the row and position of each token looked at."""


def neurons(series: SnapshotSeries, probes: Cells, text: Cells) -> list[Contender]:
    """All MLP neurons of the last snapshot and of the middle one; strength: standard deviation over the probes."""
    places = tuple(range(len(series)))
    spread, values = [], {}
    for place in places:
        module = series.open(place).module
        here = _read_neurons(module, probes)
        spread.append(here.std(axis=0))
        if place in (len(series) // 2, len(series) - 1):
            values[place] = (Units.from_dense(here), strongest(_read_neurons(module, text)))
    strength = np.stack(spread, axis=1)
    return [Contender(*both, strength, places) for both in values.values()]


def _read_neurons(module: torch.nn.Module, cells: Cells) -> np.ndarray:
    """Values [token neuron] of all MLP neurons."""
    tokens, row, column = cells
    names = {name: name for name, _ in module.named_modules() if name.endswith("mlp.act")}
    with torch.no_grad():
        read = HookedModel.wrap(module, names).read(torch.from_numpy(tokens.astype(np.int64)), list(names))
    return torch.cat([read[name][row, column] for name in names], dim=1).numpy()


def components(train_x: Tensor, x: Tensor, text: Tensor, n_components: int) -> Contender:
    """Principal components over the concatenated sources, each source at unit mean norm.

    Strength: the norm of the part of a component's loadings that lies in a source, as a decoder norm is.
    """
    scale = train_x.norm(dim=2).mean(dim=0)[None, :, None]
    flat = (train_x / scale).flatten(1)
    centre = flat.mean(dim=0)
    _, vectors = torch.linalg.eigh(torch.cov((flat - centre).T))
    loadings = vectors.flip(1)[:, :n_components]
    values, fires = (((each / scale).flatten(1) - centre) @ loadings for each in (x, text))
    strength = loadings.T.reshape(loadings.shape[1], *train_x.shape[1:]).norm(dim=2)
    units = Units.from_dense(values.numpy()), strongest(fires.numpy())
    return Contender(*units, strength.numpy(), tuple(range(train_x.shape[1])))


def snapshot_saes(
    train_x: Tensor,
    x: Tensor,
    text: Tensor,
    places: Sequence[int],
    config: CrosscoderConfig,
    training: TrainingConfig,
    folder: Path,
) -> list[Contender]:
    """One SAE a snapshot, with the crosscoder's own settings.

    Strength of a latent elsewhere: the largest cosine of its decoder with any of the other SAE's, 0 if negative.
    """
    dictionaries = []
    for place in places:
        out_dir = folder / f"sae{place}"
        stream = MemoryStore.from_tensors(train_x[:, place : place + 1].contiguous(), ["here"])
        train(
            stream,
            Crosscoder(config, ["here"], d_model=x.shape[2]),
            training,
            out_dir,
            reporter=Reporter(Console(quiet=True)),
        )
        dictionaries.append(load_dictionary(out_dir))
    unit = [torch.nn.functional.normalize(each.W_dec.detach()[:, 0], dim=1) for each in dictionaries]
    return [
        Contender(
            code_units(dictionary, x[:, place : place + 1]),
            code_units(dictionary, text[:, place : place + 1]),
            torch.stack([(mine @ other.T).amax(dim=1).clamp(min=0) for other in unit], dim=1).numpy(),
            tuple(places),
        )
        for place, dictionary, mine in zip(places, dictionaries, unit, strict=True)
    ]
