"""A workspace with a dictionary and one result of every analysis, filled with made-up numbers and with hostile text."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ontogeny.results import Column, Result, Table, View, save_result
from ontogeny.workspace import Artifact, Workspace

SOURCES = tuple(f"step{step}" for step in (0, 1, 2, 4, 8, 16, 64, 256, 1000))
STEPS = tuple(int(name[4:]) for name in SOURCES)
N_LATENTS = 40
ALERT = "<script>alert(1)</script>"
HOSTILE = (
    ALERT,
    "</script>",
    "\u0000",
    "\u202edlrow",
    "\"quoted'",
    "\n",
    "\t",
    "&amp;",
    "日本",
    "$x_1$",
    "🜁",
    "-->",
    "{{7*7}}",
)
WORDS = (" the", " cat", " sat", " on", " a", " mat", ".", "\n", " def", " return", "(", ")", " snapshot", "ing", " of")
CLASSES = ("initialisation", "emergent", "persistent", "transient", "discontinued", "late-specific")


def table(name: str, rows: Iterable[Mapping[str, Any]], sorted_by: Sequence[str] = (), **types: pa.DataType) -> Table:
    """A table whose columns say their own names; missing types are inferred."""
    data = pa.Table.from_pylist(list(rows))
    for column, kind in types.items():
        data = data.set_column(data.schema.get_field_index(column), column, data.column(column).cast(kind))
    columns = tuple(
        Column(column, _unit(column), f"what {column.replace('_', ' ')} says") for column in data.schema.names
    )
    return Table(name, columns, data, tuple(sorted_by))


def _unit(column: str) -> str:
    units = {
        "step": "steps",
        "density": "fraction",
        "density_se": "fraction",
        "share": "fraction",
        "norm": "normalised",
    }
    return units.get(column, "1")


def make_norms(n_latents: int, rng: np.random.Generator) -> np.ndarray:
    """Norms [latent source] that rise, fall, or both."""
    place = np.arange(len(SOURCES))
    rise = 1 / (1 + np.exp(-(place - rng.uniform(-1, 8, (n_latents, 1))) * 1.5))
    fall = 1 / (1 + np.exp((place - rng.uniform(5, 16, (n_latents, 1))) * 1.5))
    return np.asarray(rise * fall * rng.uniform(0.5, 2, (n_latents, 1)))


def statistics(norms: np.ndarray, rng: np.random.Generator) -> Result:
    """Counts, densities, maxima; a histogram a latent."""
    latents, sources, bins, groups = [], [], [], []
    for latent, norm in enumerate(norms):
        density = float(rng.uniform(0.001, 0.2))
        dead = latent == len(norms) - 1
        latents.append(
            {
                "latent": latent,
                "n_tokens": 10_000,
                "n_active": 0 if dead else int(10_000 * density),
                "density": 0.0 if dead else density,
                "density_se": None if dead else density / 10,
                "mean": None if dead else 1.5,
                "mean_se": None if dead else 0.1,
                "max": None if dead else float(rng.uniform(2, 9)),
                "q50": None if dead else 1.2,
                "q90": None if dead else 2.2,
                "q99": None if dead else 3.2,
            }
        )
        for index, source in enumerate(SOURCES):
            here = density * norm[index]
            sources.append(
                {
                    "latent": latent,
                    "source": source,
                    "n_active": int(1e4 * here),
                    "density": here,
                    "density_se": here / 10,
                }
            )
        bins += [
            {
                "latent": latent,
                "bin": b,
                "lower": b / 2,
                "upper": (b + 1) / 2,
                "count": 0 if dead else int(200 * 0.6**b),
            }
            for b in range(10)
        ]
        groups += [
            {
                "latent": latent,
                "group": group,
                "n_group_tokens": 500,
                "n_active": 20,
                "density": 0.04,
                "density_se": 0.008,
                "share": 0.1,
                "share_se": 0.02,
            }
            for group in ("control", "user")
        ]
    tables = (
        table("latents", latents, ["latent"]),
        table("latent_sources", sources, ["latent", "source"]),
        table("groups", groups, ["latent", "group"]),
        table("histogram", bins, ["latent", "bin"]),
    )
    views = (
        View("histogram", "latents", "Density of latents", x="density", log_x=True),
        View("scatter", "latents", "Largest code against density", x="density", y=("max",), log_x=True),
    )
    return Result("statistics", tables, views, {"n_latents": len(norms), "dead": 1 / len(norms)})


def examples(norms: np.ndarray, rng: np.random.Generator, window: int = 24) -> Result:
    """Top, quantile and control windows, with gate and own evidence of every source."""
    rows, by_source = [], []
    for latent, norm in enumerate(norms[:-1]):
        for number, kind in enumerate(["top"] * 4 + ["bin"] * 6 + ["control"] * 2):
            tokens = [str(rng.choice(WORDS)) for _ in range(window)]
            values = np.where(rng.random(window) < 0.2, rng.exponential(2.0, window), 0.0)
            at = window // 2
            values[at] = 0.0 if kind == "control" else 8.0 - number / 2
            tokens[at] = HOSTILE[(latent + number) % len(HOSTILE)] if number < 4 else " cat"
            place = {"latent": latent, "row": number, "position": 100 + number}
            rows.append(
                {
                    **place,
                    "kind": kind,
                    "bin": (number - 4) % 3 if kind == "bin" else None,
                    "rank": number,
                    "document": number,
                    "value": float(values[at]),
                    "at": at,
                    "tokens": tokens,
                    "token_ids": list(range(window)),
                    "values": values.tolist(),
                }
            )
            for index, source in enumerate(SOURCES):
                evidence = values * norm[index] + rng.normal(0, 0.3, window)
                gate = values * norm[index] > 0.3
                by_source.append({**place, "source": source, "gate": gate.tolist(), "evidence": evidence.tolist()})
    tables = (
        table("examples", rows, ["latent"], token_ids=pa.list_(pa.int32())),
        table("example_sources", by_source, ["latent"]),
    )
    views = (View("tokens", "examples", "Examples", x="tokens", group="latent", value="values"),)
    return Result("examples", tables, views)


def evolution(norms: np.ndarray) -> Result:
    """Trajectories, classes, directions, population curves."""
    trajectories, latents, directions = [], [], []
    for latent, norm in enumerate(norms):
        live = norm >= norm.max() / 2
        onset = int(live.argmax())
        for index, source in enumerate(SOURCES):
            trajectories.append(
                {
                    "latent": latent,
                    "source": source,
                    "step": STEPS[index],
                    "tokens": STEPS[index] * 1024,
                    "norm": float(norm[index]),
                    "share": float(norm[index] / norm.max()),
                    "live": bool(live[index]),
                    "cosine_previous": None if index == 0 else 0.8,
                    "cosine_last": 0.5 + index / 20,
                }
            )
            for other, name in enumerate(SOURCES):
                directions.append(
                    {
                        "latent": latent,
                        "source": source,
                        "other": name,
                        "cosine": float(np.exp(-abs(index - other) / 3)),
                    }
                )
        latents.append(
            {
                "latent": latent,
                "class": CLASSES[latent % len(CLASSES)],
                "onset": SOURCES[onset],
                "onset_step": STEPS[onset],
                "peak_source": SOURCES[int(norm.argmax())],
                "half_rise_step": STEPS[onset] * 0.8,
                "lifetime": 3.5,
                "censored": bool(live[-1]),
                "n_seeds": 1,
                "norm_low": None,
                "norm_high": None,
            }
        )
    population = [
        {"source": source, "step": step, "tokens": step * 1024, "live": 10 + 3 * index, "born": 3, "gone": 1}
        for index, (source, step) in enumerate(zip(SOURCES, STEPS))
    ]
    counts = [{"class": name, "n": 7, "share": 1 / 6, "share_low": 0.1, "share_high": 0.25} for name in CLASSES]
    tables = (
        table("trajectories", trajectories, ["latent"]),
        table("latents", latents, ["latent"], norm_low=pa.float64(), norm_high=pa.float64()),
        table("directions", directions, ["latent"]),
        table("population", population),
        table("classes", counts),
    )
    views = (
        View("line", "trajectories", "Decoder norm of latents", x="step", y=("norm",), group="latent"),
        View("line", "population", "Births and deaths", x="step", y=("live", "born", "gone")),
        View("heatmap", "directions", "Directions", x="source", y=("other",), value="cosine"),
        View("scatter", "classes", "Classes", x="class", y=("share",)),
        View("table", "classes", "Classes in numbers"),
    )
    return Result("evolution", tables, views, {"classes": dict.fromkeys(CLASSES, 7)})


def latent_scaling(norms: np.ndarray) -> Result:
    """nu on error and reconstruction per source, with standard errors."""
    rows = [
        {
            "latent": latent,
            "source": source,
            "probe": SOURCES[-1],
            "n_active": 50,
            "nu_error": 1 - share,
            "nu_error_se": 0.05,
            "nu_reconstruction": share,
            "nu_reconstruction_se": 0.04,
            "relative_norm": share,
        }
        for latent, norm in enumerate(norms)
        for source, share in zip(SOURCES, (norm / norm.max()).tolist())
    ]
    return Result("latent_scaling", (table("scaling", rows, ["latent"]),))


def meaning(norms: np.ndarray) -> Result:
    """Top and bottom tokens by direct effect on the logits, per source."""
    rows = [
        {
            "latent": latent,
            "source": source,
            "side": side,
            "rank": rank,
            "token_id": rank,
            "token": HOSTILE[(latent + rank) % len(HOSTILE)],
            "effect": sign * (3.0 - rank / 4),
        }
        for latent in range(len(norms))
        for source in SOURCES[::4]
        for side, sign in (("top", 1), ("bottom", -1))
        for rank in range(8)
    ]
    tokens = [
        {"latent": latent, "purity": 0.5, "purity_se": 0.1, "complexity": latent / 10} for latent in range(len(norms))
    ]
    return Result("meaning", (table("logits", rows, ["latent"]), table("tokens", tokens, ["latent"])))


def explanations(norms: np.ndarray) -> Result:
    """What a judge said of some latents."""
    rows = [
        {
            "latent": latent,
            "explanation": f"fires on {ALERT} & friends",
            "detection": 0.8,
            "detection_se": 0.1,
            "fuzzing": None,
        }
        for latent in range(0, len(norms), 2)
    ]
    return Result("explanations", (table("explanations", rows, ["latent"], fuzzing=pa.float64()),))


def stability(norms: np.ndarray) -> Result:
    """Twins inside the dictionary, matches in another one."""
    twins = [{"latent": latent, "other": (latent + 1) % len(norms), "cosine": 0.9} for latent in range(len(norms))]
    matches = [{"latent": latent, "other": "seed 1", "match": latent, "cosine": 0.95} for latent in range(len(norms))]
    return Result("stability", (table("twins", twins, ["latent"]), table("matches", matches, ["latent"])))


def make_results(n_latents: int = N_LATENTS, window: int = 24) -> dict[str, Result]:
    """One result of every analysis, by kind."""
    rng = np.random.default_rng(0)
    norms = make_norms(n_latents, rng)
    results = (
        statistics(norms, rng),
        examples(norms, rng, window),
        evolution(norms),
        latent_scaling(norms),
        meaning(norms),
    )
    return {each.kind: each for each in (*results, explanations(norms), stability(norms))}


def fill_workspace(root: Path, results: Mapping[str, Result], sources: Sequence[str] = SOURCES) -> Artifact:
    """A dictionary of these sources called `made-up` and these results of it in a workspace; the dictionary."""
    workspace = Workspace(root)
    draft = workspace.begin(
        "dictionaries", {"dictionary": {"n_latents": N_LATENTS}, "training": {"steps": 5}}, name="made-up"
    )
    dictionary = draft.finish(sources=list(sources), seed=0, summary={"fve": 0.9}, recipe={"name": "made-up"})
    for kind, result in results.items():
        answer = workspace.begin("results", {"analysis": kind}, {"dictionary": dictionary.id}, name="made-up")
        save_result(result, answer.path)
        answer.finish(analysis=kind, summary=result.summary)
    return dictionary
