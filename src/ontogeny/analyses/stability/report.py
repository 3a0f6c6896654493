"""The tables of stability: twins, matches, what share of each class survives, and the classes that chance gives."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.stability.config import StabilityConfig
from ontogeny.analyses.stability.survival import Biographies, Reunion, compute_biographies, count_active, reunite
from ontogeny.analyses.stability.twins import Twins, compute_divergence, draw_partners, find_twins
from ontogeny.latents.matching import NONE, random_decoders
from ontogeny.latents.shares import wilson_interval
from ontogeny.latents.trajectories import CLASSES
from ontogeny.results import Column, Result, Table, View

TWINS = (
    Column("latent", "1", "index of the latent"),
    Column("twin", "1", "index of its twin"),
    Column("source", "1", "source at which the latent's decoder norm is largest"),
    Column("twin_source", "1", "the same of the twin"),
    Column("cosine", "1", "cosine of the two decoders there"),
    Column("n_tokens", "tokens", "tokens on which either is on strongly"),
    Column("n_both", "tokens", "of these, tokens on which both are"),
    Column("n_alone", "tokens", "of these, tokens on which the other one is off"),
    Column("divergence", "fraction", "n_alone / n_tokens: 0 one feature, 1 two; null where neither is ever on"),
    Column("divergence_se", "fraction", "binomial standard error"),
    Column("control", "fraction", "divergence from a random latent that lives in other sources"),
)
MATCHES = (
    Column("latent", "1", "index of the latent"),
    Column("other", "1", "name or id of the other dictionary"),
    Column("role", "1", "other, or shuffled (trained on shuffled snapshots)"),
    Column("n_active", "tokens", "held-out tokens the latent fires on"),
    Column("match", "1", "index of its one-to-one match there; null for a dead latent or where none is left"),
    Column("cosine", "1", "cosine of their decoders, concatenated over the common sources, in normalised space"),
    Column("nearest_cosine", "1", "cosine with the most similar latent there, whoever else is matched with it"),
    Column("control_cosine", "1", "cosine of its match in a random dictionary of the other's size and norms"),
    Column("survives", "1", "whether cosine is at least the threshold"),
    Column("class", "1", "class of the latent's life, by decoder norm"),
    Column("match_class", "1", "class of the match's life"),
    Column("half_rise", "octaves", "half-rise of the latent on the series' log time; null where it never rises"),
    Column("match_half_rise", "octaves", "half-rise of the match"),
)
SURVIVAL = (
    Column("other", "1", "name or id of the other dictionary; null: all in `others`"),
    Column("role", "1", "other or shuffled"),
    Column("class", "1", "class of life, or all"),
    Column("n", "1", "living latents of the class"),
    Column("n_survive", "1", "of these, latents that survive (in every one, where other is null)"),
    Column("share", "fraction", "n_survive / n"),
    Column("share_low", "fraction", "lower end of Wilson's 95 % interval"),
    Column("share_high", "fraction", "upper end"),
    Column("control", "fraction", "share that survives in a random dictionary"),
    Column("control_high", "fraction", "upper end of its 95 % interval"),
    Column("same_class", "fraction", "share of the survivors whose match is of the same class"),
    Column("same_class_low", "fraction", "lower end of its 95 % interval"),
    Column("same_class_high", "fraction", "upper end"),
    Column("mean_cosine", "1", "mean cosine of the matches"),
    Column("mean_cosine_se", "1", "its standard error over latents"),
    Column("mean_control_cosine", "1", "mean cosine of the matches in a random dictionary"),
)
CLASS_SHARES = (
    Column("dictionary", "1", "this, or the name or id of another"),
    Column("role", "1", "this, other or shuffled"),
    Column("class", "1", "class of life"),
    Column("n", "1", "living latents of the class"),
    Column("share", "fraction", "share among the living"),
    Column("share_low", "fraction", "lower end of Wilson's 95 % interval"),
    Column("share_high", "fraction", "upper end"),
)
_WORDS = {"source", "twin_source", "other", "role", "class", "match_class", "dictionary"}
_WHOLE = {"latent", "twin", "n_tokens", "n_both", "n_alone", "n_active", "match", "n", "n_survive"}
BLOCK_ROWS = 1 << 16


def make_result(inputs: AnalysisInputs, config: StabilityConfig) -> Result:
    """Compare the dictionary with itself, with the others, and with chance."""
    codes = inputs.codes
    assert codes is not None, "stability reads the code cache"
    alive = codes.counts >= config.min_active
    norms = inputs.dictionary.decoder_norms().detach().float().cpu().numpy()
    own = compute_biographies(norms, inputs.sources, alive, config.thresholds)
    twins, twin_table, chance = _twins(inputs, config, own, alive)
    reunions, shares = [], _class_rows("this", "this", own.kind, alive)
    roles = dict.fromkeys(config.others, "other") | ({config.shuffled: "shuffled"} if config.shuffled else {})
    for name, role in roles.items():
        other = inputs.others[name]
        counts = count_active(other, inputs.held_out, config.max_tokens, config.batch_size, inputs.device)
        living = counts >= 1
        found = reunite(inputs.dictionary, alive, other, living, inputs.sources, config, name=name, role=role)
        reunions.append(found)
        shares += _other_classes(inputs, config, name, role, living)
    survival = _survival_rows(reunions, own, alive, config)
    tables = (
        Table.from_rows("survival", SURVIVAL, survival, _schema(SURVIVAL)),
        Table.from_rows("classes", CLASS_SHARES, shares, _schema(CLASS_SHARES)),
        twin_table,
        _matches(reunions, own, codes.counts, alive, config),
    )
    views = (
        View("scatter", "survival", "What survives another dictionary, by class", x="class", y=("share", "control"),
             group="other"),
        View("histogram", "matches", "Cosine of latents with their matches", x="cosine", group="other"),
        View("scatter", "twins", "Twins: alike in direction, alike in use?", x="cosine", y=("divergence",)),
        View("scatter", "classes", "Classes of lives, with and without time", x="class", y=("share",),
             group="dictionary"),
    )  # fmt: skip
    return Result("stability", tables, views, _summary(survival, twins, chance, alive, config))


def _twins(
    inputs: AnalysisInputs, config: StabilityConfig, own: Biographies, alive: Bool[np.ndarray, " latent"]
) -> tuple[Twins, Table, int]:
    """The twins, their table, and how many pairs random directions with the same lives give."""
    import torch

    codes, W_dec = inputs.codes, inputs.dictionary.W_dec.detach()
    assert codes is not None
    directions = W_dec[torch.arange(len(W_dec)), torch.from_numpy(own.peak).to(W_dec.device)].float()
    live = own.live & alive[:, None]
    twins = find_twins(directions, live, config.twins)
    drawn = random_decoders(torch.ones(len(W_dec), 1), inputs.dictionary.d_out, config.seed)
    chance = len(find_twins(drawn, live, config.twins))
    partners = draw_partners(twins, live, alive, config.seed)
    names = list(inputs.dictionary.sources_out)
    rows = []
    for place, (first, second) in enumerate(zip(twins.first.tolist(), twins.second.tolist(), strict=True)):
        found = compute_divergence(codes, first, second, config.high, config.low)
        partner = int(partners[place])
        control = compute_divergence(codes, first, partner, config.high, config.low).share if partner >= 0 else None
        values = [first, second, names[own.peak[first]], names[own.peak[second]], float(twins.cosine[place])]
        values += [found.n_tokens, found.n_both, found.n_alone, found.share, found.se, control]
        rows.append(dict(zip([column.name for column in TWINS], values, strict=True)))
    return twins, Table.from_rows("twins", TWINS, rows, _schema(TWINS)), chance


def _other_classes(
    inputs: AnalysisInputs, config: StabilityConfig, name: str, role: str, living: Bool[np.ndarray, " latent"]
) -> list[dict[str, Any]]:
    """The classes of another dictionary's latents, where it writes the same sources."""
    other, own = inputs.others[name], list(inputs.dictionary.sources_out)
    if not set(own) <= set(other.sources_out):
        return []
    order = [list(other.sources_out).index(source) for source in own]
    norms = other.decoder_norms().detach().float().cpu().numpy()[:, order]
    kinds = compute_biographies(norms, inputs.sources, living, config.thresholds).kind
    return _class_rows(name, role, kinds, living)


