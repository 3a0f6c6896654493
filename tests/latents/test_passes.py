"""The pass: every kept token once and in corpus order, in parts, from a cache, and through a kill."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from latents.small import CountAndSum, corpus, dictionary, store
from ontogeny.activations.memory import MemoryStore
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import StoreError
from ontogeny.latents.batch import LatentBatch
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass
from paths import REPOSITORY


class Batches(CountAndSum):
    """Keeps the batches themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[LatentBatch] = []

    def update(self, batch: LatentBatch) -> None:
        super().update(batch)
        self.batches.append(batch)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[LatentBatch]:
    seen = Batches()
    run_pass(dictionary(), store(tmp_path_factory.mktemp("store")), {"seen": seen}, batch_size=11)
    return seen.batches


def same(left: CountAndSum, right: CountAndSum) -> bool:
    return all(torch.equal(mine, right.state()[name]) for name, mine in left.state().items() if name != "firsts")


def test_every_kept_token_once_and_in_corpus_order(tmp_path: Path) -> None:
    seen, text = Batches(), corpus()
    n_tokens = run_pass(dictionary(), store(tmp_path), {"seen": seen}, batch_size=16)
    places = [(int(r), int(p)) for b in seen.batches for r, p in zip(b.columns.row, b.columns.position)]
    assert places == [tuple(cell) for cell in np.argwhere(np.asarray(text.keep)).tolist()]
    assert n_tokens == len(places) == sum(batch.n_tokens for batch in seen.batches)
    assert [b.first for b in seen.batches] == np.cumsum([0, *(b.n_tokens for b in seen.batches)])[:-1].tolist()


@pytest.mark.parametrize("max_tokens", [1, 50, 131])
def test_a_pass_may_be_cut_short(tmp_path: Path, max_tokens: int) -> None:
    seen, whole = Batches(), Batches()
    assert run_pass(dictionary(), store(tmp_path), {"seen": seen}, batch_size=16, max_tokens=max_tokens) == max_tokens
    run_pass(dictionary(), store(tmp_path), {"whole": whole}, batch_size=16)
    rows = torch.cat([batch.codes.dense() for batch in seen.batches])
    torch.testing.assert_close(rows, torch.cat([batch.codes.dense() for batch in whole.batches])[:max_tokens])


def test_activations_and_reconstruction_are_in_the_normalised_space(tmp_path: Path) -> None:
    made, seen = dictionary("topk", "per_source"), Batches()
    held_out = store(tmp_path)
    run_pass(made, held_out, {"seen": seen}, batch_size=10**6)
    kept = np.flatnonzero(np.concatenate(held_out.summary.keep))
    raw = held_out.read_rows(kept)[: seen.batches[0].n_tokens]
    batch = seen.batches[0]
    torch.testing.assert_close(batch.x, (raw - made.centre_out) * made.scale_out[:, None])
    with torch.no_grad():
        torch.testing.assert_close(made.denormalise(batch.recon), made.decode(made.encode(raw)))


def test_a_skip_connection_is_part_of_the_reconstruction() -> None:
    names = ("a", "b")
    made = Crosscoder(CrosscoderConfig.model_validate({"n_latents": 40, "skip": True}), names, d_model=4)
    raw, seen = torch.randn(30, 2, 4), Batches()
    with torch.no_grad():
        assert made.W_skip is not None
        made.W_skip.copy_(torch.randn_like(made.W_skip))
    seen.activation = torch.zeros(2, 4, dtype=torch.float64)
    run_pass(made, MemoryStore.from_tensors(raw, names), {"seen": seen}, batch_size=30)
    with torch.no_grad():
        expected = made.decode(made.encode(raw), raw)
        torch.testing.assert_close(made.denormalise(seen.batches[0].recon), expected)


def test_pairs_are_sorted_by_latent_and_then_by_token(tmp_path: Path) -> None:
    seen = Batches()
    run_pass(dictionary(), store(tmp_path), {"seen": seen}, batch_size=40)
    for batch in seen.batches:
        order = batch.by_latent
        indices, tokens = batch.codes.indices[order.pairs], batch.codes.tokens[order.pairs]
        keys = indices * batch.n_tokens + tokens
        assert bool((keys[1:] > keys[:-1]).all())
        for place, latent in enumerate(order.latents):
            assert bool((indices[order.pointer[place] : order.pointer[place + 1]] == latent).all())


@pytest.mark.parametrize("n_parts", [2, 3, 9])
def test_parts_merged_in_order_are_the_whole(tmp_path: Path, n_parts: int) -> None:
    whole, merged = CountAndSum(), CountAndSum()
    n_tokens = run_pass(dictionary(), store(tmp_path), {"all": whole}, batch_size=16)
    total = 0
    for index in range(n_parts):
        part = CountAndSum()
        total += run_pass(dictionary(), store(tmp_path), {"all": part}, batch_size=16, part=(index, n_parts))
        sent = CountAndSum()  # as it would come from another process: through a file
        sent.load_state(load(save(part.state())))
        merged.merge(sent)
    assert total == n_tokens and merged.firsts == whole.firsts
    assert torch.equal(merged.counts, whole.counts)
    torch.testing.assert_close(merged.sums, whole.sums, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(merged.activation, whole.activation, rtol=1e-13, atol=1e-13)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 20), max_size=6))
