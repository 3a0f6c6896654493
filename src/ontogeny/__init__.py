"""Ontogeny shows how a language model came to know what it knows.

The public names below are loaded on first use, so that `import ontogeny` and `ontogeny --help` need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ontogeny.activations.memory import MemoryStore as MemoryStore
    from ontogeny.activations.sharded import OrderedStore as OrderedStore
    from ontogeny.activations.sharded import ShardedStore as ShardedStore
    from ontogeny.activations.sharded import open_stream as open_stream
    from ontogeny.dictionaries.codes import Codes as Codes
    from ontogeny.dictionaries.config import CrosscoderConfig as CrosscoderConfig
    from ontogeny.dictionaries.crosscoder import Crosscoder as Crosscoder
    from ontogeny.dictionaries.crosscoder import load_dictionary as load_dictionary
    from ontogeny.dictionaries.interop import export_dictionary as export_dictionary
    from ontogeny.dictionaries.interop import import_dictionary as import_dictionary
    from ontogeny.errors import OntogenyError as OntogenyError
    from ontogeny.evaluation.config import EvaluationConfig as EvaluationConfig
    from ontogeny.evaluation.evaluate import evaluate as evaluate
    from ontogeny.interventions.steering.config import SteeringRequest as SteeringRequest
    from ontogeny.interventions.steering.markdown import save_markdown as save_markdown
    from ontogeny.interventions.steering.record import SteeringRecord as SteeringRecord
    from ontogeny.interventions.steering.record import load_steering as load_steering
    from ontogeny.interventions.steering.steerer import Steerer as Steerer
    from ontogeny.pipeline import open_run as open_run
    from ontogeny.pipeline import run_stages as run_stages
    from ontogeny.pipeline.steering import open_steerer as open_steerer
    from ontogeny.recipe import Recipe as Recipe
    from ontogeny.recipe import load_recipe as load_recipe
    from ontogeny.results import Result as Result
    from ontogeny.results import load_result as load_result
    from ontogeny.results import save_result as save_result
    from ontogeny.results.figures import draw_view as draw_view
    from ontogeny.results.figures import save_figures as save_figures
    from ontogeny.results.gathering import gather_results as gather_results
    from ontogeny.results.reader import ResultReader as ResultReader
    from ontogeny.results.report import save_report as save_report
    from ontogeny.snapshots.audit import audit_series as audit_series
    from ontogeny.snapshots.config import SeriesConfig as SeriesConfig
    from ontogeny.snapshots.grow import grow_family as grow_family
    from ontogeny.snapshots.grow_config import FamilyConfig as FamilyConfig
    from ontogeny.snapshots.hooks import HookedModel as HookedModel
    from ontogeny.snapshots.series import SnapshotSeries as SnapshotSeries
    from ontogeny.snapshots.series import open_series as open_series
    from ontogeny.tokens.config import CorpusConfig as CorpusConfig
    from ontogeny.tokens.config import TextSourceConfig as TextSourceConfig
    from ontogeny.tokens.corpus import build_corpus as build_corpus
    from ontogeny.tokens.corpus import open_corpus as open_corpus
    from ontogeny.training.config import TrainingConfig as TrainingConfig
    from ontogeny.training.trainer import train as train
    from ontogeny.types import HookPoint as HookPoint
    from ontogeny.workspace import Workspace as Workspace

__version__ = "0.1.0"

_PUBLIC = {
    "Codes": "dictionaries.codes",
    "CorpusConfig": "tokens.config",
    "Crosscoder": "dictionaries.crosscoder",
    "CrosscoderConfig": "dictionaries.config",
    "EvaluationConfig": "evaluation.config",
    "FamilyConfig": "snapshots.grow_config",
    "HookPoint": "types",
    "HookedModel": "snapshots.hooks",
    "MemoryStore": "activations.memory",
    "OntogenyError": "errors",
    "OrderedStore": "activations.sharded",
    "Recipe": "recipe",
    "Result": "results",
    "ResultReader": "results.reader",
    "SeriesConfig": "snapshots.config",
    "ShardedStore": "activations.sharded",
    "SnapshotSeries": "snapshots.series",
    "Steerer": "interventions.steering.steerer",
    "SteeringRecord": "interventions.steering.record",
    "SteeringRequest": "interventions.steering.config",
    "TextSourceConfig": "tokens.config",
    "TrainingConfig": "training.config",
    "Workspace": "workspace",
    "audit_series": "snapshots.audit",
    "build_corpus": "tokens.corpus",
    "draw_view": "results.figures",
    "evaluate": "evaluation.evaluate",
    "export_dictionary": "dictionaries.interop",
    "gather_results": "results.gathering",
    "grow_family": "snapshots.grow",
    "import_dictionary": "dictionaries.interop",
    "load_dictionary": "dictionaries.crosscoder",
    "load_recipe": "recipe",
    "load_result": "results",
    "load_steering": "interventions.steering.record",
    "open_corpus": "tokens.corpus",
    "open_run": "pipeline",
    "open_series": "snapshots.series",
    "open_steerer": "pipeline.steering",
    "open_stream": "activations.sharded",
    "run_stages": "pipeline",
    "save_figures": "results.figures",
    "save_markdown": "interventions.steering.markdown",
    "save_report": "results.report",
    "save_result": "results",
    "train": "training.trainer",
}
"""Public name -> the module that defines it."""

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ontogeny' has no attribute {name!r}")
    return getattr(import_module(f"ontogeny.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
