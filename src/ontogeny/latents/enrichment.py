"""Which latents are on where tokens of one group are predicted: odds ratios and exact tests, block by block.

A sample of tokens is parted into groups (quanta). For latent l and group q with a of n_q tokens on, and b of the other
n_0 on: lift = (a / n_q) / ((a + b) / N), and the log odds ratio with ½ added to each cell. Tokens of one text are not
independent, so the standard error is over documents: D / (D − 1) Σ_d U_d² with U_d = α a_d + β x_d + γ n_dq + δ n_d
(a: on in q, x: on, n_dq: tokens in q, n_d: tokens). For p a document counts once a group, as on if the latent is on at
half of its tokens there or more: P(A ≥ a) of the hypergeometric distribution over these.
Source: the ½, Haldane 1956; the exact test, Fisher 1935.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.stats import hypergeom

from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.clusters import renumber
from ontogeny.latents.many_tests import adjust_p

ROOM = 1 << 31
"""Positions that a document may have in a key of document and position."""


def find_tokens(
    document: Int[np.ndarray, " token"],
    position: Int[np.ndarray, " token"],
    wanted_document: Int[np.ndarray, " wanted"],
    wanted_position: Int[np.ndarray, " wanted"],
) -> Int[np.ndarray, " wanted"]:
    """The places of tokens among those given, by document and place therein; −1 for one that is not there."""
    keys = document.astype(np.int64) * ROOM + position
    wanted = wanted_document.astype(np.int64) * ROOM + wanted_position
    order = np.argsort(keys, kind="stable")
    if not len(order):
        return np.full(len(wanted), -1)
    place = order[np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)]
    return np.where(keys[place] == wanted, place, -1)


class TokenGroups:
    """A sample of the tokens of a pass in disjoint groups: `tokens` of the pass, ascending, `group` and document."""

    def __init__(
        self,
        tokens: Int[np.ndarray, " sampled"],
        group: Int[np.ndarray, " sampled"],
        document: Int[np.ndarray, " sampled"],
        n_groups: int,
    ) -> None:
        order = np.argsort(tokens, kind="stable")
        assert len(np.unique(tokens)) == len(tokens), "a token is in the sample twice"
        self.tokens, self.group, self.n_groups = tokens[order], group[order], n_groups
        self.document, self.n_documents = renumber(document[order])
        ones = np.ones(len(tokens))
        shape = (self.n_documents, n_groups)
        self.by_document = sparse.csr_array((ones, (self.document, self.group)), shape=shape)
        self.of_document = np.bincount(self.document, minlength=self.n_documents).astype(np.float64)
        self.sizes = np.bincount(self.group, minlength=n_groups)

    @property
    def n_tokens(self) -> int:
        """Tokens of the sample."""
        return len(self.tokens)


@dataclass(frozen=True)
class Enrichment:
    """Pairs of a latent and a group in which it is on at least once; the others have a = 0 and p = 1.

    `n_on`: a; `n_elsewhere`: b; `n_documents`: with a token of the group on which it is on. `q`: share of false ones if
    all pairs up to this one are called, over all `n_tests` pairs of a latent that is on in the sample and a group.
    """

    latent: Int[np.ndarray, " pair"]
    group: Int[np.ndarray, " pair"]
    n_on: Int[np.ndarray, " pair"]
    n_elsewhere: Int[np.ndarray, " pair"]
    n_documents: Int[np.ndarray, " pair"]
    lift: Float[np.ndarray, " pair"]
    log_odds: Float[np.ndarray, " pair"]
    log_odds_se: Float[np.ndarray, " pair"]
    p: Float[np.ndarray, " pair"]
    q: Float[np.ndarray, " pair"]
    n_tests: int

    def take(self, pairs: Int[np.ndarray, " chosen"]) -> "Enrichment":
        """Some of the pairs."""
        columns = {each.name: getattr(self, each.name)[pairs] for each in fields(self)[:-1]}
        return Enrichment(**columns, n_tests=self.n_tests)


def compute_enrichment(blocks: Iterable[LatentBlock], sample: TokenGroups) -> Enrichment:
    """All pairs, latents in blocks; memory goes with the codes that are on in the sample."""
    parts, alive = [], 0
    for block in blocks:
        place = np.searchsorted(sample.tokens, block.tokens)
        place = np.minimum(place, sample.n_tokens - 1)
        on = sample.tokens[place] == block.tokens if sample.n_tokens else np.zeros(len(place), dtype=bool)
        latents = block.latents[on]
        alive += len(np.unique(latents))
        if len(latents):
            parts.append(_enrich(latents, place[on], block, sample))
    none = [np.zeros(0, dtype=np.int64)] * 5 + [np.zeros(0)] * 4
    joined = [np.concatenate(each) for each in zip(*parts)] if parts else none
    n_tests = alive * int((sample.sizes > 0).sum())
    names = [each.name for each in fields(Enrichment)]
    columns = dict(zip(names, [*joined, adjust_p(joined[-1], n_tests)], strict=False))
    return Enrichment(**columns, n_tests=n_tests)


def _enrich(
    latents: Int[np.ndarray, " pair"], place: Int[np.ndarray, " pair"], block: LatentBlock, sample: TokenGroups
) -> list[np.ndarray]:
    """The columns of `Enrichment`, but q, for latents of a block that are on at places of the sample."""
    n, n_groups = sample.n_tokens, sample.n_groups
    key, document_of_key, a_d = _count_runs(latents * n_groups + sample.group[place], sample.document[place])
    pairs, first = np.unique(key, return_index=True)
    of = np.repeat(np.arange(len(pairs)), np.diff(np.append(first, len(key))))
    latent, group = np.divmod(pairs, n_groups)
    of_latent, of_document, x_d = _count_runs(latents, sample.document[place])
    shape = (block.n_latents, sample.n_documents)
    on = sparse.csr_array((x_d.astype(np.float64), (of_latent, of_document)), shape=shape)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, weights=values, minlength=len(pairs))

    crossed = np.asarray((on @ sample.by_document).toarray())[latent, group]
    per_group = sample.by_document
    in_group = np.asarray(per_group[document_of_key, key % n_groups])
    moments = {
        ("a", "a"): total(a_d**2),
        ("a", "x"): total(a_d * np.asarray(on[key // n_groups, document_of_key])),
        ("a", "n"): total(a_d * in_group),
        ("a", "N"): total(a_d * sample.of_document[document_of_key]),
        ("x", "x"): on.multiply(on).sum(axis=1)[latent],
        ("x", "n"): crossed,
        ("x", "N"): (on @ sample.of_document)[latent],
        ("n", "n"): per_group.multiply(per_group).sum(axis=0)[group],
        ("n", "N"): (per_group.T @ sample.of_document)[group],
        ("N", "N"): np.full(len(pairs), np.square(sample.of_document).sum()),
    }
    a, x, n_q = total(a_d), on.sum(axis=1)[latent], sample.sizes[group].astype(np.float64)
    b, n_0 = x - a, n - n_q
    half = (2 * a_d >= in_group).astype(np.float64)
    units = total(half)
    units_on = np.bincount(latent, weights=units, minlength=block.n_latents)[latent]
    p = hypergeom.sf(units - 1, per_group.nnz, units_on, np.diff(per_group.tocsc().indptr)[group])
    inside, outside = (a + 0.5) / (n_q + 1), (b + 0.5) / (n_0 + 1)
    u1 = 1 / (inside * (1 - inside) * (n_q + 1))
    u0 = 1 / (outside * (1 - outside) * (n_0 + 1))
    variance = _square_sum(moments, u1 + u0, -u0, -(u1 * inside + u0 * outside), u0 * outside, sample.n_documents)
    log_odds = np.log(inside / (1 - inside)) - np.log(outside / (1 - outside))
    counts = [latent + block.first, group, a.astype(np.int64), b.astype(np.int64), np.bincount(of)]
    return [*counts, a / n_q / (x / n), log_odds, np.sqrt(variance), np.where(units > 0, p, 1.0)]


def _count_runs(
    key: Int[np.ndarray, " pair"], document: Int[np.ndarray, " pair"]
) -> tuple[Int[np.ndarray, " run"], Int[np.ndarray, " run"], Int[np.ndarray, " run"]]:
    """Distinct (key, document), ascending, and how many pairs each has."""
    room = int(document.max()) + 1
    runs, counts = np.unique(key * room + document, return_counts=True)
    return runs // room, runs % room, counts


def _square_sum(
    moments: dict[tuple[str, str], np.ndarray],
    alpha: np.ndarray,
    beta: np.ndarray,
    gamma: np.ndarray,
    delta: np.ndarray,
    n_documents: int,
) -> Float[np.ndarray, " pair"]:
    """D / (D − 1) Σ_d (α a + β x + γ n + δ N)², from sums of products; NaN with one document."""
    weights = {"a": alpha, "x": beta, "n": gamma, "N": delta}
    found = sum(
        (1 if one == two else 2) * weights[one] * weights[two] * moment for (one, two), moment in moments.items()
    )
    if n_documents < 2:
        return np.full(len(alpha), np.nan)
    return np.asarray(np.maximum(found, 0) * n_documents / (n_documents - 1))
