"""What switches a latent on, read off the codes alone: on which tokens it is on, and how well token, bigram or place
say when."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ontogeny.activations.stream import TokenColumns
from ontogeny.latents.agreement import compute_mcc, compute_mcc_error
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.documents import DocumentRuns, Documents
from ontogeny.tokens.corpus import Corpus

SEEN = 2
"""A bigram seen less often than this in the fold that is learned from is looked up by its second token alone."""


@dataclass(frozen=True)
class Kinds:
    """A way of sorting the tokens of a pass into kinds: the kind of every token, and how many kinds there are."""

    of: Int[np.ndarray, " token"]
    count: int


@dataclass(frozen=True)
class TokenKinds:
    """The kinds by which triggers are told: the token, the bigram it ends, its place in its document.

    `place` [token] is the place itself; `token_ids` [kind] the token of every kind of `token`.
    """

    token: Kinds
    bigram: Kinds
    position: Kinds
    place: Int[np.ndarray, " token"]
    token_ids: Int[np.ndarray, " kind"]


def sort_tokens(columns: TokenColumns, corpus: Corpus) -> TokenKinds:
    """The kinds of a pass's tokens; places in octaves: 0, 1, 2-3, 4-7, ..."""
    token_ids, token = np.unique(columns.token, return_inverse=True)
    before = np.maximum(columns.position - 1, 0)
    same = (columns.position > 0) & (np.asarray(corpus.document)[columns.row, before] == columns.document)
    previous = np.where(same, np.asarray(corpus.tokens)[columns.row, before].astype(np.int64) + 1, 0)
    pairs, bigram = np.unique(previous * len(token_ids) + token, return_inverse=True)
    place = np.maximum(np.asarray(corpus.position)[columns.row, columns.position].astype(np.int64), 0)
    octave = np.floor(np.log2(np.maximum(place, 0) + 1)).astype(np.int64)
    return TokenKinds(
        Kinds(token.astype(np.int64), len(token_ids)),
        Kinds(bigram.astype(np.int64), len(pairs)),
        Kinds(octave, int(octave.max(initial=0)) + 1),
        place,
        token_ids,
    )


@dataclass(frozen=True)
class Variety:
    """On what a latent is on: all [latent], NaN (−1 for `token`) where it is never on.

    `purity`: share of its activation mass on the token that has most of it, with its standard error over documents;
    `entropy`, `context_entropy` in bits, of the mass over tokens and over bigrams; `place`: mean place in the document.
    """

    token: Int[np.ndarray, " latent"]
    n_kinds: Int[np.ndarray, " latent"]
    purity: Float[np.ndarray, " latent"]
    purity_se: Float[np.ndarray, " latent"]
    entropy: Float[np.ndarray, " latent"]
    entropy_se: Float[np.ndarray, " latent"]
    context_entropy: Float[np.ndarray, " latent"]
    place: Float[np.ndarray, " latent"]
    place_se: Float[np.ndarray, " latent"]


def compute_variety(block: LatentBlock, kinds: TokenKinds, documents: Documents) -> Variety:
    """Purity max_t m_t / m, entropy −Σ_t (m_t/m) log2(m_t/m) and mean place, with m_t = Σ of the codes on token t."""
    runs = DocumentRuns.of_block(block, documents)
    cells = _count_cells(block, kinds.token, block.values)
    top, n_kinds, entropy, spread = _describe_mass(cells, block.n_latents)
    on_top = kinds.token.of[block.tokens] == np.where(top >= 0, cells.kinds[np.maximum(top, 0)], -1)[block.latents]
    mass = runs.sums(block.values)
    purity, purity_se = runs.ratio(runs.sums(block.values * on_top), mass)
    place, place_se = runs.ratio(runs.sums(kinds.place[block.tokens]), runs.sums(np.ones(len(block.values))))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy_se = np.sqrt(spread / block.counts)
    token = kinds.token_ids[cells.kinds[np.maximum(top, 0)]] if len(cells.kinds) else np.zeros_like(top)
    return Variety(
        token=np.where(top >= 0, token, -1),
        n_kinds=n_kinds,
        purity=purity,
        purity_se=purity_se,
        entropy=entropy,
        entropy_se=entropy_se,
        context_entropy=_describe_mass(_count_cells(block, kinds.bigram, block.values), block.n_latents)[2],
        place=place,
        place_se=place_se,
    )


