"""The result of a comparison by patches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.patched_kl import tables
from ontogeny.analyses.patched_kl.config import PatchedKLConfig
from ontogeny.analyses.patched_kl.estimates import Estimates
from ontogeny.analyses.patched_kl.measure import PatchRunner
from ontogeny.analyses.patched_kl.patches import (
    ALL_LATENTS,
    GAP,
    PATCHED,
    TEMPLATE,
    Described,
    make_baselines,
    make_set_patches,
    make_sweep,
)
from ontogeny.analyses.patched_kl.sets import LatentSet, choose_sets, pair_of, rank_latents
from ontogeny.analyses.patched_kl.tokens import MeasuredTokens, choose_blocks, choose_tokens, part_rows
from ontogeny.evaluation.groups import ALL
from ontogeny.latents.pair import Pair
from ontogeny.results import Result, Table, View
from ontogeny.types import HookPoint

VIEWS = (
    View("table", "baselines", "KL to the later snapshot under every exchange"),
    View("table", "sets", "KL with chosen latents put in"),
    View("table", "contrasts", "Does a ranking find the latents that matter?"),
    View("line", "sweep", "KL by the layer at which the activation is put in", x="layer", y=("kl",), group="patch",
         error="kl_se", where=(("group", ALL),)),
)  # fmt: skip


def make_result(inputs: AnalysisInputs, config: PatchedKLConfig) -> Result:
    """Choose latents, take mean differences from one half of the rows, run every patch on the other."""
    pair = pair_of(inputs, config)
    sets = choose_sets(rank_latents(inputs.accumulated, inputs.dictionary, pair, config), config)
    own = pair.chat_source.hook_point
    sweep = _sweep_points(inputs, config)
    runner = PatchRunner(inputs, config, pair, list(dict.fromkeys([own, *sweep])))
    measured, fitted = (choose_blocks(inputs.corpus, rows, config) for rows in part_rows(inputs.corpus))
    tokens = choose_tokens(inputs.corpus, measured, runner.vocabulary, config)
    means = runner.compute_means(fitted)
    template = bool(np.asarray(inputs.corpus.masks[TEMPLATE][np.concatenate(measured)]).any())
    bias = runner.maker.biases[pair.chat] - runner.maker.biases[pair.base]
    described = {
        "baselines": make_baselines(pair, own, means[own], bias, template),
        "sets": make_set_patches(pair, own, sets, config.forms),
        "sweep": make_sweep(pair, {point: means[point] for point in sweep}, template),
    }
    sums = runner.measure([each.patch for part in described.values() for each in part], tokens)
    gap = next(place for place, each in enumerate(described["baselines"]) if each.patch.name == GAP)
    estimates = Estimates(sums, gap, config.min_gap, config.draws, config.seed)
    made = _make_tables(described, estimates, tokens.groups)
    summary = _Summary(inputs, pair, sets, tokens, estimates, {table.name: table.rows() for table in made})
    return Result("patched_kl", made, VIEWS, summary.make())


def _sweep_points(inputs: AnalysisInputs, config: PatchedKLConfig) -> list[HookPoint]:
    """The residual stream after every layer of the sweep; HookPointError for one that the models lack."""
    layers = range(inputs.series.n_layers) if config.sweep is None else config.sweep
    points = [HookPoint("resid_post", layer) for layer in dict.fromkeys(layers)]
    inputs.series.check_hook_points(points)
    return points


def _make_tables(
    described: Mapping[str, Sequence[Described]], estimates: Estimates, groups: Sequence[str]
) -> tuple[Table, ...]:
    columns = {"baselines": tables.BASELINES, "sets": tables.SETS, "sweep": tables.SWEEP}
    ends = np.cumsum([len(described[name]) for name in columns])
    places = {name: range(end - len(described[name]), end) for name, end in zip(columns, ends.tolist(), strict=True)}
    patched = {
        each.patch.hook_point: place
        for name in columns
        for place, each in zip(places[name], described[name], strict=True)
        if each.patch.name == PATCHED
    }
    made = {
        name: tables.make_table(
            name, kinds, tables.patch_rows(described[name], places[name], patched, estimates, groups)
        )
        for name, kinds in columns.items()
    }
    contrasts = tables.contrast_rows(described["sets"], places["sets"], estimates, groups)
    made["contrasts"] = tables.make_table("contrasts", tables.CONTRASTS, contrasts)
    return tuple(made[name] for name in ("baselines", "sets", "contrasts", "sweep"))


@dataclass(frozen=True)
class _Summary:
    """The few numbers that answer the question, and sentences that say them."""

    inputs: AnalysisInputs
    pair: Pair
    sets: Sequence[LatentSet]
    tokens: MeasuredTokens
    estimates: Estimates
    rows: Mapping[str, Sequence[Mapping[str, Any]]]

    def make(self) -> dict[str, Any]:
        names = self.inputs.dictionary.sources_out
        gap, patched, latents = (self._baseline(each) for each in (GAP, PATCHED, ALL_LATENTS))
        return {
            "base": names[self.pair.base],
            "chat": names[self.pair.chat],
            "n_predictions": self.tokens.n_tokens,
            "groups": list(self.tokens.groups),
            "kl": gap["kl"],
            "kl_se": gap["kl_se"],
            "kl_patched": patched["kl"],
            "kl_patched_se": patched["kl_se"],
            "closed_by_latents": latents["closed"],
            "closed_by_latents_se": latents["closed_se"],
            "n_latents": {each.name: len(each.latents) for each in self.sets if each.half == "whole"},
            "missing": self._missing(),
            "sentences": list(self._say()),
        }

    def _baseline(self, name: str, group: str = ALL) -> Mapping[str, Any]:
        return next(row for row in self.rows["baselines"] if (row["patch"], row["group"]) == (name, group))

    def _missing(self) -> list[str]:
        empty = [each.name for each in self.sets if each.half == "whole" and not each.latents]
        missing = [f"no latent is {name}: that set is empty and its rows are missing" for name in empty]
        if not np.asarray(self.inputs.corpus.masks["assistant"]).any():
            missing.append("no chat masks: the text holds no conversation, so there are no template or answer tokens")
        if self._baseline(GAP)["closed"] is None:
            missing.append("the snapshots predict nearly the same: no share of so small a gap is quoted")
        return missing

    def _say(self) -> Iterator[str]:
        base, chat = (self.inputs.dictionary.sources_out[place] for place in (self.pair.base, self.pair.chat))
        point = self.pair.chat_source.hook_point
        gap, patched = self._baseline(GAP), self._baseline(PATCHED)
        yield (
            f"KL({chat} || {base}) is {_plus_minus(gap, 'kl', 3)} nats over {gap['n']:,} predictions in "
            f"{gap['n_documents']:,} documents; {base}'s activation at {point} run on in {chat} leaves "
            f"{_plus_minus(patched, 'kl', 3)}."
        )
        if gap["closed"] is None:
            return
        latents, mean = (self._baseline(name) for name in (ALL_LATENTS, "mean difference"))
        yield (
            f"Share of that gap closed: {_share(patched)} by {base}'s activation alone, {_share(mean)} with the mean "
            f"difference, {_share(latents)} with all latents as {chat} writes them."
        )
        if patched["closed"] < 0:
            yield f"{base}'s activation does not fit {chat}'s later blocks: it does harm before any latent is put in."
        for row in self.rows["sets"]:
            if (row["half"], row["form"], row["group"]) == ("whole", "replace", ALL):
                yield f"{row['set']}, {row['n_latents']:,} latents replaced: {_share(row)}."
        for row in self.rows["contrasts"]:
            known = row["difference_low"] is not None
            if known and (row["versus"], row["form"], row["group"]) == ("worst", "replace", ALL):
                yield (
                    f"{row['set']}, halved by {row['by']} ({row['n_latents']:,} latents each): the best half closes "
                    f"{row['difference']:+.1%} more than the worst ({row['difference_low']:+.1%} to "
                    f"{row['difference_high']:+.1%})."
                )


def _plus_minus(row: Mapping[str, Any], name: str, digits: int) -> str:
    error = row[f"{name}_se"]
    return f"{row[name]:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _share(row: Mapping[str, Any]) -> str:
    low, high = row["closed_low"], row["closed_high"]
    return f"{row['closed']:.1%}" + ("" if low is None else f" ({low:.1%} to {high:.1%})")
