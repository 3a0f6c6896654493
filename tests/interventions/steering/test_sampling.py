"""Drawn tokens: their distribution, the nucleus, and that equal distributions draw alike."""

import numpy as np
import torch

from ontogeny.interventions.steering.config import SamplingConfig
from ontogeny.interventions.steering.sampling import choose_tokens


def draws(logits: torch.Tensor, n: int, **config: float) -> np.ndarray:
    asked = SamplingConfig.model_validate({"seed": 1, **config})
    return torch.cat([choose_tokens(logits[None], asked, step) for step in range(n)]).numpy()


def test_tokens_have_their_probabilities() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -8.0])
    for temperature in (1.0, 2.0):
        found = np.bincount(draws(logits, 4000, temperature=temperature), minlength=5) / 4000
        p = (logits / temperature).softmax(0).numpy()
        assert (np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / 4000) + 1e-3).all()


def test_the_nucleus_is_the_fewest_likeliest() -> None:
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log()
    assert set(draws(logits, 300, top_p=0.49)) == {1}
    assert set(draws(logits, 300, top_p=0.51)) == {1, 2}
    assert set(draws(logits, 300, top_p=1.0)) == {0, 1, 2, 3}


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.randn(3, 50)
    assert torch.equal(choose_tokens(logits, SamplingConfig(temperature=0), 7), logits.argmax(1))


def test_noise_knows_seed_sample_and_place_alone() -> None:
    logits = torch.zeros(4, 1000)
    config = SamplingConfig(seed=3)
    first = choose_tokens(logits, config, 0)
    assert torch.equal(first[:2], choose_tokens(logits[:2], config, 0))
    assert len(set(first.tolist())) == 4
    assert not torch.equal(first, choose_tokens(logits, config, 1))
    assert not torch.equal(first, choose_tokens(logits, SamplingConfig(seed=4), 0))
    almost = logits + 1e-6 * torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first, choose_tokens(almost, config, 0))
