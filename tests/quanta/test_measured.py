"""What a recipe asks of losses: which tokens, which snapshots."""

from pathlib import Path

import numpy as np
import pytest

from ontogeny.errors import AnalysisError
from ontogeny.quanta.config import TokenChoice
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gram_files import load_gram, save_gram
from ontogeny.quanta.losses import LossMatrix
from ontogeny.quanta.measured import MeasuredLosses, SizeLosses, choose_snapshots
from ontogeny.quanta.sections_config import QuantaConfig
from ontogeny.quanta.similarity import GradientGram
from ontogeny.types import Snapshot


def some_losses() -> MeasuredLosses:
    documents = Documents.of([np.arange(6), np.arange(6)])
    columns = tuple(np.linspace(high, low, 10).astype(np.float32) for high, low in ((9, 8), (5, 2), (1, 0.01)))
    snapshots = tuple(Snapshot("m", step=step, tokens=step * 8, label=f"step{step}") for step in (0, 4, 8))
    size = SizeLosses("series", snapshots, LossMatrix(columns, tuple(each.label for each in snapshots)), 100)
    return MeasuredLosses(documents, (size,))


def config(**fields: object) -> QuantaConfig:
    choice = TokenChoice(below=0.5, leave_out=(), every=1, n_tokens=3)
    return QuantaConfig.model_validate({"choice": choice, "n_clusters": 2, **fields})


def test_tokens_are_chosen_at_the_last_or_a_named_snapshot() -> None:
    losses = some_losses()
    assert losses.choose(config()).tolist() == [5, 6, 7]
    choice = {"below": 3.0, "leave_out": [], "every": 1, "n_tokens": 3}
    assert losses.choose(config(chosen_at="step4", choice=choice)).tolist() == [7, 8, 9]
    with pytest.raises(AnalysisError, match=r"quanta.chosen_at names 'step5'; the series has step0, step4, step8"):
        losses.choose(config(chosen_at="step5"))


def test_too_few_tokens_say_which_filter_left_how_many() -> None:
    choice = {"below": 0.5, "leave_out": ["unigram"], "every": 2, "n_tokens": 9}
    with pytest.raises(
        AnalysisError, match=r"5 of 10 are below 0.5 nats .* 5 of these are no copied unigram, one in 2"
    ):
        some_losses().choose(config(choice=choice))


def test_snapshots_where_equal_parts_of_the_fall_are_done() -> None:
    labels = tuple("abcdef")
    loss = np.array([6.0, 6.0, 3.9, 1.9, 1.0, 0.0])
    assert choose_snapshots(labels, loss, config()) == [5]
    assert choose_snapshots(labels, loss, config(n_snapshots=3)) == [2, 3, 5]
    assert choose_snapshots(labels, loss, config(n_snapshots=9)) == [0, 1, 2, 3, 4, 5]
    assert choose_snapshots(labels, np.ones(6), config(n_snapshots=2)) == [0, 5]
    assert choose_snapshots(labels, loss, config(snapshots=["d", "b"])) == [1, 3]
    assert choose_snapshots(labels, loss, config(kernel="curves", n_snapshots=3)) == [5]
    with pytest.raises(AnalysisError, match=r"quanta.snapshots names 'g'; the series has a, b"):
        choose_snapshots(labels, loss, config(snapshots=["g"]))


def test_as_many_clusters_as_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match=r"n_clusters = 3 must be smaller than choice.n_tokens = 3"):
        config(n_clusters=3)


def test_time_is_tokens_steps_or_places() -> None:
    size = some_losses().own
    assert size.time_name == "tokens" and size.time.tolist() == [0, 32, 64]
    bare = tuple(Snapshot("m", step=step, label=f"s{step}") for step in (0, 4, 8))
    assert SizeLosses("x", bare, size.losses, 1).time_name == "step"
    unknown = (*bare[:2], Snapshot("m", label="main"))
    assert SizeLosses("x", unknown, size.losses, 1).time.tolist() == [0, 1, 2]


def test_products_come_back_from_disk(tmp_path: Path) -> None:
    products = {("mlp.weight", None): np.eye(3), ("attention.weight", 2): np.full((3, 3), 0.5)}
    save_gram(GradientGram(np.array([4, 7, 9]), products), tmp_path)
    back = load_gram(tmp_path)
    assert back.tokens.tolist() == [4, 7, 9] and set(back.products) == set(products)
    np.testing.assert_array_equal(back.total(), np.eye(3) + 0.5)
