"""The probe set: what each row probes, where it is scored, and that it is a corpus like any other."""

import numpy as np

from ontogeny.tokens.rules.config import ChangesConfig, RulesConfig
from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.plan import Fate
from ontogeny.tokens.rules.probes import build_probes, list_versions
from ontogeny.tokens.rules.world import build_stages

STAGES = build_stages(RulesConfig(seed=2, changes=ChangesConfig(vanish_step=5, remap_step=9, chat_step=12)))


def test_every_rule_has_a_version_and_a_remapped_fact_two() -> None:
    versions = list_versions(STAGES)
    names = [plan.name for plan in STAGES[0].plan]
    remapped = [plan.name for plan in STAGES[0].plan if plan.fate == Fate.REPURPOSED]
    assert sorted(v.name for v in versions) == sorted(names + [f"{name} re-mapped" for name in remapped])
    stage_of = {version.name: version.stage for version in versions}
    assert all(stage_of[f"{name} re-mapped"] == 2 and stage_of[name] == 0 for name in remapped)
    assert all(stage_of[plan.name] == (3 if plan.fate == Fate.CHAT_ONLY else 0) for plan in STAGES[0].plan)


def test_rows_end_with_the_rule_they_probe_and_are_scored_there_alone() -> None:
    probes = build_probes(STAGES, n_probes=3)
    corpus = probes.corpus
    assert corpus.n_rows == 3 * len(probes.versions) == len(probes.version)
    assert (corpus.tokens[:, 0] == 0).all() and corpus.masks["bos"][:, 0].all() and not corpus.keep[:, 0].any()
    for row, number in enumerate(probes.version):
        version = probes.versions[number]
        world = STAGES[version.stage]
        document = world.probe(version.rule, row % 3)
        words = slice(1, 1 + len(document.words))
        assert [world.words[token - 1] for token in corpus.tokens[row, words]] == list(document.words)
        assert corpus.masks["padding"][row, words.stop :].all() and not corpus.masks["padding"][row, words].any()
        for name, label in document.labels.items():
            np.testing.assert_array_equal(corpus.labels[name][row, words], label)
        assert (corpus.labels["rule"][row][probes.probed[row]] == version.rule).all()
        assert probes.probed[row].sum() == len(document.words) - document.starts[-1]
        determined = corpus.labels["role"][row] == Role.DETERMINED
        np.testing.assert_array_equal(probes.scored[row], determined & probes.probed[row])
        assert corpus.masks["control"][row].any() == world.is_chat
        np.testing.assert_array_equal(corpus.position[row, words], np.arange(len(document.words)))
    counted = corpus.index[corpus.index >= 0]
    np.testing.assert_array_equal(counted, np.arange(len(counted)))


def test_the_two_versions_of_a_fact_disagree_on_every_key() -> None:
    probes = build_probes(STAGES, n_probes=40)
    corpus = probes.corpus
    remapped = next(version for version in probes.versions if version.name.endswith("re-mapped"))
    first = next(v for v in probes.versions if v.rule == remapped.rule and v is not remapped)
    values: list[dict[int, int]] = []
    for version in (first, remapped):
        rows = np.flatnonzero(probes.version == probes.versions.index(version))
        row, column = np.nonzero(probes.scored[rows])
        tokens = corpus.tokens[rows]
        values.append(dict(zip(tokens[row, column - 1].tolist(), tokens[row, column].tolist())))
    both = values[0].keys() & values[1].keys()
    assert len(both) > 5 and not any(values[0][key] == values[1][key] for key in both)