def _class_rows(dictionary: str, role: str, kinds: np.ndarray, alive: np.ndarray) -> list[dict[str, Any]]:
    """One row a class; none where there is no series to live along."""
    known = alive & (kinds != NONE)
    rows, total = [], int(known.sum())
    for index, name in enumerate(CLASSES):
        n = int(((kinds == index) & known).sum())
        low, high = wilson_interval(n, total)
        shown = {"dictionary": dictionary, "role": role, "class": name, "n": n}
        rows.append({**shown, "share": n / total if total else None, "share_low": low, "share_high": high})
    return [row for row in rows if total and (row["class"] != "never" or row["n"])]


def _survival_rows(
    reunions: list[Reunion], own: Biographies, alive: Bool[np.ndarray, " latent"], config: StabilityConfig
) -> list[dict[str, Any]]:
    """By dictionary and class; then what survives in every one of the others."""
    members = {"all": alive} | {name: alive & (own.kind == index) for index, name in enumerate(CLASSES)}
    members = {name: mask for name, mask in members.items() if mask.any() or name == "all"}
    rows = []
    for each in reunions:
        survive, chance = each.survivors(config.survives), each.chance(config.survives)
        for name, mask in members.items():
            same, known = mask & survive & (each.kind == own.kind), mask & survive & (each.kind >= 0)
            rows.append(
                {
                    "other": each.other,
                    "role": each.role,
                    "class": name,
                    **_share(int((mask & survive).sum()), int(mask.sum()), int((mask & chance).sum())),
                    **_same_class(int(same.sum()), int(known.sum())),
                    **_mean(each.matching.similarity[mask & each.matching.matched]),
                    "mean_control_cosine": _mean(each.control.similarity[mask & each.control.matched])["mean_cosine"],
                }
            )
    seeds = [each for each in reunions if each.role == "other"]
    if len(seeds) > 1:
        every = np.logical_and.reduce([each.survivors(config.survives) for each in seeds])
        chance = np.logical_and.reduce([each.chance(config.survives) for each in seeds])
        for name, mask in members.items():
            shown = {"other": None, "role": "other", "class": name}
            counts = _share(int((mask & every).sum()), int(mask.sum()), int((mask & chance).sum()))
            unknown = {**_same_class(0, 0), **_mean(np.zeros(0)), "mean_control_cosine": None}
            rows.append({**shown, **counts, **unknown})
    return rows


