import numpy as np

from ontogeny.tokens.rules.labels import Role
from ontogeny.tokens.rules.losses import compute_known_spans, compute_rule_losses

D, G = int(Role.DETERMINED), int(Role.GIVEN)


def test_losses_by_hand() -> None:
    losses = np.array([[2.0, 9.0, 4.0, 1.0], [0.5, 9.0, 0.5, 1.0]])
    result = compute_rule_losses(
        losses,
        rule=np.array([0, 0, 0, 1]),
        role=np.array([D, G, D, D]),
        bayes_nll=np.array([0.0, 5.0, 1.0, 0.0]),
        n_answers=np.array([8, 2, 4]),
    )
    np.testing.assert_allclose(result.mean, [[3.0, 1.0, np.nan], [0.5, 1.0, np.nan]])
    np.testing.assert_allclose(result.bayes, [0.5, 0.0, np.nan])
    np.testing.assert_allclose(result.chance, [0.5 + np.log(8), np.log(2), np.nan])
    np.testing.assert_array_equal(result.count, [2, 1, 0])
    # Two tokens 2 and 4: sd = sqrt 2, error = 1. One token says nothing about its own error.
    np.testing.assert_allclose(result.standard_error, [[1.0, np.nan, np.nan], [0.0, np.nan, np.nan]])
    np.testing.assert_allclose(result.progress[:, 0], [0.0, 1.0])
    assert np.isnan(result.progress[:, 2]).all()


def test_the_error_of_tokens_that_go_together_is_that_of_their_groups() -> None:
    generator = np.random.default_rng(0)
    groups = generator.normal(size=50)
    losses = np.repeat(groups, 4)[None]
    labels = {
        "rule": np.zeros(200, int),
        "role": np.full(200, D),
        "bayes_nll": np.zeros(200),
        "n_answers": np.array([2]),
    }
    clustered = compute_rule_losses(losses, **labels, episode=np.repeat(np.arange(50), 4)).standard_error[0, 0]
    plain = compute_rule_losses(losses, **labels).standard_error[0, 0]
    np.testing.assert_allclose(clustered, groups.std(ddof=1) / np.sqrt(50))
    assert 1.9 < clustered / plain < 2.1


def test_a_rule_is_learned_when_its_progress_stays_and_lost_when_it_is_gone_for_good() -> None:
    steps = np.array([0, 1, 2, 4, 8, 16, 32])
    progress = np.array(
        [
            [0, 0, 0.5, 0.9, 1, 1, 1],  # learned at 2
            [0, 0.9, 0.1, 0.2, 0.6, 0.8, 1],  # a blink at 1 does not count
            [0, 0, 0, 0, 0, 0, 0.7],  # at the last snapshot only
            [0, 0.9, 0.9, 0.9, 0.9, 0.2, 0.1],  # lost again
            [np.nan] * 7,
        ]
    ).T
    learned, lost = compute_known_spans(progress, steps)
    np.testing.assert_array_equal(learned, [2, 8, 32, 1, np.nan])
    np.testing.assert_array_equal(lost, [np.nan, np.nan, np.nan, 16, np.nan])
