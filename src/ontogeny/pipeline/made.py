"""What a run has made so far, each made or found when it is first asked for, and not where a recipe lacks it."""

from dataclasses import dataclass
from functools import cached_property

from ontogeny.pipeline.dictionary import evaluate_on, train_on
from ontogeny.pipeline.harvest import Harvest, harvest
from ontogeny.pipeline.inputs import Run, open_snapshots, open_text
from ontogeny.pipeline.losses import Measurement, measure
from ontogeny.pipeline.quanta import Clustering, cluster
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.corpus import Corpus
from ontogeny.workspace import Artifact


@dataclass(frozen=True)
class Made:
    """The stages of one run behind one name each."""

    run: Run

    @cached_property
    def text(self) -> tuple[SnapshotSeries, Corpus, Artifact]:
        """The snapshots, the corpus in their tokens, and the artifact that it is."""
        series = open_snapshots(self.run)
        return (series, *open_text(self.run, series))

    @cached_property
    def harvested(self) -> Harvest:
        """Activations of both splits."""
        return harvest(self.run)

    @cached_property
    def dictionary(self) -> Artifact:
        """The dictionary."""
        return train_on(self.run, self.harvested)

    @cached_property
    def evaluation(self) -> Artifact | None:
        """Its evaluation; None where the recipe asks for none."""
        return None if self.run.recipe.evaluation is None else evaluate_on(self.run, self.harvested, self.dictionary)

    @cached_property
    def measured(self) -> Measurement:
        """Losses of every snapshot on every predicted token."""
        return measure(self.run)

    @cached_property
    def clustered(self) -> Clustering:
        """Chosen tokens and their clusters."""
        return cluster(self.run, self.measured)
