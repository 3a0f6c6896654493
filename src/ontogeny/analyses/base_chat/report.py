"""The result of a comparison of two models."""

from dataclasses import fields
from typing import Any

import numpy as np

from ontogeny.analyses.base_chat import tables
from ontogeny.analyses.base_chat.config import BaseChatConfig
from ontogeny.analyses.base_chat.difference import find_components, mean_rows, sum_difference
from ontogeny.analyses.base_chat.divergence import compare_predictions, group_divergence
from ontogeny.analyses.base_chat.shares import compute_mask_shares
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.latents.ownership import PairLatents, Verdicts, judge_latents
from ontogeny.latents.pair import BASE_ONLY, CHAT_ONLY, SHARED, choose_pair
from ontogeny.results import Result, View
from ontogeny.tokens.config import ROLES

VIEWS = (
    View("table", "classes", "Whose latents are whose"),
    View("histogram", "latents", "Relative decoder norm: 0 = base only, 1 = chat only", x="delta_norm"),
    View("scatter", "latents", "How much of each latent the other model holds", x="nu_reconstruction", y=("nu_error",),
         group="class"),
    View("table", "kl", "How far apart the predictions are"),
    View("table", "mean_difference", "The mean difference of the activations"),
    View("line", "difference_pca", "Principal components of the difference", x="component", y=("share",)),
)  # fmt: skip
NO_MASKS = (
    "no chat masks: the corpus holds no conversation, so template shares and the beginnings of answers are missing; "
    "give a text source `chat = true`"
)
NO_MODELS = "kl_tokens = 0: the models were not run, so divergence and logit lens are missing"


def compare_models(inputs: AnalysisInputs, config: BaseChatConfig) -> Result:
    """All tables; what the inputs lack is left out and named in the summary."""
    pair = choose_pair(inputs.dictionary.sources_out, inputs.sources, "base_chat", config.base, config.chat)
    names = inputs.dictionary.sources_out[pair.base], inputs.dictionary.sources_out[pair.chat]
    verdicts = Verdicts(**{each.name: getattr(config, each.name) for each in fields(Verdicts)})
    latents = judge_latents(inputs.accumulated, inputs.dictionary, pair, verdicts)
    shares = compute_mask_shares(inputs, ("control", *ROLES))
    difference = sum_difference(inputs, pair)
    means, mean_vectors = mean_rows(difference)
    components = find_components(difference, config.components)
    divergence = compare_predictions(inputs, config, pair) if config.kl_tokens else None
    groups = group_divergence(divergence, inputs.corpus, config) if divergence is not None else []
    lens = divergence.lens if divergence is not None else None
    top = tables.TokenLens(lens, inputs.series.tokenizer, config.top_tokens)
    places = list(range(len(components.share)))
    made = (
        tables.class_table(latents, shares),
        tables.latent_table(latents, shares, names),
        tables.kl_table(groups),
        tables.example_table(divergence, inputs, config),
        tables.mean_table(means),
        top.table("mean_difference_tokens", "group", [row["group"] for row in means], mean_vectors),
        tables.pca_table(components),
        top.table("difference_pca_tokens", "component", places, components.directions),
    )
    missing = ([] if "control" in shares else [NO_MASKS]) + ([] if divergence is not None else [NO_MODELS])
    summary: dict[str, Any] = {
        "base": names[0],
        "chat": names[1],
        **_counts(latents),
        "chat_only_in_shared_interval": _in_shared_interval(latents),
        "template_share_of_tokens": shares["control"][2] if "control" in shares else None,
        "kl": groups[0]["kl"] if groups else None,
        "kl_se": groups[0]["kl_se"] if groups else None,
        "mean_difference_relative": means[0]["relative"] if means else None,
        "missing": missing,
    }
    summary["sentences"] = _say(summary, groups)
    return Result("base_chat", made, VIEWS, summary)


def _counts(latents: PairLatents) -> dict[str, int]:
    """What the classes hold and what of it survives."""
    chat, base = latents.kind == CHAT_ONLY, latents.kind == BASE_ONLY
    return {
        "n_latents": len(latents.kind),
        "chat_only": int(chat.sum()),
        "chat_only_tested": int((chat & latents.tested).sum()),
        "chat_only_survive": int((chat & latents.survives).sum()),
        "base_only": int(base.sum()),
        "base_only_survive": int((base & latents.survives).sum()),
        "shared": int((latents.kind == SHARED).sum()),
    }


def _say(summary: dict[str, Any], groups: list[dict[str, str | int | float | None]]) -> list[str]:
    """What the numbers mean."""
    chat_only, tested = summary["chat_only"], summary["chat_only_tested"]
    sentences = [
        f"{chat_only:,} of {summary['n_latents']:,} latents are chat-only (only in {summary['chat']}) by norm; of "
        f"the {tested:,} that fire often enough to be tested, {summary['chat_only_survive']:,} survive latent scaling."
    ]
    if len(groups) > 1:
        most = max(groups[1:], key=lambda row: row["kl"] or 0.0)
        sentences.append(
            f"The models' predictions lie {groups[0]['kl']:.3f} nats apart on average, and most on {most['group']} "
            f"({most['kl']:.3f})."
        )
    return sentences


def _in_shared_interval(latents: PairLatents) -> float | None:
    """The share of tested chat-only latents whose nu_reconstruction lies in the central 95 % of the shared ones'."""
    chat = (latents.kind == CHAT_ONLY) & latents.tested
    shared = (latents.kind == SHARED) & latents.tested
    if not chat.any() or not shared.any():
        return None
    low, high = np.quantile(latents.nu_reconstruction[shared], (0.025, 0.975))
    values = latents.nu_reconstruction[chat]
    return float(((values >= low) & (values <= high)).mean())
