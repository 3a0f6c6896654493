"""Windows of text round chosen tokens: the tokens, a latent's codes on them, and what each source says by itself."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from ontogeny.activations.plan import StreamPlan
from ontogeny.activations.sharded import OrderedStore
from ontogeny.activations.stream import TokenColumns
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.sources import select_sources, source_positions
from ontogeny.latents.blocks import LatentBlock
from ontogeny.tokens.corpus import Corpus

TILE = 32
"""Windows that begin in one stretch of so many places of a row are multiplied together."""
READ_NUMBERS = 1 << 24
"""Activations read at once: 64 MiB of float32."""


@dataclass(frozen=True)
class PassPlaces:
    """Which token of the pass lies in which cell of the corpus: `tokens[place_of_row, position]`, -1 where none."""

    corpus: Corpus
    columns: TokenColumns
    rows: Int[np.ndarray, " row"]
    tokens: Int[np.ndarray, "row position"]

    @classmethod
    def from_columns(cls, columns: TokenColumns, corpus: Corpus) -> "PassPlaces":
        """The places of a pass over this corpus."""
        rows, place = np.unique(columns.row, return_inverse=True)
        tokens = np.full((len(rows), corpus.context_length), -1, dtype=np.int32)
        tokens[place, columns.position] = np.arange(len(place), dtype=np.int32)
        return cls(corpus, columns, rows, tokens)

    def windows(self, tokens: Int[np.ndarray, " window"], before: int, after: int) -> "Windows":
        """From `before` places before each token to `after` behind, within its row and document."""
        rows, marked = np.asarray(self.columns.row)[tokens], np.asarray(self.columns.position)[tokens]
        places = marked[:, None] + np.arange(-before, after + 1)
        inside = (places >= 0) & (places < self.corpus.context_length)
        places = np.clip(places, 0, self.corpus.context_length - 1)
        documents = self.corpus.document[rows[:, None], places]
        inside &= documents == self.corpus.document[rows, marked][:, None]
        in_pass = self.tokens[np.searchsorted(self.rows, rows)[:, None], places]
        ids = np.asarray(self.corpus.tokens[rows[:, None], places])
        return Windows(rows, marked, places, inside, np.where(inside, in_pass, -1), ids)


@dataclass(frozen=True)
class Windows:
    """Stretches of text round marked cells; `inside` says which places belong to the window.

    `tokens`: tokens of the pass, -1 where a mask leaves the place out of it; `ids`: token ids.
    """

    rows: Int[np.ndarray, " window"]
    marked: Int[np.ndarray, " window"]
    places: Int[np.ndarray, "window place"]
    inside: Bool[np.ndarray, "window place"]
    tokens: Int[np.ndarray, "window place"]
    ids: Int[np.ndarray, "window place"]

    def take(self, chosen: Int[np.ndarray, " chosen"]) -> "Windows":
        """Some of the windows."""
        return Windows(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def at(self) -> Int[np.ndarray, " window"]:
        """Which of the window's own tokens is the marked one."""
        return (self.inside & (self.places < self.marked[:, None])).sum(axis=1)

    def at_marked(self, numbers: Float[np.ndarray, "window place"]) -> Float[np.ndarray, " window"]:
        """What numbers on all places are on the marked ones."""
        column = (self.inside & (self.places == self.marked[:, None])).argmax(axis=1)
        return np.take_along_axis(numbers, column[:, None], axis=1)[:, 0]

    def codes(self, block: LatentBlock, latents: Int[np.ndarray, " window"]) -> Float[np.ndarray, "window place"]:
        """The code of each window's latent (counted from the block's first) on its tokens; 0 where it is not on."""
        n_tokens = int(max(self.tokens.max(initial=0), block.tokens.max(initial=0))) + 1
        keys = block.latents * n_tokens + block.tokens
        wanted = latents[:, None] * n_tokens + self.tokens
        if len(keys) == 0:
            return np.zeros(wanted.shape, dtype=np.float32)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = (keys[found] == wanted) & (self.tokens >= 0)
        return np.where(hit, block.values[found], np.float32(0))


def compute_evidence(
    dictionary: Crosscoder, store: OrderedStore, windows: Windows, latents: Int[np.ndarray, " window"]
) -> Float[np.ndarray, "window source place"]:
    """(W_enc[j, s] · x̃_s) ‖W_dec[j, s]‖ of each window's latent j on its places: what each source says by itself.

    x̃ is normalised. NaN for sources that are written but not read; what stands outside a window means nothing. One
    matmul for all windows that begin in the same stretch of a row, with the encoders of their latents only.
    """
    device = dictionary.W_enc.device
    norms = dictionary.decoder_norms().detach().float().cpu().numpy()
    read = [(dictionary.sources_in.index(name), s) for s, name in enumerate(dictionary.sources_out)
            if name in dictionary.sources_in]  # fmt: skip
    positions = source_positions(store.sources, dictionary.sources_in)
    shape = (len(windows.rows), len(dictionary.sources_out), windows.inside.shape[1])
    out = np.full(shape, np.nan, dtype=np.float32)
    stretch = windows.places[:, 0] // TILE
    order = np.lexsort((stretch, windows.rows))
    rows = np.unique(windows.rows)
    at_once = max(1, READ_NUMBERS // (_cells_of_row(store) * len(store.sources) * store.d_model))
    with torch.no_grad():
        for start in range(0, len(rows), at_once):
            here = rows[start : start + at_once]
            raw = select_sources(store.read(here).flatten(0, 1), positions).to(device)
            x = dictionary.normalise(raw).unflatten(0, (len(here), -1))
            first, last = np.searchsorted(windows.rows[order], [here[0], here[-1] + 1])
            mine = order[first:last]
            new = np.flatnonzero(np.diff(windows.rows[mine]) | np.diff(stretch[mine])) + 1
            for group in np.split(mine, new):
                place = int(np.searchsorted(here, windows.rows[group[0]]))
                made = _evidence_of_group(dictionary, x[place], windows.places[group], latents[group])
                for source_in, source in read:
                    out[group, source] = made[source_in] * norms[latents[group], source, None]
    return out


def _evidence_of_group(
    dictionary: Crosscoder,
    x: Float[torch.Tensor, "position source d_model"],
    places: Int[np.ndarray, "window place"],
    latents: Int[np.ndarray, " window"],
) -> Float[np.ndarray, "source window place"]:
    """W_enc[j, s] · x̃_s for windows of one stretch of one row."""
    low, high = int(places.min()), int(places.max()) + 1
    encoders = dictionary.W_enc[torch.from_numpy(latents).to(x.device)]
    dots = torch.bmm(x[low:high].transpose(0, 1), encoders.permute(1, 2, 0)).float().cpu().numpy()
    found: Float[np.ndarray, "source window place"] = dots[:, places - low, np.arange(len(latents))[:, None]]
    return found


def _cells_of_row(store: OrderedStore) -> int:
    plan = store.index
    assert isinstance(plan, StreamPlan), "an ordered store follows a plan"
    return int(plan.corpus.tokens.shape[1])
