"""By what latents are ranked, what is done with the first of them, and against which controls. Torch-free."""

from typing import Literal

from pydantic import Field, model_validator

from ontogeny.config import Config
from ontogeny.interventions.config import ChangeConfig

Ranking = Literal["supporting", "effect", "exact", "relie", "norm", "activation"]
Control = Literal["random", "norm_matched", "activation_matched"]


class GivenRanking(Config):
    """A ranking of the user's own: latents in order, or a column of a CSV or Parquet file."""

    name: str = Field(min_length=1)
    """Name in tables."""
    latents: list[int] | None = None
    """These latents, the first to be ablated first."""
    path: str | None = None
    """CSV or Parquet file with a column `latent`; of columns `source` and `behaviour`, where it has them, only the rows
    of the one that is measured count."""
    column: str | None = None
    """Its column to rank by, the largest |number| first; null comes never."""
    smallest: bool = False
    """The smallest number first instead."""

    @model_validator(mode="after")
    def _complete(self) -> "GivenRanking":
        if (self.latents is None) == (self.path is None) or (self.path is None) != (self.column is None):
            raise ValueError(f"ranking {self.name!r} needs either 'latents', or 'path' and 'column'")
        return self


class AblationConfig(ChangeConfig):
    """How many latents does a behaviour need? The first of a ranking ablated or kept, against random ones."""

    rankings: list[Ranking] = Field(default=["supporting", "effect", "relie", "norm"])
    """Orders of latents, made on one half of the clusters: supporting (indirect effect, the largest first), effect (its
    size), exact (the size of the effect of patching it alone), relie, norm (share of decoder norm), activation."""
    given: list[GivenRanking] = Field(default=[])
    """Rankings of one's own."""
    controls: list[Control] = Field(default=["random", "norm_matched", "activation_matched"])
    """Latents drawn at random: any that are active, or as long, or as active as those of the first ranking."""
    control_seeds: int = Field(default=5, ge=1)
    """Draws of every control."""
    modes: list[Literal["ablate", "keep"]] = Field(default=["ablate", "keep"], min_length=1)
    """ablate: the first n go to the baseline; keep: all others do."""
    errors: list[Literal["kept", "moved"]] = Field(default=["kept"], min_length=1)
    """Whether what the dictionary leaves unexplained stays as it is, or goes to the baseline too."""
    counts: list[int] | None = None
    """How many latents; by default 1, 2, 4, ... and all that are active."""
    method: Literal["atp", "ig"] = "ig"
    """Estimate of the effects that rankings are made of."""
    candidates: int = Field(default=100, ge=1)
    """Strongest latents that are patched one by one for the ranking `exact`."""
    singles: int = Field(default=20, ge=0)
    """Strongest latents of every source that are ablated alone, to compare that with RelIE; 0 compares nothing."""
    top: int = Field(default=20, ge=0)
    """First latents of every ranking that are listed."""
    prompts: int = Field(default=256, ge=2)
    """Most prompts on which anything is measured."""
    draws: int = Field(default=200, ge=2)
    """Draws of clusters for intervals."""

    @model_validator(mode="after")
    def _named_once(self) -> "AblationConfig":
        names = [*self.rankings, *(each.name for each in self.given), *self.controls]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two rankings are called {twice!r}; give one of them another name")
        if not self.rankings and not self.given:
            raise ValueError("no ranking is named; give one, for example rankings = ['supporting']")
        if self.counts is not None and min(self.counts, default=0) < 1:
            raise ValueError("counts are numbers of latents from 1 on")
        return self
