"""What do the tasks of lm-eval say of every snapshot? A bridge to its harness, for those who have it installed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ontogeny.analyses.contract import Analysis, AnalysisInputs
from ontogeny.config import Config, nearest
from ontogeny.errors import AnalysisError
from ontogeny.results import Column, Result, Table, View
from ontogeny.workspace import read_json, write_json

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


class LmEvalConfig(Config):
    """Scores of lm-eval's tasks in every snapshot; needs `pip install 'ontogeny[eval]'`."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)] = ("blimp",)
    """Names of tasks and of groups of tasks, as `lm-eval ls tasks` lists them."""
    folder: str | None = None
    """Folder with tasks of one's own, lm-eval's YAML files."""
    shots: Annotated[int | None, Field(ge=0)] = None
    """Examples before each question; without it what the task says."""
    limit: Annotated[int | None, Field(ge=1)] = None
    """Only the first questions of each task, to try it."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Questions in one forward pass."""
    draws: Annotated[int, Field(ge=2)] = 1_000
    """Bootstrap draws for standard errors that have no formula."""
    seed: int = 1234
    """Of the choice of examples."""


SCORES = (
    Column("task", "1", "name of the task, or of a group"),
    Column("metric", "1", "lm-eval's name of the metric"),
    Column("filter", "1", "lm-eval's name of what was done to answers before; none where nothing was"),
    Column("snapshot", "1", "label of the snapshot"),
    Column("step", "optimizer steps", "its training step, null where unknown"),
    Column("value", "1", "the metric, in the task's own units"),
    Column("value_se", "1", "standard error, as lm-eval has it; null where it has none"),
    Column("n", "1", "questions"),
    Column("shots", "1", "examples before each question"),
    Column("version", "1", "version of the task"),
)


def run(inputs: AnalysisInputs, config: LmEvalConfig) -> Result:
    """Evaluate every snapshot; those that are done already are kept in the scratch folder."""
    import pyarrow as pa

    manager = _open_tasks(config)
    rows = []
    for index, label in enumerate(inputs.series.labels):
        file = inputs.scratch / f"{index:04d}.json"
        if not file.is_file():
            write_json(file, {"rows": list(_score(inputs, config, manager, index))})
        step = inputs.series[index].step
        rows += [{"snapshot": label, "step": step, **row} for row in read_json(file)["rows"]]
    kinds = dict.fromkeys(("task", "metric", "filter", "snapshot", "version"), pa.string())
    kinds |= dict.fromkeys(("step", "n", "shots"), pa.int64())
    schema = pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in SCORES])
    rows.sort(key=lambda row: (row["task"], row["metric"], row["filter"] or ""))
    x = "step" if all(step is not None for step in inputs.series.steps) else "snapshot"
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    views = [
        View("line", "scores", metric, x=x, y=("value",), group="task", error="value_se", where=(("metric", metric),))
        for metric in metrics
    ]
    return Result("lm_eval", (Table.from_rows("scores", SCORES, rows, schema),), tuple(views), _summary(rows))


def _open_tasks(config: LmEvalConfig) -> "TaskManager":
    """lm-eval's tasks with the user's; AnalysisError where lm-eval is not there, or a task is unknown."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise AnalysisError("analyses.lm_eval needs lm-eval: pip install 'ontogeny[eval]'.") from error
    if config.folder is not None and not Path(config.folder).expanduser().is_dir():
        raise AnalysisError(f"analyses.lm_eval.folder: there is no folder {config.folder!r}.")
    folder = None if config.folder is None else str(Path(config.folder).expanduser())
    manager = TaskManager(include_path=folder)
    known = set(manager.all_tasks)
    unknown = [task for task in config.tasks if task not in known]
    if unknown:
        hint = ", ".join(nearest(unknown[0], sorted(known))) or "see `lm-eval ls tasks`"
        raise AnalysisError(f"lm-eval has no task {unknown[0]!r}; nearest: {hint}.")
    return manager


def _score(
    inputs: AnalysisInputs, config: LmEvalConfig, manager: "TaskManager", index: int
) -> Iterator[dict[str, Any]]:
    """One row a task, metric and filter, of one snapshot."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    model = inputs.series.open(index, device=inputs.device)
    language_model = HFLM(
        pretrained=model.module, tokenizer=inputs.series.tokenizer, batch_size=config.batch, device=inputs.device
    )
    answer = lm_eval.simple_evaluate(
        model=language_model,
        tasks=list(config.tasks),
        num_fewshot=config.shots,
        limit=config.limit,
        bootstrap_iters=config.draws,
        task_manager=manager,
        log_samples=False,
        random_seed=config.seed,
        numpy_random_seed=config.seed,
        torch_random_seed=config.seed,
        fewshot_random_seed=config.seed,
    )
    assert answer is not None, "one process evaluates"
    for task, scores in {**answer.get("groups", {}), **answer["results"]}.items():
        yield from _rows(task, scores, answer)


def _rows(task: str, scores: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """`{"acc,none": .7, "acc_stderr,none": .01}` as rows."""
    counted = answer.get("n-samples", {}).get(task, {})
    for key, value in scores.items():
        metric, _, how = key.partition(",")
        if not how or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        yield {
            "task": task,
            "metric": metric,
            "filter": None if how == "none" else how,
            "value": _number(value),
            "value_se": _number(scores.get(f"{metric}_stderr,{how}")),
            "n": counted.get("effective", scores.get("sample_len")),
            "shots": answer.get("n-shot", {}).get(task),
            "version": str(answer.get("versions", {}).get(task, "")) or None,
        }


def _number(value: Any) -> float | None:
    """lm-eval writes N/A, or NaN, where it has no standard error."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """First and last snapshot of every score."""
    by_score: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_score.setdefault(f"{row['task']} {row['metric']}", []).append(row)
    told: dict[str, Any] = {}
    for name, found in by_score.items():
        for place, row in (("first", found[0]), ("last", found[-1])):
            told |= {f"{name} {place}": row["value"], f"{name} {place}_se": row["value_se"]}
    return told


def reads(config: LmEvalConfig) -> Sequence[Path]:
    """The user's tasks and what lies beside them."""
    folder = None if config.folder is None else Path(config.folder).expanduser()
    return sorted(file for file in folder.rglob("*") if file.is_file()) if folder is not None else ()


LM_EVAL = Analysis("lm_eval", LmEvalConfig, frozenset({"series"}), run, reads=reads)
"""Scores of lm-eval's tasks."""
