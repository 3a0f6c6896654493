"""The code cache gives back what was encoded, by token and by latent, in the bytes it may take."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from latents.small import KINDS, N_LATENTS, NAMES, dictionary, store
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import DictionaryError, StoreError
from ontogeny.latents.cache import CodeCache, open_code_cache
from ontogeny.latents.cache_writer import CodeCacheWriter, join_code_caches
from ontogeny.latents.growing import GrowingTensor, map_tensor
from ontogeny.latents.passes import run_pass
from ontogeny.latents.transpose import PairsByToken, write_by_latent


def cache(folder: Path, made: Crosscoder, batch_size: int = 17, max_pairs: int = 1 << 22) -> CodeCache:
    writer = CodeCacheWriter(folder / "codes", made, "d1", max_pairs=max_pairs)
    run_pass(made, store(folder), {}, batch_size=batch_size, cache=writer)
    return writer.finish()


def encoded(folder: Path, made: Crosscoder) -> Codes:
    """All codes of the store at once, per token cuts included."""
    held_out = store(folder)
    with torch.no_grad():
        kept = torch.from_numpy(np.flatnonzero(np.concatenate(held_out.summary.keep)))
        x = held_out.read_rows(np.arange(int(held_out.index.counts.sum())))[kept]
        return made.encode(x).sparse()


@pytest.mark.parametrize(("kind", "gate"), KINDS)
def test_codes_and_gates_come_back_as_they_were_encoded(tmp_path: Path, kind: str, gate: str) -> None:
    made = dictionary(kind, gate)
    expected, found = encoded(tmp_path, made), cache(tmp_path, made)
    codes = found.codes(0, found.n_tokens)
    assert found.n_tokens == expected.n_tokens and found.n_pairs == expected.values.numel() > 100
    assert torch.equal(codes.indices, expected.indices) and torch.equal(codes.row_pointer, expected.row_pointer)
    torch.testing.assert_close(codes.values, expected.values)  # a batch's size may change a matmul's last bit
    for source in range(len(NAMES)):
        assert torch.equal(codes.gate(source), expected.gate(source))
        torch.testing.assert_close(codes.contribution(source), expected.contribution(source))
    part = found.codes(5, 31)
    assert torch.equal(part.values, codes.values[codes.row_pointer[5] : codes.row_pointer[31]])
    for source in range(len(NAMES)):
        assert torch.equal(part.gate(source), codes.gate(source)[codes.row_pointer[5] : codes.row_pointer[31]])


@pytest.mark.parametrize(("kind", "gate"), KINDS)
@pytest.mark.parametrize("max_pairs", [50, 1 << 22])
def test_both_orders_hold_the_same_pairs(tmp_path: Path, kind: str, gate: str, max_pairs: int) -> None:
    found = cache(tmp_path, dictionary(kind, gate), max_pairs=max_pairs)
    codes = found.codes(0, found.n_tokens)
    order = torch.argsort(codes.indices, stable=True)
    assert np.array_equal(found.counts, torch.bincount(codes.indices, minlength=N_LATENTS).numpy())
    blocks = list(found.iter_blocks(max_pairs=60, max_latents=9))
    assert np.array_equal(np.concatenate([block.tokens for block in blocks]), codes.tokens[order].numpy())
    assert np.array_equal(np.concatenate([block.values for block in blocks]), codes.values[order].numpy())
    assert np.array_equal(np.concatenate([b.first + b.latents for b in blocks]), codes.indices[order].numpy())
    for source in range(len(NAMES)):
        gates = np.concatenate([block.gate(source) for block in blocks])
        assert np.array_equal(gates, codes.gate(source)[order].numpy())
    latent = int(codes.indices[7])
    tokens, values = found.latent(latent)
    assert np.array_equal(tokens, codes.tokens[codes.indices == latent].numpy())
    assert np.array_equal(values, codes.values[codes.indices == latent].numpy())
    assert len(found.latent(0)[0]) == 0


def test_columns_and_rows_are_those_of_the_store(tmp_path: Path) -> None:
    found, held_out = cache(tmp_path, dictionary()), store(tmp_path)
    batch = next(held_out.iter_batches(10**6, epochs=1))
    where = np.lexsort((batch.position, batch.row))
    for name in ("token", "document", "position", "row", "text_source"):
        assert np.array_equal(getattr(found.columns, name), getattr(batch, name)[where])
    for row in (0, 7, 19):
        assert np.array_equal(found.columns.row[found.rows(row)], np.full(int((batch.row == row).sum()), row))
    assert found.rows(1000) == slice(found.n_tokens, found.n_tokens)


@pytest.mark.parametrize("n_latents", [40, 100_000])
def test_a_pair_takes_eight_bytes_in_each_order(tmp_path: Path, n_latents: int) -> None:
    made = dictionary(n_latents=n_latents)
    with torch.no_grad():
        made.activation.threshold.fill_(0.7 if n_latents == 40 else 4.0)
    found = cache(tmp_path, made)
    for order, bound in (("rows", 6 if n_latents == 40 else 8), ("latents", 8)):
        files = [path for path in found.directory.glob(f"{order}.*") if ".end." not in path.name]
        assert sum(path.stat().st_size - 256 for path in files) == bound * found.n_pairs
    assert not list(found.directory.glob("*.scratch"))


def test_the_files_are_safetensors(tmp_path: Path) -> None:
    found = cache(tmp_path, dictionary("topk", "per_source"))
    for path in found.directory.glob("*.safetensors"):
        assert np.array_equal(load_file(path)["data"], map_tensor(path))
    assert isinstance(map_tensor(found.directory / "latents.value.safetensors"), np.memmap)


def test_another_dictionary_is_refused_by_id(tmp_path: Path) -> None:
    found = cache(tmp_path, dictionary())
    with pytest.raises(StoreError, match="those of dictionary d1, not of d2"):
        open_code_cache(found.directory, "d2")
    other = dictionary(seed=1)
    with pytest.raises(StoreError, match="those of dictionary d1, whose decoder norms are not those"):
        run_pass(other, store(tmp_path), {}, codes=found)
    with pytest.raises(StoreError, match="not of d2"):
        found.check_made_by(dictionary(), "d2")
    open_code_cache(found.directory, "d1").check_made_by(dictionary(), "d1")
    with pytest.raises(StoreError, match="join parts of one dictionary"):
        join_code_caches([found], CodeCacheWriter(tmp_path / "joined", dictionary(), "d2"))


def test_what_is_torn_altered_or_unfinished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no whole code cache"):
        open_code_cache(tmp_path)
    found = cache(tmp_path, dictionary())
    found.verify()
    path = found.directory / "rows.value.safetensors"
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="altered"):
        open_code_cache(found.directory).verify()
    path.write_bytes(data[:-4])
    with pytest.raises(StoreError, match="missing or torn"):
        open_code_cache(found.directory)
    meta = json.loads((found.directory / "cache.json").read_text())
    (found.directory / "cache.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(StoreError, match="format 99"):
        open_code_cache(found.directory)


def test_weights_that_float32_does_not_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"torch.float64; convert them with dictionary.float\(\)"):
        CodeCacheWriter(tmp_path, dictionary().double(), "d1")


def test_parts_join_to_the_whole(tmp_path: Path) -> None:
    made, held_out = dictionary("topk", "per_source"), store(tmp_path)
    whole, parts = cache(tmp_path, made, batch_size=13), []
    for index in range(3):
        writer = CodeCacheWriter(tmp_path / f"part{index}", made, "d1")
        run_pass(made, held_out, {}, batch_size=13, cache=writer, part=(index, 3))
        parts.append(writer.finish())
    joined = join_code_caches(parts, CodeCacheWriter(tmp_path / "joined", made, "d1"), batch_size=29)
    for path in whole.directory.glob("*.safetensors"):
        assert path.read_bytes() == (joined.directory / path.name).read_bytes(), path.name


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    n_latents=st.integers(1, 12),
    max_pairs=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_sorting_by_latent_is_a_stable_sort(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], n_latents: int, max_pairs: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("sort")
    generator = np.random.default_rng(seed)
    latents = generator.integers(0, n_latents, sum(counts)).astype(np.int32)
    values = generator.random(sum(counts), dtype=np.float32)
    write_by_latent(PairsByToken(latents, values, np.cumsum(counts)), n_latents, folder, "latents", max_pairs)
    order = np.argsort(latents, kind="stable")
    tokens = np.repeat(np.arange(len(counts)), counts)
    assert np.array_equal(map_tensor(folder / "latents.token.safetensors"), tokens[order])
    assert np.array_equal(map_tensor(folder / "latents.value.safetensors"), values[order])
    ends = map_tensor(folder / "latents.end.safetensors")
    assert np.array_equal(ends, np.cumsum(np.bincount(latents, minlength=n_latents)))


def test_a_growing_tensor_goes_on_at_a_known_place(tmp_path: Path) -> None:
    path = tmp_path / "grown.safetensors"
    first = GrowingTensor(path, "float32", 2)
    first.append(np.arange(12.0).reshape(6, 2))
    first.sync()
    first.close()
    second = GrowingTensor(path, "float32", 2, length=4)
    second.append(np.zeros((1, 2)))
    second.finish()
    assert map_tensor(path).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [0, 0]]
