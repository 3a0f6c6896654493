"""RelIE as published, for two and three models: shares, pairs, groups."""

import numpy as np
import pytest
import torch

from golden.parity import assert_parity, load_case
from ontogeny.latents.relie import compute_legacy_pairs, compute_legacy_shares, legacy_classes
from paths import GOLDEN, requires_shared

pytestmark = requires_shared


@pytest.mark.parametrize("n_models", [2, 3])
def test_shares_pairs_and_groups_are_the_published_ones(n_models: int) -> None:
    settings, tensors = load_case(GOLDEN / "crosscoding_through_time" / f"rel_ie_K{n_models}.safetensors")
    effect = tensors["input.ie"].numpy()
    shares = compute_legacy_shares(effect)
    assert_parity(torch.from_numpy(shares[1] if n_models == 2 else shares), tensors["rel_ie"], "rel_ie")
    assert int((np.abs(effect).sum(axis=0) == 0).sum()) == int(tensors["all_zero_count"])
    names = settings["class_names"]
    assert legacy_classes(shares, ("A", "B", "C")[:n_models]) == [names[at] for at in tensors["class_id"]]
    if n_models == 3:
        pairs, expected = compute_legacy_pairs(effect), tensors["rel_ie_pairwise"].numpy()
        assert np.array_equal(np.isnan(pairs), np.isnan(expected))
        assert np.allclose(pairs, expected, atol=1e-6, equal_nan=True)
