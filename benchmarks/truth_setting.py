"""What the benchmark of truth looks at: one seed's family, its truth, and the probe tokens on which all is scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ontogeny.analyses.evolution.config import EvolutionConfig
from ontogeny.analyses.rules.judgement import rivals
from ontogeny.analyses.rules.targets import RuleTargets, build_targets, predicted_cells
from ontogeny.latents.times import compute_time_axis
from ontogeny.pipeline import grow, open_run, open_snapshots
from ontogeny.recipe import Recipe, load_recipe, recipe_folder
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.rule_losses import measure_rule_truth
from ontogeny.snapshots.series import SnapshotSeries, open_series
from ontogeny.tokens.rules.plan import Fate
from ontogeny.tokens.rules.probes import ProbeSet, build_probes
from ontogeny.tokens.rules.truth import RuleTruth
from ontogeny.tokens.rules.world import RulesWorld, build_stages
from ontogeny.types import HookPoint
from ontogeny.workspace import Workspace

QUICK = {"family.steps": "60", "family.d_model": "32", "training.steps": "20", "corpus.max_tokens": "20000"}
QUICK_STEPS = "[0, 8, 16, 32, 45, 60]"
N_PROBES, N_TRUTH_PROBES = 64, 24


@dataclass(frozen=True)
class Setting:
    """One seed's family with its truth, and the probe tokens on which everything is scored."""

    recipe: Recipe
    workspace: Workspace
    stages: tuple[RulesWorld, ...]
    truth: RuleTruth
    series: SnapshotSeries
    probes: ProbeSet
    cells: tuple[np.ndarray, np.ndarray]
    targets: RuleTargets
    half: np.ndarray
    rival: np.ndarray

    @property
    def names(self) -> list[str]:
        """Rules by number."""
        return self.stages[0].names

    @property
    def learned(self) -> np.ndarray:
        """The step at which each rule was first learned, NaN for one that was not; [rule]."""
        steps = np.full(len(self.names), np.nan)
        for version, step in zip(self.truth.versions, self.truth.learned, strict=True):
            steps[version.rule] = np.fmin(steps[version.rule], step)
        return steps

    @property
    def time(self) -> np.ndarray:
        """Octaves of training at the series' snapshots."""
        return compute_time_axis(self.series.steps, [None] * len(self.series)).log

    @property
    def evolution(self) -> EvolutionConfig:
        """How the recipe has lives read off predictions."""
        asked = self.recipe.chosen_analyses["evolution"]
        assert isinstance(asked, EvolutionConfig) and asked.strength == "prediction", "the recipe asks for other lives"
        return asked

    def fates(self) -> list[str]:
        """What became of each rule: its plan, as far as the models followed it.

        Some keep a rule that vanished; some learn one that was always there only after the change of the world.
        """
        found, learned = [], self.learned
        changed = self.stages[0].config.changes.steps[0]
        for number, plan in enumerate(self.stages[0].plan):
            lost = [step for v, step in zip(self.truth.versions, self.truth.lost, strict=True) if v.rule == number]
            kept = plan.fate == Fate.VANISHES and np.isnan(lost[0])
            late = plan.fate == Fate.PERSISTS and learned[number] > changed
            found.append(str(Fate.PERSISTS if kept else Fate.EMERGES if late else plan.fate))
        return found


def open_setting(seed: int, workspace: Workspace, quick: bool) -> Setting:
    """Grow the family, measure the truth on all of its snapshots, and lay out the probes."""
    seeds = {f"{key}.seed": str(seed) for key in ("family.sources.0.rules", "corpus.sources.0.rules", "family")}
    overrides = {**seeds, "training.seed": str(seed)}
    if quick:
        changes = {f"{part}.sources.0.rules.changes.{change}_step": "30" for part in ("family", "corpus")
                   for change in ("emerge", "vanish", "remap")}  # fmt: skip
        overrides |= QUICK | changes | {"series.steps": QUICK_STEPS, "family.per_octave": "2"}
    recipe = load_recipe(recipe_folder() / "rules-truth.toml", overrides.items(), env={})
    run = open_run(recipe, workspace)
    family = grow(run)
    assert recipe.family is not None
    stages = build_stages(recipe.family.sources[0].rules)
    everything = open_series(SeriesConfig(folders=f"{family.path}/step*"))
    probes = build_probes(stages, 8 if quick else N_PROBES)
    row, column = predicted_cells(probes.corpus, np.arange(probes.corpus.n_rows))
    targets = build_targets(probes.corpus, stages[0], row, column)
    half = np.random.default_rng(seed).random(probes.corpus.n_rows)[row] < 0.5
    tokens, position = (np.asarray(each)[row, column] for each in (probes.corpus.tokens, probes.corpus.position))
    return Setting(
        recipe=recipe,
        workspace=workspace,
        stages=stages,
        truth=measure_rule_truth(everything, stages, 4 if quick else N_TRUTH_PROBES),
        series=open_snapshots(run),
        probes=probes,
        cells=(row, column),
        targets=targets,
        half=half,
        rival=rivals(tokens, position, targets, len(stages[0].names), half),
    )


def read_probes(setting: Setting, hook_points: Sequence[str]) -> dict[str, Tensor]:
    """Activations [token source d_model] of every snapshot on the probes' cells, by hook point."""
    tokens = torch.from_numpy(np.asarray(setting.probes.corpus.tokens, dtype=np.int64))
    places = {name: HookPoint.parse(name) for name in hook_points}
    found: dict[str, list[Tensor]] = {name: [] for name in hook_points}
    for index in range(len(setting.series)):
        with torch.no_grad():
            read = setting.series.open(index).read(tokens, list(places.values()))
        for name, place in places.items():
            found[name].append(read[place][setting.cells])
    return {name: torch.stack(parts, dim=1) for name, parts in found.items()}