@dataclass(frozen=True)
class _Cells:
    """Sums by (latent, kind), in order of latent, then of kind; only cells with a pair."""

    latents: Int[np.ndarray, " cell"]
    kinds: Int[np.ndarray, " cell"]
    sums: Float[np.ndarray, " cell"]


def _count_cells(block: LatentBlock, kinds: Kinds, weights: np.ndarray) -> _Cells:
    cell, inverse = np.unique(block.latents * kinds.count + kinds.of[block.tokens], return_inverse=True)
    latents, which = np.divmod(cell, kinds.count)
    return _Cells(latents, which, np.bincount(inverse, weights=weights, minlength=len(cell)).astype(np.float64))


def _describe_mass(
    cells: _Cells, n_latents: int
) -> tuple[
    Int[np.ndarray, " latent"], Int[np.ndarray, " latent"], Float[np.ndarray, " latent"], Float[np.ndarray, " latent"]
]:
    """(cell with most mass or −1, number of cells, entropy in bits, variance of the surprise) of every latent."""
    total = np.bincount(cells.latents, weights=cells.sums, minlength=n_latents)
    n_cells = np.bincount(cells.latents, minlength=n_latents)
    order = np.lexsort((cells.kinds, -cells.sums, cells.latents))
    top = np.full(n_latents, -1, dtype=np.int64)
    present, firsts = np.unique(cells.latents[order], return_index=True)
    top[present] = order[firsts]
    share = cells.sums / total[cells.latents]
    surprise = -np.log2(np.maximum(share, np.finfo(np.float64).tiny))
    entropy = np.bincount(cells.latents, weights=share * surprise, minlength=n_latents)
    squares = np.bincount(cells.latents, weights=share * surprise**2, minlength=n_latents)
    known = n_cells > 0
    return top, n_cells, np.where(known, entropy, np.nan), np.where(known, np.maximum(squares - entropy**2, 0), np.nan)


@dataclass(frozen=True)
class Explained:
    """How well a table of kinds says when a latent is on: Matthews' correlation on text it was not made from, [latent].

    NaN where the latent is on nowhere in one of the two folds.
    """

    mcc: Float[np.ndarray, " latent"]
    mcc_se: Float[np.ndarray, " latent"]


