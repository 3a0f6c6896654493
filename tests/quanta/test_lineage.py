"""Births, merges, splits and deaths, and what shuffled labels make of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.quanta.lineage import trace_clusters


def labels_of(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


def events(links: list) -> list[tuple]:
    return [(link.earlier, link.later, link.event) for link in links]


def test_a_merge_a_split_and_what_is_kept() -> None:
    earlier = labels_of(20, 20, 40, 20)
    later = np.concatenate([np.full(40, 0), np.full(20, 1), np.full(20, 2), np.full(20, 3)])
    links = trace_clusters(earlier, later)
    assert events(links) == [(0, 0, "merge"), (1, 0, "merge"), (2, 1, "split"), (2, 2, "split"), (3, 3, "kept")]
    assert links[0].jaccard == 0.5 and links[0].share_of_earlier == 1 and links[0].shared == 20
    assert links[2].share_of_earlier == 0.5 and links[2].share_of_later == 1
    assert all(link.q < 1e-6 for link in links)


def test_a_birth_and_a_death() -> None:
    earlier = labels_of(30, 30, 30)
    # Of the third cluster a third goes everywhere; the new fourth takes some of each.
    later = earlier.copy()
    later[60:] = np.arange(30) % 3
    later[[0, 1, 2, 3, 30, 31, 32, 33, 62, 65, 68]] = 2
    later[later == 2] = 3
    _, later = np.unique(later, return_inverse=True)
    found = {link.event: link for link in trace_clusters(earlier, later)}
    assert found["birth"].earlier is None and found["death"].later is None
    assert found["death"].earlier == 2 and 0 < found["death"].jaccard < 0.5


def test_shuffled_labels_have_few_links() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 20, 600)
    linked = [sum(link.event not in ("birth", "death") for link in trace_clusters(labels, draw.permutation(labels)))
              for _ in range(20)]  # fmt: skip
    assert sum(linked) <= 3


@given(st.lists(st.integers(0, 3), min_size=5, max_size=40))
def test_every_cluster_is_told_of(drawn: list[int]) -> None:
    _, earlier = np.unique(drawn, return_inverse=True)
    _, later = np.unique(drawn[::-1], return_inverse=True)
    links = trace_clusters(earlier, later)
    assert {link.earlier for link in links} - {None} == set(earlier.tolist())
    assert {link.later for link in links} - {None} == set(later.tolist())
    assert all((link.earlier is None) == (link.event == "birth") for link in links)
    assert all((link.later is None) == (link.event == "death") for link in links)
    same = trace_clusters(earlier, earlier)
    assert all(link.q >= 0 for link in same)
