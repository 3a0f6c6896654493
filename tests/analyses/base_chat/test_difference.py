from pathlib import Path

import numpy as np
import pytest

from analyses.planted import D_MODEL, planted_inputs
from ontogeny.analyses.base_chat.difference import Difference, find_components, mean_rows, sum_difference, top_tokens
from ontogeny.latents.pair import choose_pair


def raw_difference(inputs: object) -> np.ndarray:
    x = np.concatenate([batch.x.numpy() for batch in inputs.held_out.iter_batches(500, epochs=1)])  # type: ignore[attr-defined]
    return (x[:, 1] - x[:, 0]).astype(np.float64)


def test_mean_and_components_are_those_of_the_rows(tmp_path: Path) -> None:
    inputs = planted_inputs(tmp_path)
    difference = sum_difference(inputs, choose_pair(inputs.dictionary.sources_out, inputs.sources, "base_chat"))
    d = raw_difference(inputs)
    rows, means = mean_rows(difference)
    assert rows[0]["group"] == "all" and rows[0]["n"] == len(d)
    np.testing.assert_allclose(means[0], d.mean(0), atol=1e-5)
    assert rows[0]["norm"] == pytest.approx(np.linalg.norm(d.mean(0)), rel=0.05)
    assert rows[0]["rms"] == pytest.approx(np.sqrt(np.square(d).sum(1).mean()), rel=1e-5)
    components = find_components(difference, 4)
    covariance = np.cov(d.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    np.testing.assert_allclose(components.share, values[::-1][:4] / values.sum(), atol=1e-5)
    for mine, theirs in zip(components.directions, vectors.T[::-1][:4], strict=True):
        assert abs(mine @ theirs) == pytest.approx(1, abs=1e-4)
    assert (components.agreement[:2] > 0.95).all()


def synthetic(mean: np.ndarray, noise: float, n_blocks: int = 32, each: int = 20, seed: int = 0) -> Difference:
    rng = np.random.default_rng(seed)
    total = each * mean + noise * np.sqrt(each) * rng.normal(size=(n_blocks, len(mean)))
    second = np.stack([np.eye(len(mean))] * 2)
    count = np.full((1, n_blocks), float(each))
    return Difference(("all",), count, total[None], np.array([1.0]), np.array([1.0]), second)


def test_noise_is_no_mean_difference() -> None:
    """The norm of a mean of noise is not 0; what is reported is, on the square, without bias."""
    squares = []
    for seed in range(200):
        rows, _ = mean_rows(synthetic(np.zeros(50), 1.0, seed=seed))
        squares.append(float(rows[0]["norm"] or 0) ** 2)
    naive = 50 / (32 * 20)
    assert np.mean(squares) < 0.15 * naive  # half of them are cut off at 0
    rows, _ = mean_rows(synthetic(np.full(50, 0.1), 1.0))
    assert rows[0]["norm"] == pytest.approx(np.sqrt(0.5), rel=0.15)
    assert rows[0]["norm_se"] is not None


def test_components_of_noise_do_not_agree_between_halves() -> None:
    rng = np.random.default_rng(0)
    halves = [rng.normal(size=(60, 40)) for _ in range(2)]
    second = np.stack([half.T @ half for half in halves])
    count, total = np.zeros((1, 2)), np.zeros((1, 2, 40))
    count[0], total[0] = 60, [half.sum(0) for half in halves]
    noise = Difference(("all",), count, total, np.ones(1), np.ones(1), second)
    assert find_components(noise, 2).agreement.max() < 0.9
    strong = second + 5000 * np.outer(np.eye(40)[3], np.eye(40)[3])
    found = find_components(Difference(("all",), count, total, np.ones(1), np.ones(1), strong), 2)
    assert found.agreement[0] > 0.98


def test_top_tokens_are_the_largest_of_either_sign() -> None:
    rows = list(top_tokens(np.array([[0.1, -2.0, 3.0, 0.0]]), 2))
    assert rows == [(0, "top", 0, 2, 3.0), (0, "top", 1, 0, 0.1), (0, "bottom", 0, 1, -2.0), (0, "bottom", 1, 3, 0.0)]


def test_more_components_than_dimensions_are_not_there(tmp_path: Path) -> None:
    inputs = planted_inputs(tmp_path)
    difference = sum_difference(inputs, choose_pair(inputs.dictionary.sources_out, inputs.sources, "base_chat"))
    assert len(find_components(difference, 100).share) == D_MODEL
    assert find_components(difference, 0).directions.shape == (0, D_MODEL)
