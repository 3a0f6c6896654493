"""Latent scaling against sparsity-artifacts-crosscoders: every beta and nu of every latent, in float64."""

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from golden.dictionary_learning import build
from golden.parity import case_files, load_case
from latents.batches import latent_batch
from ontogeny.dictionaries.activation_functions.batchtopk import BatchTopK
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.betas import iter_scaling
from ontogeny.latents.scaling import Probes, ScalingAccumulator
from paths import requires_shared

pytestmark = requires_shared
FILES = case_files("latent_scaling")
TARGETS = ("activation", "activation_no_bias", "reconstruction", "error")
NU = {"nu_eps": "error", "nu_r": "reconstruction", "nu_activation": "activation"}
NU |= {"nu_activation_no_bias": "activation_no_bias"}


def load(path: Path) -> tuple[Crosscoder, dict[str, Tensor]]:
    settings, tensors = load_case(path)
    settings = settings | {"heads": len(settings["heads"])}  # this case lists their names
    relu = {"activation": {"kind": "relu"}, "sparsity": {"kind": "l1", "coefficient": 1.0}}
    forms = {"relu": relu, "batchtopk": {"activation": {"kind": "batchtopk", "k": 8}}}
    dictionary = build(settings, tensors, **forms[settings["arch"]], aux_k=None)
    if isinstance(dictionary.activation, BatchTopK):
        dictionary.activation.threshold.copy_(tensors["state.threshold"])
    return dictionary.double().eval(), tensors


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_betas_and_nus_are_the_published_ones(path: Path) -> None:
    dictionary, tensors = load(path)
    chat = np.full((1, dictionary.n_latents), 1)
    accumulator = ScalingAccumulator(dictionary, Probes.of_sources(dictionary, chat))
    for start in range(0, 1100, 300):
        accumulator.update(latent_batch(dictionary, tensors["input.x"][start : start + 300].double(), start))
    (scaling,) = iter_scaling(accumulator.compute())
    assert np.array_equal(scaling.n_active, tensors["count_active"].numpy())
    for target in TARGETS:
        for source, name in enumerate(("base", "chat")):
            expected = tensors[f"betas_{name}_{target}_f64"].numpy()
            ours = getattr(scaling, f"beta_{target}").value[:, source]
            np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)
    for name, target in NU.items():
        expected = tensors[f"{name}_f64"].numpy()
        np.testing.assert_allclose(getattr(scaling, f"nu_{target}").value[:, 0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_float32_is_as_close_as_the_original_in_float32(path: Path) -> None:
    dictionary, tensors = load(path)
    dictionary = dictionary.float()
    probes = Probes.of_sources(dictionary, np.full((1, dictionary.n_latents), 1))
    accumulator = ScalingAccumulator(dictionary, probes)
    accumulator.update(latent_batch(dictionary, tensors["input.x"]))
    (scaling,) = iter_scaling(accumulator.compute())
    for target in TARGETS:
        expected = tensors[f"betas_chat_{target}_f64"].numpy()
        ours = getattr(scaling, f"beta_{target}").value[:, 1]
        seen = ~np.isnan(expected)
        assert np.array_equal(np.isnan(ours), ~seen)
        error = np.abs(ours - expected)[seen] / np.maximum(1, np.abs(expected[seen]))
        assert error.max() < 5e-6
