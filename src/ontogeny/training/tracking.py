"""Where metrics go: always `metrics.jsonl` in the artifact, and an experiment tracker where one is asked for.

Names are stable (`<source>` is the snapshot's label, or label:hook_point where hook points differ):

    train/loss                      sum of the terms, dimensionless
    train/terms/<term>              each weighted term of that sum
    train/fve, train/fve/<source>   fraction of variance explained in the batch: mean over sources, and each
    train/l0, train/l0/<source>     active latents a token: in any source, and by the source's own gate
    train/dead                      fraction of latents silent for the whole dead window
    train/lr, train/k, train/sparsity_factor, train/grad_norm
    train/tokens, train/tokens_per_second
"""

import importlib
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from ontogeny.errors import ConfigError
from ontogeny.training.config import TrackingConfig
from ontogeny.workspace import disk_errors, read_json, write_bytes, write_json

METRICS_FILE = "metrics.jsonl"
RUN_FILE = "tracking.json"

Metrics = Mapping[str, int | float]


@runtime_checkable
class Tracker(Protocol):
    """A sink of metrics."""

    def rewind(self, step: int) -> None:
        """Training goes on at `step`: forget what was logged at or after it, where that is possible."""

    def log(self, step: int, metrics: Metrics) -> None:
        """Take the metrics of one step."""

    def close(self) -> None:
        """No more metrics will come."""


class JsonlTracker:
    """One JSON object a line: `step` and the metrics of that step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, step: int) -> None:
        """Keep only whole lines of earlier steps: a run that was killed has logged past its last checkpoint."""
        if self.path.is_file():
            kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step_of(line) < step]
            write_bytes(self.path, "".join(line + "\n" for line in kept).encode())

    def log(self, step: int, metrics: Metrics) -> None:
        """Append one line; a number that is not finite is left out, since JSON has none."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")

    def close(self) -> None:
        """Nothing is held open."""


def load_metrics(path: Path) -> list[dict[str, int | float]]:
    """The lines of a `metrics.jsonl`, oldest first."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _step_of(line: str) -> int | float:
    # A torn last line (the process was killed while it wrote) has no closing brace: it goes.
    return int(json.loads(line)["step"]) if line.endswith("}") else float("inf")


class WandbTracker:
    """Weights & Biases, or trackio, which speaks the same calls; a resumed training goes on in the same run."""

    def __init__(
        self, config: TrackingConfig, directory: Path, name: str | None, resolved: Mapping[str, Any] | None
    ) -> None:
        self._module = _tracker_module(config.backend)
        record = read_json(directory / RUN_FILE) if (directory / RUN_FILE).is_file() else {}
        options: dict[str, Any] = {
            "project": config.project,
            "group": config.group,
            "name": record.get("name") or name,
            "config": dict(resolved or {}),
            "resume": "allow",
        }
        if config.backend == "wandb":
            options |= {
                "id": record.get("id"),
                "entity": config.entity,
                "tags": list(config.tags),
                "mode": config.mode,
                "dir": str(directory),
            }
        else:
            # trackio knows no tags; in its config they can be seen and filtered by.
            options["config"] |= {"tags": list(config.tags)} if config.tags else {}
            options |= {"space_id": config.entity} if config.entity is not None else {}
        self._run = self._module.init(**options)
        write_json(
            directory / RUN_FILE,
            {"backend": config.backend, "id": getattr(self._run, "id", None), "name": options["name"]},
        )

    def rewind(self, step: int) -> None:
        """A tracker refuses or overwrites steps that it has: the resumed steps are bit-identical anyhow."""

    def log(self, step: int, metrics: Metrics) -> None:
        """Send the metrics of one step."""
        self._module.log(dict(metrics), step=step)

    def close(self) -> None:
        """Flush and end the process's part in the run."""
        self._module.finish()


def _tracker_module(backend: str) -> ModuleType:
    if importlib.util.find_spec(backend) is None:
        raise ConfigError(f"tracking.backend = {backend!r} is not installed: pip install 'ontogeny[{backend}]'.")
    return importlib.import_module(backend)


class Trackers:
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def rewind(self, step: int) -> None:
        """Rewind each."""
        for tracker in self._trackers:
            tracker.rewind(step)

    def log(self, step: int, metrics: Metrics) -> None:
        """Log to each."""
        for tracker in self._trackers:
            tracker.log(step, metrics)

    def close(self) -> None:
        """Close each."""
        for tracker in self._trackers:
            tracker.close()


def open_tracker(
    directory: Path,
    config: TrackingConfig | None = None,
    name: str | None = None,
    resolved: Mapping[str, Any] | None = None,
) -> Tracker:
    """The JSONL in `directory`, and the tracker that `config` asks for beside it.

    `name` is the run's name (the recipe's), `resolved` the whole configuration to record. ConfigError where the
    tracker's package is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    trackers: list[Tracker] = [JsonlTracker(directory / METRICS_FILE)]
    if config is not None and config.backend != "none":
        trackers.append(WandbTracker(config, directory, name, resolved))
    return Trackers(trackers)
