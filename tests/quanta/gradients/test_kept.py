"""Rounded gradients: what the heaviest entries keep, and that cosines stay right where gradients lie in few entries."""

import numpy as np
import pytest
import torch

from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gradients import kept
from ontogeny.quanta.gradients.kept import HEAVY, Kept
from ontogeny.quanta.gram import compute_cross_gram, compute_gram
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.load import load_model
from paths import BOOKS, BOOKS_TEXT, requires_shared


def concentrated(n_samples: int = 20, n_entries: int = 640) -> torch.Tensor:
    """Gradients whose length lies in a few entries that all share."""
    torch.manual_seed(0)
    values = torch.randn(n_samples, n_entries)
    values[:, ::71] *= 300
    return values


def largest_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    def cosines(rows: torch.Tensor) -> torch.Tensor:
        unit = torch.nn.functional.normalize(rows.double(), dim=1)
        return unit @ unit.T

    return float((cosines(found) - cosines(exact)).abs().max())


def test_heavy_entries_keep_what_rounding_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = concentrated()
    rounded = Kept(exact.to(torch.bfloat16))
    rounded.keep_rest(slice(0, 7), exact[:7])
    rounded.keep_rest(slice(7, 20), exact[7:])
    monkeypatch.setattr(kept, "COLUMNS", 100)
    monkeypatch.setattr(kept, "CHUNK_CELLS", 1)
    chunks = list(rounded.chunks())
    assert [each.shape[1] for each in chunks] == [100] * 6 + [40]
    found = torch.cat(chunks, dim=1)
    heavy = (found - exact.to(torch.bfloat16).float()).abs().amax(dim=0) > 0
    assert heavy[::71].all() and heavy.sum() <= exact.shape[1] // HEAVY
    assert largest_error(found, exact) < largest_error(exact.to(torch.bfloat16), exact) / 10
    torch.testing.assert_close(torch.cat(list(rounded.chunks(slice(3, 9))), dim=1), found[3:9], rtol=0, atol=0)


def test_what_is_not_rounded_is_left_alone() -> None:
    exact = concentrated()
    same = Kept(exact)
    same.keep_rest(slice(0, 20), exact)
    torch.testing.assert_close(torch.cat(list(same.chunks()), dim=1), exact, rtol=0, atol=0)
    assert Kept.count_bytes(torch.float32) == 4 and Kept.count_bytes(torch.bfloat16) == 2 * (1 + 1 / HEAVY)


@requires_shared
def test_bfloat16_errs_by_less_than_a_ten_thousandth_on_books() -> None:
    """Plain rounding errs by 1.5e-4 on these tokens."""
    from transformers import AutoTokenizer

    ids = np.array(AutoTokenizer.from_pretrained(BOOKS / "step4024")(BOOKS_TEXT.read_text()[:300_000])["input_ids"])
    documents = Documents.of([ids[start : start + 32] for start in range(0, len(ids) - 1, 32)])
    tokens = np.random.default_rng(0).choice(documents.n_predicted, 150, replace=False)
    model = HookedModel(load_model(str(BOOKS / "step4024")).float())
    exact = compute_gram(model, documents, tokens).similarity()
    rounded = compute_gram(model, documents, tokens, GramConfig(storage="bfloat16")).similarity()
    assert np.abs(rounded - exact).max() < 5e-5
    across = compute_cross_gram(model, documents, tokens[:100], tokens[100:], GramConfig(storage="bfloat16"))
    assert np.abs(across.similarity() - exact[:100, 100:]).max() < 5e-5
