"""The recipe: the configs of all stages in one frozen tree. No torch, no network."""

from typing import Annotated, Any

from pydantic import Field, PrivateAttr, create_model, model_validator

from ontogeny.activations.config import ActivationsConfig
from ontogeny.analyses import ANALYSES
from ontogeny.analyses.contract import Need
from ontogeny.config import Config, Immaterial
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.evaluation.config import EvaluationConfig
from ontogeny.latents.config import CodesConfig
from ontogeny.quanta.sections_config import LossesConfig, QuantaConfig
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.grow_config import FamilyConfig
from ontogeny.tokens.config import CorpusConfig
from ontogeny.training.config import TrackingConfig, TrainingConfig
from ontogeny.workspace import KINDS

FAMILY_FOLDER = "{family}"
"""Stands in `series.folders` for the folder of the family that the recipe grows."""

SECTION_OF: dict[Need, str] = {
    "dictionary": "training",
    "held_out": "activations",
    "codes": "training",
    "losses": "losses",
    "quanta": "quanta",
}
"""The table that makes what an analysis needs (an evaluation is used where there is one)."""

AnalysesConfig: type[Config] = create_model(
    "AnalysesConfig",
    __base__=Config,
    __doc__="One table an analysis; a table that is present, even empty, asks for it.",
    **{
        name: (analysis.Config | None, Field(None, description=analysis.Config.__doc__))
        for name, analysis in ANALYSES.items()
    },  # type: ignore[call-overload]
)


class ModelConfig(Config):
    """The published sizes of the series' models, for `plan` without a hub and for `--family`."""

    n_layers: int = Field(ge=1)
    """Transformer blocks."""
    d_model: int = Field(ge=1)
    """Width of the residual stream."""
    parameters: float = Field(gt=0)
    """Parameters of one snapshot, embeddings included."""
    vocab_size: int = Field(ge=1)
    """Rows of the embedding."""
    bytes_per_parameter: float = Field(2.0, gt=0)
    """Bytes that the hub keeps for a parameter (2 for 16-bit files)."""


class Recipe(Config):
    """A whole experiment: which snapshots, which text, where to read, what to learn, what to measure."""

    name: str = Field(min_length=1)
    """Name of the recipe; every artifact of its runs answers to it."""
    description: Annotated[str, Immaterial] = ""
    """What it is for, in a sentence, with its source."""
    device: Annotated[str, Immaterial] = "auto"
    """Torch device of every section (cpu, cuda, cuda:1, mps, xpu, npu); auto: an accelerator where there is one."""
    dtype: str | None = None
    """Number format of the forward pass in every section that has `compute_dtype`: auto, float32 or bfloat16."""
    seed: int | None = None
    """Seed of every section that does not set its own; without it each section has its own default."""
    threads: Annotated[int | None, Immaterial] = Field(None, ge=1, le=4096)
    """CPU threads of torch; without it torch's own choice."""
    model: Annotated[ModelConfig | None, Immaterial] = None
    """Published sizes of the models."""
    family: FamilyConfig | None = None
    """A small model family to grow first; `series.folders` then says "{family}/step*"."""
    series: SeriesConfig = SeriesConfig(folders=f"{FAMILY_FOLDER}/step*")
    """Which snapshots."""
    corpus: CorpusConfig = CorpusConfig()
    """Which text."""
    activations: ActivationsConfig | None = None
    """Where in the models, and how stored."""
    reads: tuple[str, ...] | None = None
    """Hook points that the dictionary reads; without it all of `activations.hook_points`."""
    writes: tuple[str, ...] | None = None
    """Hook points that the dictionary reconstructs; without it those it reads. Others make it a transcoder."""
    dictionary: CrosscoderConfig | None = None
    """What is learned."""
    training: TrainingConfig | None = None
    """How it is learned."""
    evaluation: EvaluationConfig | None = None
    """How it is judged."""
    tracking: Annotated[TrackingConfig, Immaterial] = TrackingConfig()
    """Where training metrics go beside the JSONL that is always written."""
    storage: Annotated[dict[str, str], Immaterial] = Field(default_factory=dict)
    """Other places for bulky kinds of artifacts: kind = folder."""
    codes: CodesConfig = CodesConfig()
    """The pass over held-out text that analyses share."""
    losses: LossesConfig | None = None
    """The loss of every snapshot on every predicted token."""
    quanta: QuantaConfig | None = None
    """Which tokens are clustered into quanta, and how."""
    analyses: AnalysesConfig = AnalysesConfig()
    """Which analyses, and how."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _notes: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if FAMILY_FOLDER in (self.series.folders or "") and self.family is None:
            raise ValueError(
                f"series.folders names {FAMILY_FOLDER}, but there is no [family]; add one or name a folder"
            )
        points = self.activations.hook_points if self.activations else []
        for key in ("reads", "writes"):
            for point in getattr(self, key) or ():
                if point not in points:
                    raise ValueError(f"{key} names {point!r}, which is not among activations.hook_points {points}")
        for kind in self.storage:
            if kind not in KINDS:
                raise ValueError(f"storage has no kind {kind!r}; the kinds are {', '.join(KINDS)}")
        needed = {"training": "dictionary", "dictionary": "activations", "evaluation": "training", "quanta": "losses"}
        for section, other in needed.items():
            if getattr(self, section) is not None and getattr(self, other) is None:
                raise ValueError(f"[{section}] needs [{other}]; add that table")
        for name in self.chosen_analyses:
            for section in (SECTION_OF[need] for need in sorted(ANALYSES[name].needs) if need in SECTION_OF):
                if getattr(self, section) is None:
                    raise ValueError(f"[analyses.{name}] needs [{section}]; add that table")
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What was adapted to a family, one sentence each; empty where nothing was."""
        return self._notes

    def origin(self, key: str) -> str:
        """Where a dotted key's value came from; "default" where nothing set it."""
        while key:
            if key in self._origins:
                return self._origins[key]
            key = key.rpartition(".")[0]
        return "default"

    def resolved(self) -> list[tuple[str, Any, str]]:
        """Every value of the recipe as (dotted key, JSON-able value, origin), in the tree's order."""
        return [(key, value, self.origin(key)) for key, value in flatten(self.model_dump(mode="json"))]

    @property
    def chosen_analyses(self) -> dict[str, Config]:
        """The analyses asked for, by name, with their configs."""
        configs = {name: getattr(self.analyses, name) for name in ANALYSES}
        return {name: config for name, config in configs.items() if config is not None}

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the recipe names, in order."""
        present = (
            ("grow", self.family),
            ("losses", self.losses),
            ("quanta", self.quanta),
            ("harvest", self.activations),
            ("train", self.training),
            ("evaluate", self.evaluation),
            ("analyze", self.chosen_analyses or None),
        )
        return tuple(stage for stage, section in present if section is not None)


def flatten(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and values of a tree of tables; lists and empty tables are values."""
    flat: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            flat += flatten(value, f"{prefix}{name}.")
        else:
            flat.append((f"{prefix}{name}", value))
    return flat