class KindTables:
    """Predictors of activity that know only the kind of a token, learned on half of the documents, tested on the other.

    Of each latent the kinds are ordered by how often it is on there, (n_jk + p_j) / (N_k + 1), and cut where the
    correlation is largest on the fold learned from: it is said to be on at the kinds above. Both folds take both
    roles, and the counts of both tests are added up before Matthews' correlation is taken.
    """

    def __init__(self, kinds: TokenKinds, documents: Documents) -> None:
        # Neighbouring documents are of one kind of text more often than not: they go to different folds.
        self.fold = documents.of % 2
        self.n_tokens = np.bincount(self.fold, minlength=2)
        self._kinds: dict[str, tuple[Kinds, Kinds]] = {
            "unigram": (kinds.token, kinds.token),
            "bigram": (self._back_off(kinds, 0), self._back_off(kinds, 1)),
            "position": (kinds.position, kinds.position),
        }

    @property
    def names(self) -> tuple[str, ...]:
        """What activity is predicted from."""
        return tuple(self._kinds)

    def _back_off(self, kinds: TokenKinds, learned: int) -> Kinds:
        """Bigrams, and the token alone where its bigram is rare in the fold learned from."""
        seen = np.bincount(kinds.bigram.of[self.fold == learned], minlength=kinds.bigram.count)
        rare = seen[kinds.bigram.of] < SEEN
        return Kinds(
            np.where(rare, kinds.bigram.count + kinds.token.of, kinds.bigram.of), kinds.bigram.count + kinds.token.count
        )

    def explain(self, block: LatentBlock) -> Mapping[str, Explained]:
        """How well each predictor says when the latents of a block are on."""
        found = {}
        for name, by_fold in self._kinds.items():
            counts = sum(self._test(block, by_fold[learned], learned) for learned in (0, 1))
            both = (np.bincount(block.latents, weights=self.fold[block.tokens], minlength=block.n_latents) > 0) & (
                np.bincount(block.latents, weights=1 - self.fold[block.tokens], minlength=block.n_latents) > 0
            )
            tp, fp, fn, tn = np.where(both, counts, np.nan)
            # Nothing predicted, or nothing missed and nothing else: the table says nothing, which is correlation 0.
            mcc = compute_mcc(tp, fp, fn, tn)
            mcc = np.where(both & np.isnan(mcc), 0.0, mcc)
            found[name] = Explained(mcc, compute_mcc_error(tp, fp, fn, tn))
        return found

    def _test(self, block: LatentBlock, kinds: Kinds, learned: int) -> Float[np.ndarray, "4 latent"]:
        """(tp, fp, fn, tn) on the other fold of the table learned on one."""
        first = self.fold[block.tokens] == learned
        totals = [np.bincount(kinds.of[self.fold == fold], minlength=kinds.count) for fold in (learned, 1 - learned)]
        mine = _count_cells(block, kinds, first)
        theirs = _count_cells(block, kinds, ~first).sums
        chosen = _choose_kinds(mine, totals[0], int(self.n_tokens[learned]), block.n_latents)
        tp = np.bincount(mine.latents[chosen], weights=theirs[chosen], minlength=block.n_latents)
        predicted = np.bincount(mine.latents[chosen], weights=totals[1][mine.kinds[chosen]], minlength=block.n_latents)
        positive = np.bincount(mine.latents, weights=theirs, minlength=block.n_latents)
        fp, fn = predicted - tp, positive - tp
        return np.stack([tp, fp, fn, self.n_tokens[1 - learned] - tp - fp - fn])


def _choose_kinds(
    cells: _Cells, totals: Int[np.ndarray, " kind"], n_tokens: int, n_latents: int
) -> Bool[np.ndarray, " cell"]:
    """The cells that a latent's table says yes to: the first ones by rate, as many as make the correlation largest."""
    positive = np.bincount(cells.latents, weights=cells.sums, minlength=n_latents)
    rate = (cells.sums + positive[cells.latents] / max(n_tokens, 1)) / (totals[cells.kinds] + 1.0)
    order = np.lexsort((cells.kinds, -rate, cells.latents))
    latents = cells.latents[order]
    starts = np.searchsorted(latents, np.arange(n_latents))
    tp, predicted = (_running(each[order], latents, starts) for each in (cells.sums, totals[cells.kinds]))
    fp, fn = predicted - tp, positive[latents] - tp
    mcc = np.nan_to_num(compute_mcc(tp, fp, fn, n_tokens - tp - fp - fn), nan=-1.0)
    # A kind on which the latent was never on cannot help.
    mcc = np.where(cells.sums[order] > 0, mcc, -1.0)
    best = np.lexsort((-mcc, latents))[np.minimum(starts, max(len(latents) - 1, 0))] if len(latents) else starts
    chosen = np.zeros(len(latents), dtype=bool)
    chosen[order] = (np.arange(len(latents)) <= best[latents]) & (mcc[best[latents]] > 0)
    return chosen


def _running(values: np.ndarray, latents: np.ndarray, starts: np.ndarray) -> Float[np.ndarray, " cell"]:
    """Running sums that begin anew with every latent."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return total[1:] - total[starts[latents]]
