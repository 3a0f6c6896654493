"""The benchmark of truth: baselines find what is planted in tensors, a life says a fate, and the table shows it all."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from benchmarks.truth_baselines import Contender, components, snapshot_saes
from benchmarks.truth_courses import by_own_strength, by_prediction
from benchmarks.truth_table import GOALS, format_answers, make_lines

from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.analyses.rules.matching import Units, match_units
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.latents.predictions import Predictions
from ontogeny.recipe import load_recipe, recipe_folder
from ontogeny.training.config import TrainingConfig


def planted(n: int = 3000) -> tuple[torch.Tensor, np.ndarray]:
    """Three snapshots of width 12; a direction that lights up on a tenth of the tokens, from the second snapshot on."""
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(n, 3, 12, generator=generator)
    on = torch.rand(n, generator=generator) < 0.1
    x[on, 1:, 4] += 4
    return x, on.numpy()


def test_components_and_snapshot_saes_find_a_planted_direction_and_when_it_came(tmp_path) -> None:
    x, on = planted()
    half = np.arange(len(on)) % 2 == 0
    config = CrosscoderConfig(n_latents=16, activation={"kind": "batchtopk", "k": 2})
    training = TrainingConfig(steps=60, batch_size=256, lr=1e-2)
    saes = snapshot_saes(x, x, x, (0, 1, 2), config, training, tmp_path)
    for contender in (components(x, x, x, 6), saes[1], saes[2]):
        _, measured = match_units(contender.units, on[None], half)
        unit = measured[0].argmax()
        assert measured[0, unit] > 0.8
        strength = contender.strength[unit] / contender.strength[unit].max()
        assert strength[0] < min(strength[1:])
    _, before = match_units(saes[0].units, on[None], half)
    assert before.max() < 0.3


def test_a_life_says_a_fate() -> None:
    strength = np.array(
        [[1.0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]
    )
    time = np.array([0.0, 3, 6, 8, 9, 9.5])
    nobody = Units.from_labels(np.zeros(3, int))
    turns = np.array([-1, -1, -1, 3, 1])  # a turn at the onset is no turn of what was there
    setting: Any = SimpleNamespace(time=time)
    courses = by_own_strength(setting, Contender(nobody, nobody, strength, tuple(range(6)), turns))
    assert courses.inside.tolist() == [False, True, True, True, True]
    assert courses.fate == ["persists", "emerges", "vanishes", "re-purposed", "persists"]


def test_a_rule_of_two_stages_is_dated_by_its_second_with_the_share_that_the_recipe_asks_for() -> None:
    recipe = load_recipe(recipe_folder() / "rules-truth.toml", (), env={})
    asked = recipe.chosen_analyses["evolution"]
    assert isinstance(asked, EvolutionConfig) and asked.strength == "prediction"
    gain = np.array([[0.0, 0.5, 0.52, 0.54, 0.96, 1.0], [0.0, 0.01, 0.02, 0.02, 0.03, 0.04]])
    predictions = Predictions(gain, np.zeros_like(gain), np.ones_like(gain))
    setting: Any = SimpleNamespace(time=np.array([0.0, 3, 6, 8, 9, 9.5]), evolution=asked)
    courses = by_prediction(setting, predictions)
    assert 8 < courses.half_rise[0] < 9 and np.isnan(courses.half_rise[1])
    assert courses.date_together(np.array([0])) == courses.half_rise[0]
    assert 8 < courses.date_together(np.array([0, 1])) < 9, "the one that tells most says when"
    assert np.isnan(courses.date_together(np.array([], dtype=int)))
    setting.evolution = EvolutionConfig(strength="prediction")
    assert by_prediction(setting, predictions).half_rise[0] == 3


def test_the_lines_hold_the_crosscoder_to_the_goals_and_missing_numbers_have_a_reason() -> None:
    def answer(seed: int, recall: float) -> dict:
        measures = {"recall": recall, "spearman": None, "claims on never-trained rules": 0.0}
        rules = [{"rule": "fact0", "mcc": 0.9, "found": None}]
        return {
            "seed": seed, "learned": 3, "measures": {"crosscoder": measures, "best neuron": measures},
            "ceiling": {"spearman": 0.98}, "rules": {"crosscoder": rules},
        }  # fmt: skip

    answers = [answer(1, 0.9), answer(2, 0.8)]
    lines = {(line.case, line.measure.split(",")[0]): line for line in make_lines(answers)}
    assert lines["crosscoder", "recall"].met and lines["crosscoder", "claims on never-trained rules"].met
    assert lines["crosscoder", "recall"].ratio.low == 0.8 and lines["crosscoder", "recall"].goal == GOALS["recall"]
    assert lines["best neuron", "recall"].goal is None
    assert lines["crosscoder", "spearman"].reason and lines["crosscoder", "spearman"].ratio is None
    text = format_answers(answers)
    assert "seed 2: 3 rules learned" in text and "0.98" in text and "nan" not in text
