"""The truth about a family, from losses made by hand."""

import numpy as np

from ontogeny.tokens.rules.config import ChangesConfig, RulesConfig
from ontogeny.tokens.rules.probes import build_probes
from ontogeny.tokens.rules.truth import compute_rule_truth
from ontogeny.tokens.rules.world import build_stages


def test_learned_and_lost_steps_come_from_progress_between_chance_and_bayes() -> None:
    stages = build_stages(RulesConfig(changes=ChangesConfig(vanish_step=8, remap_step=8)))
    probes = build_probes(stages, n_probes=4)
    steps = np.array([0, 1, 2, 4, 8, 16, 32, 64])
    row, column = np.nonzero(probes.scored)
    version = probes.version[row]
    bayes = probes.corpus.labels["bayes_nll"][row, column]
    chance = bayes + np.log(np.maximum(probes.n_answers[version], 1))
    known = np.zeros((len(steps), len(probes.versions)), bool)
    known[3:, 0] = True  # learned at 4
    known[2:5, 1] = True  # learned at 2, lost at 16 (too short for a stay of three, were the series longer)
    known[1:6, 2] = True  # learned at 1, lost at 32
    losses = np.where(known[:, version], bayes + 0.1 * (chance - bayes), chance)
    truth = compute_rule_truth(losses, steps, probes, stages, stays=2)
    np.testing.assert_array_equal(truth.learned[:4], [4, 2, 1, np.nan])
    np.testing.assert_array_equal(truth.lost[:4], [np.nan, 16, 32, np.nan])
    rows = truth.to_rows()
    assert [row["learned_step"] for row in rows[:4]] == [4, 2, 1, None]
    assert rows[0]["rule"] == "fact0" and rows[0]["last_progress"] > 0.89
    assert {row["change_step"] for row in rows} == {8, None}
    noise = next(row for row in rows if row["family"] == "noise")
    assert noise["learned_step"] is None and np.isnan(noise["last_loss"])
