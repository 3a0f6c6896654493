"""The analysis of loss curves put together: tables, pictures, and what they say."""

from typing import Any

import numpy as np

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.loss_curves import columns
from ontogeny.analyses.loss_curves.config import LossCurvesConfig
from ontogeny.analyses.loss_curves.rows import change_rows, density_rows, fit_rows, kind_rows, mean_rows
from ontogeny.analyses.loss_curves.sums import SIZES, Axis, AxisSums, axes_of, sum_axis
from ontogeny.analyses.loss_curves.tokens import alike_rows, choose_listed, token_rows
from ontogeny.latents.clusters import draw_weights
from ontogeny.quanta.measured import OWN, MeasuredLosses
from ontogeny.results import Column, Result, Table, View
from ontogeny.tokens.token_texts import TokenTexts


def make_result(inputs: AnalysisInputs, config: LossCurvesConfig) -> Result:
    """Sums along every axis, then single tokens."""
    losses = inputs.losses
    assert losses is not None, "loss curves are made of losses"
    axes = axes_of(losses)
    summed = [sum_axis(axis, losses.documents, config) for axis in axes]
    weights = draw_weights(len(summed[0].size), config.draws, config.seed)
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("means", "fits", "densities", "changes", "kinds", "tokens", "alike")
    }
    for size, sums in zip(losses.sizes, summed, strict=False):
        rows["means"] += mean_rows(size, sums, weights, config.level)
        rows["densities"] += density_rows(size, losses.documents, config)
    for axis, sums in zip(axes, summed, strict=True):
        rows["fits"] += fit_rows(axis, sums, weights, config)
        rows["changes"] += change_rows(axis, sums, weights, config.level)
        rows["kinds"] += kind_rows(axis, sums, weights, config.level)
    _add_tokens(inputs, losses, config, axes, summed, rows)
    tables = (
        _table("means", columns.MEANS, rows),
        _table("fits", columns.FITS, rows),
        _table("densities", columns.DENSITIES, rows),
        _table("changes", columns.CHANGES, rows),
        _table("kinds", columns.KINDS, rows),
        _table("tokens", columns.TOKENS, rows),
        _table("alike", columns.ALIKE, rows),
    )
    return Result("loss_curves", tables, _views(axes[0]), _summary(axes, summed, rows, config))


def _table(name: str, known: tuple[Column, ...], rows: dict[str, list[dict[str, Any]]]) -> Table:
    return Table.from_rows(name, known, rows[name], columns.schema_of(known))


def _add_tokens(
    inputs: AnalysisInputs,
    losses: MeasuredLosses,
    config: LossCurvesConfig,
    axes: list[Axis],
    summed: list[AxisSums],
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    texts = TokenTexts(inputs.series.tokenizer)
    clustered = None if inputs.quanta is None else inputs.quanta.tokens
    listed = choose_listed(int(summed[0].size.sum()), clustered, config)
    for axis, sums in zip(axes, summed, strict=True):
        for kind, tokens in sums.listed.items():
            chosen = np.array(tokens, dtype=np.int64)
            rows["tokens"] += token_rows(axis, kind, chosen, losses.documents, texts, config)
    rows["tokens"] += token_rows(axes[0], "listed", listed, losses.documents, texts, config)
    rows["alike"] += alike_rows(listed, axes[0].at(listed), config.n_alike)


def _views(own: Axis) -> tuple[View, ...]:
    x = "step" if all(step is not None for step in own.steps) else "snapshot"
    return (
        View("line", "means", "Mean loss", x=x, y=("loss",), group="size", error="loss_se", log_y=True),
        View("line", "densities", "Density of losses", x="bin_low", y=("density",), group="snapshot"),
        View("line", "densities", "What tokens add to the mean", x="bin_low", y=("contribution",), group="snapshot"),
        View("line", "changes", "Tokens that emerge", x="column", y=("emerged", "monogenic"), group="over"),
        View("line", "changes", "Solved tokens that stay so", x="column", y=("stays",), group="over"),
        View("table", "fits", "Power laws"),
        View("table", "kinds", "Kinds of tokens"),
    )


def _summary(
    axes: list[Axis], summed: list[AxisSums], rows: dict[str, list[dict[str, Any]]], config: LossCurvesConfig
) -> dict[str, Any]:
    kinds = {(row["over"], row["kind"]): row for row in rows["kinds"]}
    own = axes[0].name
    means = [row for row in rows["means"] if row["size"] == own]
    start = "" if len(means) == 1 else f"from {means[0]['loss']:.3f} nats at {means[0]['snapshot']} to "
    told = [
        f"The mean loss over {means[0]['n']:,} tokens of {means[0]['n_documents']:,} documents "
        f"{'goes' if start else 'is'} {start}{means[-1]['loss']:.3f} nats at {means[-1]['snapshot']}."
    ]
    for row in rows["fits"]:
        over = "model sizes" if row["over"] == SIZES else "training" if row["over"] == OWN else row["over"]
        error = "" if row["exponent_se"] is None else f" ± {row['exponent_se']:.3f}"
        told.append(
            f"Over {over} it falls as {row['x']}^{row['exponent']:.3f}"
            f"{error} ({row['n']} points from {row['first']:,.0f} to {row['last']:,.0f}, R² {row['r2'] or 0:.3f})."
        )
    sudden, gradual = kinds[own, "monogenic"], kinds[own, "polygenic"]
    told.append(
        f"{sudden['n']:,} tokens ({100 * sudden['share']:.2g} %) are learned at once (above {config.high:g} nats in "
        f"every snapshot before, below {config.low:g} from then on)"
        + (
            f"; {gradual['n']:,} ({100 * gradual['share']:.2g} %) fall along a line in log {axes[0].x_name}."
            if gradual["share"] is not None
            else "."
        )
    )
    lost = kinds[own, "forgotten"]
    if lost["share"] is not None:
        told.append(
            f"{kinds[own, 'emerged']['n']:,} tokens fall below their threshold; {lost['share']:.1%} of them are above "
            "it again in the last snapshot."
        )
    return {
        "n_tokens": int(summed[0].size.sum()),
        "n_documents": len(summed[0].size),
        "loss_first": means[0]["loss"],
        "loss_last": means[-1]["loss"],
        "exponent": {row["over"]: row["exponent"] for row in rows["fits"]},
        "exponent_se": {row["over"]: row["exponent_se"] for row in rows["fits"]},
        "share": {kind: row["share"] for (over, kind), row in kinds.items() if over == own},
        "sentences": told,
    }
