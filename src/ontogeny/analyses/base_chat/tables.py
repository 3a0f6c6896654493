"""The tables of a comparison of two models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ontogeny.analyses.base_chat.config import BaseChatConfig
from ontogeny.analyses.base_chat.difference import Components, top_tokens
from ontogeny.analyses.base_chat.divergence import Divergence, find_examples
from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.latents.ownership import PairLatents
from ontogeny.latents.pair import BASE_ONLY, CHAT_ONLY, CLASSES, DEAD
from ontogeny.latents.shares import wilson_interval
from ontogeny.results import Column, Table
from ontogeny.snapshots.unembedding import LinearUnembedding

Shares = Mapping[str, tuple[np.ndarray, np.ndarray, float]]

CLASS_COLUMNS = (
    Column("class", "1", "chat-only, base-only, shared, other, or dead (never fires on the held-out text)"),
    Column("n", "1", "latents"),
    Column("share", "fraction", "of the latents that are not dead"),
    Column("share_low", "fraction", "its 95 % interval, as if latents were independent"),
    Column("share_high", "fraction", "its upper end"),
    Column("n_raw", "1", "latents of the class by norms in raw activations: what the normaliser makes of it"),
    Column("tested", "1", "latents with enough tokens for latent scaling"),
    Column("survive", "1", "only-latents whose absence from the other model latent scaling confirms"),
    Column("survive_share", "fraction", "of those tested"),
    Column("survive_low", "fraction", "its 95 % interval"),
    Column("survive_high", "fraction", "its upper end"),
    Column("complete_shrinkage", "1", "only-latents whose direction is in the other model after all"),
    Column("latent_decoupling", "1", "only-latents whose direction other latents write in the other model"),
    Column("template_share", "fraction", "mean share of active tokens that are the template's own"),
    Column("mostly_template", "1", "latents with more than half of their active tokens there"),
    Column("cosine", "1", "median cosine of the two decoders"),
)
LATENT_COLUMNS = (
    Column("latent", "1", "index of the latent"),
    Column("class", "1", "as in the table of classes"),
    Column("n_active", "tokens", "held-out tokens it fires on"),
    Column("survives", "1", "an only-latent whose absence latent scaling confirms; null where it was not tested"),
    Column("norm_base", "1", "decoder norm in the base model, normalised space"),
    Column("norm_chat", "1", "decoder norm in the chat model, normalised space"),
    Column("delta_norm", "fraction", "((chat - base) / larger + 1) / 2: 1 = chat only"),
    Column("delta_norm_raw", "fraction", "the same of norms in raw activations"),
    Column("cosine", "1", "cosine of the two decoders"),
    Column("probe", "1", "the model along whose decoder it is looked for in the other"),
    Column("nu_error", "1", "how much of it the other model holds, by what the other latents leave"),
    Column("nu_error_se", "1", "its standard error over documents"),
    Column("nu_reconstruction", "1", "how much of its direction other latents write there"),
    Column("nu_reconstruction_se", "1", "its standard error over documents"),
    Column("q_absent", "1", "adjusted p-value of: nu_error is not below its threshold"),
    Column("complete_shrinkage", "1", "an only-latent that is in the other model after all"),
    Column("latent_decoupling", "1", "an only-latent whose direction other latents write there"),
    Column("template_share", "fraction", "share of its active tokens that are the chat template's own"),
    Column("template_share_se", "fraction", "its standard error over documents"),
    Column("user_share", "fraction", "share of its active tokens that are the user's words"),
    Column("user_share_se", "fraction", "its standard error over documents"),
    Column("assistant_share", "fraction", "share of its active tokens that are the assistant's words"),
    Column("assistant_share_se", "fraction", "its standard error over documents"),
)
KL_COLUMNS = (
    Column("group", "1", "which tokens are predicted"),
    Column("n", "tokens", "predictions compared"),
    Column("n_documents", "1", "documents they lie in"),
    Column("kl", "nats", "mean KL(chat || base)"),
    Column("kl_se", "nats", "its standard error over documents"),
    Column("ce_base", "nats", "the base model's cross-entropy"),
    Column("ce_base_se", "nats", "its standard error over documents"),
    Column("ce_chat", "nats", "the chat model's cross-entropy"),
    Column("ce_chat_se", "nats", "its standard error over documents"),
)
EXAMPLE_COLUMNS = (
    Column("rank", "1", "0 is the largest divergence; one token a document"),
    Column("document", "1", "document in the corpus"),
    Column("row", "1", "row of the corpus"),
    Column("position", "1", "place in the row at which the prediction is made"),
    Column("kl", "nats", "KL(chat || base) there"),
    Column("ce_base", "nats", "the base model's loss on the next token"),
    Column("ce_chat", "nats", "the chat model's loss on it"),
    Column("before", "1", "text up to the prediction"),
    Column("token", "1", "the next token as it stands in the text"),
    Column("chat_says", "1", "the chat model's most likely next token"),
    Column("base_says", "1", "the base model's"),
    Column("after", "1", "text after the next token"),
    Column("context", "1", "before and after, the next token in «»"),
)
MEAN_COLUMNS = (
    Column("group", "1", "tokens averaged over"),
    Column("n", "tokens", "how many"),
    Column("norm", "raw", "norm of mean(chat - base), the noise of the mean taken off"),
    Column("norm_se", "raw", "its standard error, jackknife over blocks of documents"),
    Column("relative", "fraction", "over the mean norm of the base model's activations"),
    Column(
        "share", "fraction", "norm^2 over mean ||chat - base||^2: how much of the difference is the same everywhere"
    ),
    Column("rms", "raw", "root of mean ||chat - base||^2"),
)
PCA_COLUMNS = (
    Column("component", "1", "0 is the largest"),
    Column("n", "tokens", "tokens it is estimated from"),
    Column("share", "fraction", "share of the variance of chat - base about its mean"),
    Column("agreement", "fraction", "how much of it lies in the leading components of either half of the documents"),
    Column("cosine_mean", "1", "cosine with the mean difference"),
)


def class_table(latents: PairLatents, shares: Shares) -> Table:
    """One row a class."""
    alive = int((latents.kind != DEAD).sum())
    template = shares["control"][0] if "control" in shares else None
    rows = []
    for kind, name in enumerate(CLASSES):
        member = latents.kind == kind
        n, tested = int(member.sum()), member & latents.tested
        row: dict[str, Any] = {column.name: None for column in CLASS_COLUMNS}
        row |= {"class": name, "n": n, "n_raw": int((latents.kind_raw == kind).sum())}
        if kind != DEAD:
            low, high = wilson_interval(n, alive)
            row |= {"share": n / alive if alive else None, "share_low": low, "share_high": high}
            row |= {"tested": int(tested.sum()), "cosine": _middle(latents.cosine[member])}
        if kind in (CHAT_ONLY, BASE_ONLY):
            survive = int((tested & latents.survives).sum())
            low, high = wilson_interval(survive, int(tested.sum()))
            row |= {"survive": survive, "survive_low": low, "survive_high": high}
            row["survive_share"] = survive / int(tested.sum()) if tested.any() else None
            row["complete_shrinkage"] = int((tested & latents.complete_shrinkage).sum())
            row["latent_decoupling"] = int((tested & latents.latent_decoupling).sum())
        if template is not None and kind != DEAD:
            here = template[member & np.isfinite(template)]
            row["template_share"] = float(here.mean()) if len(here) else None
            row["mostly_template"] = int((here > 0.5).sum())
        rows.append(row)
    return Table.from_rows("classes", CLASS_COLUMNS, rows, _schema(CLASS_COLUMNS, words=("class",), counts=COUNTS))


COUNTS = ("n", "n_raw", "tested", "survive", "complete_shrinkage", "latent_decoupling", "mostly_template")


def _middle(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def latent_table(latents: PairLatents, shares: Shares, names: tuple[str, str]) -> Table:
    """One row a latent."""
    n = len(latents.kind)
    only = np.isin(latents.kind, (CHAT_ONLY, BASE_ONLY)) & latents.tested
    columns: dict[str, Any] = {
        "latent": np.arange(n),
        "class": pa.array(CLASSES).take(pa.array(latents.kind)),
        "n_active": latents.n_active,
        "norm_base": latents.norms[:, 0],
        "norm_chat": latents.norms[:, 1],
        "probe": pa.array(names).take(pa.array(latents.in_chat.astype(np.int64))),
        "delta_norm": latents.delta,
        "delta_norm_raw": latents.delta_raw,
    }
    for name in ("cosine", "nu_error", "nu_error_se", "nu_reconstruction", "nu_reconstruction_se", "q_absent"):
        columns[name] = getattr(latents, name)
    for name in ("survives", "complete_shrinkage", "latent_decoupling"):
        columns[name] = pa.array(getattr(latents, name), mask=~only)
    for name, mask in (("template", "control"), ("user", "user"), ("assistant", "assistant")):
        missing = np.full(n, np.nan)
        share, error = shares[mask][:2] if mask in shares else (missing, missing)
        columns |= {f"{name}_share": share, f"{name}_share_se": error}
    arrays = [
        each if isinstance(each, pa.Array) else pa.array(each, from_pandas=True)
        for each in (columns[column.name] for column in LATENT_COLUMNS)
    ]
    data = pa.table(arrays, names=[column.name for column in LATENT_COLUMNS])
    return Table("latents", LATENT_COLUMNS, data, sorted_by=("latent",))


def kl_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """One row a group of predicted tokens."""
    return Table.from_rows("kl", KL_COLUMNS, rows, _schema(KL_COLUMNS, words=("group",), counts=("n", "n_documents")))


def example_table(divergence: Divergence | None, inputs: AnalysisInputs, config: BaseChatConfig) -> Table:
    """The tokens on which the models differ most, with their text."""
    rows = []
    if divergence is not None:
        for rank, place in enumerate(find_examples(divergence, inputs.corpus, config.examples)):
            rows.append({"rank": rank, **_example(divergence, int(place), inputs, config)})
    schema = _schema(
        EXAMPLE_COLUMNS,
        words=("before", "token", "after", "context", "chat_says", "base_says"),
        counts=("rank", "document", "row", "position"),
    )
    return Table.from_rows("kl_examples", EXAMPLE_COLUMNS, rows, schema)


def _example(divergence: Divergence, place: int, inputs: AnalysisInputs, config: BaseChatConfig) -> dict[str, Any]:
    row, position = int(divergence.row[place]), int(divergence.position[place])
    tokens, documents = inputs.corpus.tokens[row], inputs.corpus.document[row]
    following = position + 1

    def text(start: int, stop: int) -> str:
        span = slice(max(start, 0), stop)
        kept = [
            int(token) for token, at in zip(tokens[span], documents[span], strict=True) if at == documents[position]
        ]
        return str(inputs.series.tokenizer.decode(kept))

    before, token = text(following - config.context_tokens, following), text(following, following + 1)
    after = text(following + 1, following + 1 + config.context_tokens // 2)
    said = {
        name: str(inputs.series.tokenizer.decode([int(getattr(divergence, name)[place])]))
        for name in ("chat_says", "base_says")
    }
    losses = {name: float(getattr(divergence, name)[place]) for name in ("kl", "ce_base", "ce_chat")}
    where = {"document": int(documents[position]), "row": row, "position": position}
    return {**where, **losses, "before": before, "token": token, "after": after, **said,
            "context": f"{before}«{token}»{after}"}  # fmt: skip


def mean_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """One row a group of tokens."""
    return Table.from_rows(
        "mean_difference", MEAN_COLUMNS, rows, _schema(MEAN_COLUMNS, words=("group",), counts=("n",))
    )


def pca_table(components: Components) -> Table:
    """One row a principal component."""
    data = pa.table(
        {
            "component": np.arange(len(components.share)),
            "n": np.full(len(components.share), components.n_tokens),
            "share": pa.array(components.share, from_pandas=True),
            "agreement": pa.array(components.agreement, from_pandas=True),
            "cosine_mean": pa.array(components.cosine_mean, from_pandas=True),
        }
    )
    return Table("difference_pca", PCA_COLUMNS, data)


@dataclass(frozen=True)
class TokenLens:
    """Shows which tokens a direction, added to the residual stream, promotes and demotes in the chat model."""

    lens: LinearUnembedding | None
    tokenizer: Any
    count: int

    def table(self, name: str, key: str, keys: Sequence[Any], directions: np.ndarray) -> Table:
        """One row a (direction, side, rank); none without a lens."""
        columns = (
            Column(key, "1", f"as in {name.removesuffix('_tokens')}"),
            Column("side", "1", "top: promoted, bottom: demoted"),
            Column("rank", "1", "0 is the strongest"),
            Column("token_id", "1", "token id"),
            Column("token", "1", "the token as text"),
            Column("effect", "logits", "change of its logit by adding the direction once, less the mean over tokens"),
        )
        rows = []
        if self.lens is not None and len(directions):
            effects = self.lens.effects(torch.from_numpy(directions).float()).double().numpy()
            for place, side, rank, token, effect in top_tokens(effects, self.count):
                text = str(self.tokenizer.decode([token]))
                row = {key: keys[place], "side": side, "rank": rank, "token_id": token, "token": text, "effect": effect}
                rows.append(row)
        words = ("side", "token", *((key,) if key == "group" else ()))
        counts = ("rank", "token_id", *((key,) if key != "group" else ()))
        return Table.from_rows(name, columns, rows, _schema(columns, words=words, counts=counts))


def _schema(columns: Sequence[Column], words: Sequence[str], counts: Sequence[str]) -> pa.Schema:
    kinds = dict.fromkeys(words, pa.string()) | dict.fromkeys(counts, pa.int64())
    return pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in columns])