def test_any_split_into_parts_merges_to_the_whole(batches: list[LatentBatch], cuts: list[int]) -> None:
    whole, merged = CountAndSum(), CountAndSum()
    for batch in batches:
        whole.update(batch)
    bounds = sorted(min(cut, len(batches)) for cut in (0, *cuts, len(batches)))
    for start, stop in itertools.pairwise(bounds):
        part = CountAndSum()
        for batch in batches[start:stop]:
            part.update(batch)
        merged.merge(part)
    assert torch.equal(merged.counts, whole.counts) and merged.firsts == whole.firsts
    torch.testing.assert_close(merged.sums, whole.sums, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(merged.activation, whole.activation, rtol=1e-13, atol=1e-13)


def test_a_cache_stands_in_for_the_encoder(tmp_path: Path) -> None:
    made, writer = dictionary("jumprelu", "per_source"), None
    encoded, cached = CountAndSum(), CountAndSum()
    writer = CodeCacheWriter(tmp_path / "codes", made, "d1")
    run_pass(made, store(tmp_path), {"all": encoded}, batch_size=16, cache=writer)
    found = writer.finish()
    run_pass(made, store(tmp_path), {"all": cached}, batch_size=16, codes=found)
    assert same(encoded, cached) and encoded.firsts == cached.firsts
    with pytest.raises(StoreError, match="set codes"):
        short = CodeCacheWriter(tmp_path / "short", made, "d1")
        run_pass(made, store(tmp_path), {}, max_tokens=30, cache=short)
        run_pass(made, store(tmp_path), {}, codes=short.finish())


KILLED = """
import os, signal, sys
from pathlib import Path
from latents.small import CountAndSum, dictionary, store
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.latents.passes import run_pass

root, made, rider = Path(sys.argv[1]), dictionary("topk", "per_source"), CountAndSum()
cache = CodeCacheWriter(root / "codes", made, "d1")
def kill(n_tokens):
    if n_tokens > int(sys.argv[2]):
        for file in cache.files.values():
            file.file.flush()  # what is behind the saved place may lie on disk too
        os.kill(os.getpid(), signal.SIGKILL)
run_pass(made, store(root / "store"), {"all": rider}, batch_size=16, cache=cache, scratch=root / "scratch",
         save_seconds=0.0, on_batch=kill)
"""


@pytest.mark.parametrize("after", [1, 60, 150])
def test_a_killed_pass_goes_on_to_the_same_bits(tmp_path: Path, after: int) -> None:
    made, whole, resumed = dictionary("topk", "per_source"), CountAndSum(), CountAndSum()
    writer = CodeCacheWriter(tmp_path / "whole", made, "d1")
    n_tokens = run_pass(made, store(tmp_path / "store"), {"all": whole}, batch_size=16, cache=writer)
    expected = writer.finish()
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'tests'}:{REPOSITORY / 'src'}"}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(after)], env=environment)
    assert killed.returncode == -signal.SIGKILL
    begun: list[int] = []
    writer = CodeCacheWriter(tmp_path / "codes", made, "d1")
    done = run_pass(
        made,
        store(tmp_path / "store"),
        {"all": resumed},
        batch_size=16,
        cache=writer,
        scratch=tmp_path / "scratch",
        on_batch=begun.append,
    )
    assert done == n_tokens and begun[0] > (0 if after == 1 else after - 16)
    assert same(whole, resumed) and whole.firsts == resumed.firsts
    found = writer.finish()
    for path in expected.directory.glob("*.safetensors"):
        assert path.read_bytes() == (found.directory / path.name).read_bytes(), path.name


def test_a_kill_while_the_cache_is_finished_costs_no_encoding(tmp_path: Path) -> None:
    made, held_out = dictionary("topk", "per_source"), store(tmp_path)
    for attempt in range(2):
        begun: list[int] = []
        writer = CodeCacheWriter(tmp_path / "codes", made, "d1")
        run_pass(made, held_out, {}, batch_size=16, cache=writer, scratch=tmp_path, on_batch=begun.append)
        assert bool(begun) == (attempt == 0)
        writer.close()
    writer = CodeCacheWriter(tmp_path / "codes", made, "d1")
    n_tokens = run_pass(made, held_out, {}, batch_size=16, cache=writer, scratch=tmp_path)
    found = writer.finish()
    elsewhere = CodeCacheWriter(tmp_path / "elsewhere", made, "d1")
    run_pass(made, held_out, {}, batch_size=16, cache=elsewhere, scratch=tmp_path)
    assert elsewhere.finish().n_tokens == n_tokens, "codes that are not there are made again"
    fresh = CodeCacheWriter(tmp_path / "fresh", made, "d1")
    run_pass(made, held_out, {}, batch_size=16, cache=fresh)
    assert found.n_tokens == n_tokens
    for path in fresh.finish().directory.glob("*.safetensors"):
        assert path.read_bytes() == (found.directory / path.name).read_bytes(), path.name


def test_what_another_pass_saved_is_left_aside(tmp_path: Path) -> None:
    first, second = CountAndSum(), CountAndSum()
    run_pass(dictionary(), store(tmp_path), {"all": first}, batch_size=16, scratch=tmp_path)
    run_pass(dictionary(seed=1), store(tmp_path), {"all": second}, batch_size=16, scratch=tmp_path)
    fresh = CountAndSum()
    run_pass(dictionary(seed=1), store(tmp_path), {"all": fresh}, batch_size=16)
    assert same(second, fresh)
