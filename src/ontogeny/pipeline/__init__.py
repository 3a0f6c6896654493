"""The pipeline: the five stages of a recipe's run, and what they share."""

from ontogeny.pipeline.analyses import AnalysesRefused
from ontogeny.pipeline.harvest import Harvest, harvest
from ontogeny.pipeline.inputs import Run, grow, open_run, open_snapshots
from ontogeny.pipeline.stages import STAGES, analyze, evaluate, run_stages, train
from ontogeny.progress import Reporter

__all__ = [
    "STAGES",
    "AnalysesRefused",
    "Harvest",
    "Reporter",
    "Run",
    "analyze",
    "evaluate",
    "grow",
    "harvest",
    "open_run",
    "open_snapshots",
    "run_stages",
    "train",
]
