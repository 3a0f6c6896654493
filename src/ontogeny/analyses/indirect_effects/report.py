"""The result of an attribution; what is poorly estimated is said first."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.indirect_effects import columns
from ontogeny.analyses.indirect_effects.attribution import Attributed, attribute_behaviours, choose_sources
from ontogeny.analyses.indirect_effects.columns import make_table
from ontogeny.analyses.indirect_effects.config import IndirectEffectsConfig
from ontogeny.analyses.indirect_effects.groups import group_rows, iter_groups, overlap_rows
from ontogeny.analyses.indirect_effects.judge import (
    Judged,
    Relative,
    compute_relie,
    judge_effects,
)
from ontogeny.analyses.indirect_effects.legacy import check_legacy, legacy_blocks, slot_weights, tell_legacy
from ontogeny.latents.clusters import renumber, sum_clusters
from ontogeny.latents.quality import Quality, compute_quality, name_poor
from ontogeny.latents.relie import compute_legacy_shares, legacy_classes
from ontogeny.latents.times import TimeAxis, compute_time_axis, series_by_hook_point
from ontogeny.results import Result, Table, View
from ontogeny.tokens.pairs.behaviours import tokenize_behaviours
from ontogeny.types import source_names

MOST_PICTURED = 6
"""Behaviours with a picture of their own."""
MEANING = (
    "r and slope are those of exact patching on the estimate, gap is what latents and error leave unexplained; take "
    'more steps, another baseline, or method = "exact".'
)


def make_result(inputs: AnalysisInputs, config: IndirectEffectsConfig) -> Result:
    """Attribute, test, compare over snapshots, verify."""
    if config.legacy is not None:
        check_legacy(series_by_hook_point([inputs.sources[place] for place in choose_sources(inputs, config)]))
    behaviours = tokenize_behaviours(config.behaviours, config.policy, inputs.series.tokenizer)
    found = attribute_behaviours(inputs, config, behaviours)
    report = _Report(inputs, config, found)
    groups = list(iter_groups(found))
    tables = [
        make_table("verification", columns.VERIFICATION, report.verification),
        make_table("effects", columns.EFFECTS, report.effects, ("latent",)),
        make_table("relie", columns.RELIE, report.relie, ("latent",)),
        make_table("shares", columns.SHARES, report.shares, ("latent",)),
        make_table("totals", columns.TOTALS, report.totals),
        _rows("groups", columns.GROUPS, group_rows(groups, report.names, config.top)),
        _rows("overlaps", columns.OVERLAPS, overlap_rows(groups, report.names, config.top)),
    ]
    if config.legacy is not None:
        tables.append(make_table("legacy", columns.LEGACY, report.legacy, ("latent",)))
        tables.append(make_table("legacy_pairs", columns.LEGACY_PAIRS, report.legacy_pairs, ("latent",)))
    x = "step" if all(source.snapshot.step is not None for source in inputs.sources) else "source"
    views = (
        View("table", "verification", "Is the estimate any good"),
        View(
            "line", "totals", "Metric that the path changes", x=x, y=("change",), group="behaviour", error="change_se"
        ),
        View(
            "scatter", "relie", "When latents act, in how many sources", x="centre", y=("n_effective",), group="class"
        ),
        *(
            View("line", "shares", f"RelIE: {name}", x=x, y=("share",), group="latent", where=(("behaviour", name),))
            for name in list(found)[:MOST_PICTURED]
        ),
        View("scatter", "shares", "RelIE and decoder norm", x="norm_share", y=("share",), group="source"),
        View("table", "overlaps", "Strongest latents in common"),
    )
    return Result("indirect_effects", tuple(tables), views, report.summary())


def _rows(name: str, kinds: tuple[Any, ...], rows: list[dict[str, Any]]) -> Table:
    return Table.from_rows(name, kinds, rows, columns.schema_of(kinds))


class _Report:
    """Blocks of every table, behaviour after behaviour."""

    def __init__(self, inputs: AnalysisInputs, config: IndirectEffectsConfig, found: Mapping[str, Attributed]) -> None:
        self.inputs, self.config = inputs, config
        chosen = choose_sources(inputs, config)
        self.sources = [inputs.sources[place] for place in chosen]
        self.names = source_names(self.sources)
        self.steps = [source.snapshot.step for source in self.sources]
        norms = inputs.dictionary.decoder_norms().detach().double().cpu().numpy()
        self.norms = norms[:, chosen] / np.maximum(norms[:, chosen].sum(1, keepdims=True), np.finfo(np.float64).tiny)
        self.verification: list[Mapping[str, Any]] = []
        self.effects: list[Mapping[str, Any]] = []
        self.relie: list[Mapping[str, Any]] = []
        self.shares: list[Mapping[str, Any]] = []
        self.totals: list[Mapping[str, Any]] = []
        self.legacy: list[Mapping[str, Any]] = []
        self.legacy_pairs: list[Mapping[str, Any]] = []
        self.poor: list[tuple[str, str, Quality]] = []
        self.told: list[str] = []
        self.significant: dict[str, int] = {}
        self.classes: dict[str, dict[str, int]] = {}
        for name, given in found.items():
            self._add(name, given)

    def _add(self, name: str, given: Attributed) -> None:
        judged = judge_effects(given, self.config)
        self._add_quality(name, given)
        self._add_totals(name, given)
        for source, label in enumerate(self.names):
            self.effects.append(self._effect_block(name, given, judged, source, label))
        self.significant[name] = int(judged.significant.any(axis=1).sum())
        self.classes[name] = {}
        for hook_point, places in series_by_hook_point(self.sources).items():
            axis = compute_time_axis(
                [self.sources[at].snapshot.step for at in places], [self.sources[at].snapshot.tokens for at in places]
            )
            relative = compute_relie(judged, places, axis.log, self.config)
            for kind in relative.found.classes:
                self.classes[name][kind] = self.classes[name].get(kind, 0) + 1
            if self.config.legacy is not None:
                self._add_legacy(name, hook_point, given, places)
            if len(relative.chosen):
                self._add_relative(name, hook_point, given, judged, relative, axis)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.classes[name].items(), key=lambda e: -e[1]))
        self.told.append(
            f"{name}: {self.significant[name]} latents have a significant effect in some snapshot"
            + (f": {kinds}." if kinds else ".")
        )
        skipped = ", ".join(f"{count} {reason}" for reason, count in given.pairs.skipped.items())
        if skipped:
            self.told.append(f"{name}: {len(given.pairs)} pairs; skipped were {skipped}.")
        if self.config.legacy is not None:
            self.told.append(tell_legacy(name, given.effects, self.config))

    def _add_quality(self, name: str, given: Attributed) -> None:
        gaps = given.effects.completeness_gap()
        estimated = not self.config.patches_each
        for source, check in enumerate(given.checks):
            slopes = self.config.sound_slopes
            quality = compute_quality(check.estimate, check.exact, float(gaps[source]), estimated, slopes)
            if quality.poor:
                self.poor.append((name, self.names[source], quality))
            self.verification.append(
                {
                    "behaviour": [name],
                    "source": self.names[source],
                    "step": self.steps[source],
                    "baseline": given.baseline,
                    "n_candidates": len(check.latent),
                    "n": check.n_prompts,
                    "r": quality.r,
                    "slope": quality.slope,
                    "completeness_gap": quality.gap if estimated else None,
                    "poor": quality.poor,
                }
            )

    def _add_totals(self, name: str, given: Attributed) -> None:
        effects, pairs = given.effects, given.pairs
        clusters, n_clusters = renumber(pairs.cluster)
        right = np.where((pairs.wrong >= 0)[:, None], (effects.start < 0) + 0.5 * (effects.start == 0), np.nan)
        made = {
            "accuracy": sum_clusters(right, clusters, n_clusters),
            "metric_clean": sum_clusters(effects.start, clusters, n_clusters),
            "change": sum_clusters(effects.total, clusters, n_clusters),
            "error_effect": sum_clusters(effects.error, clusters, n_clusters),
        }
        block = {"behaviour": [name] * len(self.names), "source": self.names, "step": self.steps}
        block |= {key: sums.mean for key, sums in made.items()}
        block |= {f"{key}_se": made[key].se for key in ("accuracy", "change", "error_effect")}
        latents = effects.values.sum(axis=0) / effects.n_prompts
        self.totals.append(block | {"n": len(pairs), "n_clusters": n_clusters, "latents_effect": latents})

    def _effect_block(self, name: str, given: Attributed, judged: Judged, source: int, label: str) -> Mapping[str, Any]:
        return {
            "latent": judged.latents,
            "behaviour": name,
            "source": label,
            "step": self.steps[source],
            "n": len(given.pairs),
            "n_prompts": judged.n_prompts,
            "n_clusters": judged.n_clusters,
            "effect": judged.effect[:, source],
            "effect_se": judged.se[:, source],
            "p": judged.p[:, source],
            "q": judged.q[:, source],
            "p_family": judged.p_family[:, source],
            "significant": judged.significant[:, source],
        }

    def _add_relative(
        self, name: str, hook_point: str, given: Attributed, judged: Judged, relative: Relative, axis: TimeAxis
    ) -> None:
        found, chosen, places = relative.found, relative.chosen, list(relative.places)
        rows = np.arange(len(chosen))
        peak = np.array([places[at] if at >= 0 else -1 for at in found.peak])
        effect = judged.effect[chosen][:, places]
        labels = tuple(self.names[at] for at in places)
        legacy = compute_legacy_shares(effect.T).T
        held = np.maximum(given.held[judged.latents[chosen]][:, places], 0.0)
        held /= np.where(held.sum(axis=1, keepdims=True) > 0, held.sum(axis=1, keepdims=True), np.nan)
        self.relie.append(
            {
                "latent": judged.latents[chosen],
                "behaviour": name,
                "hook_point": hook_point,
                "class": found.classes,
                "class_probability": relative.probability[rows, found.kind],
                "n_effective": found.n_effective,
                "support": found.support,
                "peak_source": [self.names[at] if at >= 0 else None for at in peak],
                "effect": np.where(peak >= 0, judged.effect[chosen, peak], np.nan),
                "effect_se": np.where(peak >= 0, judged.se[chosen, peak], np.nan),
                "n_clusters": judged.n_clusters[chosen],
                "half_rise": found.half_rise,
                "half_rise_low": relative.rise_low,
                "half_rise_high": relative.rise_high,
                "half_rise_step": [axis.step_at(float(each)) for each in found.half_rise],
                "half_life": found.half_life,
                "half_life_censored": found.censored,
                "centre": found.centre,
                "reverses": found.reverses,
                "legacy_class": legacy_classes(legacy.T, labels) if len(labels) > 1 else [None] * len(rows),
            }
        )
        for number, at in enumerate(places):
            self.shares.append(
                {
                    "latent": judged.latents[chosen],
                    "behaviour": name,
                    "source": self.names[at],
                    "step": self.steps[at],
                    "n": len(given.pairs),
                    "share": found.share[:, number],
                    "share_low": relative.share_low[:, number],
                    "share_high": relative.share_high[:, number],
                    "signed_share": found.share[:, number] * np.sign(effect[:, number]),
                    "size": found.size[:, number],
                    "norm_share": self.norms[judged.latents[chosen], at],
                    "held_share": held[:, number],
                    "legacy_share": legacy[:, number],
                }
            )

    def _add_legacy(self, name: str, hook_point: str, given: Attributed, places: Sequence[int]) -> None:
        weights = slot_weights(given.pairs.length, self.config.batch)
        fixed = {"behaviour": name, "hook_point": hook_point, "n": len(given.pairs)}
        nodes, pairs = legacy_blocks(given.effects, weights, places, self.names, self.steps, fixed)
        self.legacy += nodes
        self.legacy_pairs += pairs

    def summary(self) -> dict[str, Any]:
        """Poor estimates first, then what was found."""
        return {
            "n_poor": len(self.poor),
            "significant": self.significant,
            "classes": self.classes,
            "sentences": [*(f"{line} {MEANING}" for line in name_poor(self.poor)), *self.told],
        }
