"""From sums to the result: estimates on disk, tests over all of them, tables."""

from typing import Any

import pyarrow as pa

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.latent_scaling.config import LatentScalingConfig
from ontogeny.analyses.latent_scaling.controls import control_table
from ontogeny.analyses.latent_scaling.spool import Spool
from ontogeny.analyses.latent_scaling.tables import (
    LATENTS,
    PairCounts,
    count_earlier,
    iter_verdicts,
    latent_rows,
    scaling_table,
)
from ontogeny.analyses.latent_scaling.verdicts import adjust
from ontogeny.results import Result, Table, View

VIEWS = (
    View("scatter", "scaling", "Decoder norm against nu", x="relative_norm", y=("nu_error",), group="source"),
    View("histogram", "scaling", "nu on the error", x="nu_error", group="source"),
    View("heatmap", "scaling", "nu along the series", x="source", y=("latent",), value="nu_error"),
    View("heatmap", "pairs", "Complete shrinkage", x="source", y=("other",), value="shrinkage_share"),
    View("table", "controls", "What nu is along other directions"),
    View("histogram", "latents", "In how many sources latents are present, by scaling", x="present_by_scaling"),
)


def judge(inputs: AnalysisInputs, config: LatentScalingConfig) -> Result:
    """The result of latent scaling."""
    names = list(inputs.dictionary.sources_out)
    norms = inputs.dictionary.decoder_norms().detach().double().cpu().numpy()
    spool = Spool.write(inputs, config)
    adjusted = adjust(spool, config)
    pairs, parts, earlier = PairCounts(names), [], 0
    for batch, _, verdicts in iter_verdicts(spool, adjusted, norms, config):
        pairs.add(batch, verdicts)
        parts.append(latent_rows(batch, verdicts, names))
        earlier += count_earlier(verdicts, len(names))
    latents = Table("latents", LATENTS, pa.Table.from_batches(parts), sorted_by=("latent",))
    controls = control_table(inputs.accumulated.get("controls"), names, config)
    tables = (scaling_table(spool, adjusted, norms, names, config), pairs.table(), latents, controls)
    claims = [row["called_present"] for row in controls.rows() if row["called_present"] is not None]
    assert inputs.codes is not None, "the codes are among the needs"
    summary: dict[str, Any] = {
        "n_latents": inputs.dictionary.n_latents,
        "n_tokens": inputs.codes.n_tokens,
        "probe": config.probe,
        "too_rare": int((inputs.codes.counts < config.min_tokens).sum()),
        "tests": pairs.total("n"),
        **{name: pairs.total(name) for name in PairCounts.NAMES[1:]},
        "present_earlier_by_scaling": earlier,
        "controls_called_present": max(claims) if claims else None,
    }
    summary["sentences"] = say(summary)
    return Result("latent_scaling", tables, VIEWS, summary)


def say(summary: dict[str, Any]) -> list[str]:
    """What the counts mean."""
    tests, gone = summary["tests"], summary["absent_by_norm"]
    sentences = [
        f"Of {tests:,} pairs (latent, other source) that could be tested, {gone:,} look absent by decoder norm; latent "
        f"scaling finds {summary['complete_shrinkage']:,} of these there after all (complete shrinkage), "
        f"{summary['latent_decoupling']:,} written by other latents, and confirms {summary['survives']:,}.",
        f"{summary['turned']:,} pairs hold the latent in another direction than at its probe, and "
        f"{summary['unclear']:,} are unclear.",
    ]
    claims = summary["controls_called_present"]
    if claims is not None:
        sentences.append(
            f"Along directions that are not the latent's own the same tests call up to {claims:.0%} of latents "
            "present: what is found cannot be surer than that."
        )
    return sentences