def _share(n: int, of: int, chance: int) -> dict[str, Any]:
    low, high = wilson_interval(n, of)
    control = {"control": chance / of if of else None, "control_high": wilson_interval(chance, of)[1]}
    return {"n": of, "n_survive": n, "share": n / of if of else None, "share_low": low, "share_high": high, **control}


def _same_class(n: int, of: int) -> dict[str, Any]:
    low, high = wilson_interval(n, of)
    return {"same_class": n / of if of else None, "same_class_low": low, "same_class_high": high}


def _mean(values: np.ndarray) -> dict[str, Any]:
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {"mean_cosine": float(values.mean()) if len(values) else None, "mean_cosine_se": error}


def _matches(
    reunions: list[Reunion],
    own: Biographies,
    counts: np.ndarray,
    alive: Bool[np.ndarray, " latent"],
    config: StabilityConfig,
) -> Table:
    """One row a latent and other dictionary, in order of latent, written block by block."""
    schema = _schema(MATCHES)
    words = pa.array(list(CLASSES), pa.string())
    step = max(BLOCK_ROWS // max(len(reunions), 1), 1)

    def classes(kinds: np.ndarray) -> pa.Array:
        return words.take(pa.array(kinds, mask=kinds < 0))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(alive) if reunions else 0, step):
            block = slice(start, start + step)
            latents = np.arange(len(alive))[block]
            parts = []
            for each in reunions:
                match, known = each.matching.match[block], alive[block]
                survives = pa.array(each.survivors(config.survives)[block], mask=~known)
                columns = [latents, pa.repeat(each.other, len(latents)), pa.repeat(each.role, len(latents)),
                           counts[block], pa.array(match, mask=match < 0), each.matching.similarity[block],
                           each.matching.best[block], each.control.similarity[block], survives,
                           classes(own.kind[block]), classes(each.kind[block]), own.half_rise[block],
                           each.half_rise[block]]  # fmt: skip
                arrays = [item if isinstance(item, pa.Array) else pa.array(item, from_pandas=True) for item in columns]
                parts.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            whole = pa.Table.from_batches(parts).combine_chunks()
            # Row by latent: the parts lie one behind the other.
            order = np.arange(len(reunions) * len(latents)).reshape(len(reunions), -1).T.reshape(-1)
            yield from whole.take(order).combine_chunks().to_batches()

    return Table("matches", MATCHES, pa.RecordBatchReader.from_batches(schema, batches()), sorted_by=("latent",))


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    def kind(name: str) -> pa.DataType:
        if name == "survives":
            return pa.bool_()
        return pa.string() if name in _WORDS else pa.int64() if name in _WHOLE else pa.float64()

    return pa.schema([(column.name, kind(column.name)) for column in columns])


def _summary(
    survival: list[dict[str, Any]], twins: Twins, chance: int, alive: np.ndarray, config: StabilityConfig
) -> dict[str, Any]:
    whole = [row for row in survival if row["class"] == "all"]
    return {
        "n_latents": len(alive),
        "n_alive": int(alive.sum()),
        "twins": len(twins),
        "twins_by_chance": chance,
        "survive": {row["other"] or "every other": row["share"] for row in whole},
        "mean_cosine": {row["other"]: row["mean_cosine"] for row in whole if row["other"]},
        "mean_control_cosine": {row["other"]: row["mean_control_cosine"] for row in whole if row["other"]},
        "threshold": config.survives,
    }
