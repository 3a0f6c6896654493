"""What is asked of loss curves; torch-free."""

from typing import Annotated

from pydantic import Field, model_validator

from ontogeny.config import Config


class LossCurvesConfig(Config):
    """Loss curves of tokens over snapshots and over model sizes; thresholds as published."""

    max_tokens: Annotated[int | None, Field(ge=1)] = 10_000_000
    """Predicted tokens looked at, in whole documents from the first; none means all."""
    high: Annotated[float, Field(gt=0)] = 5.0
    """Nats above which a monogenic token is before it is learned."""
    low: Annotated[float, Field(gt=0)] = 0.3
    """Nats below which a token is solved, and a monogenic one from when it is learned on."""
    slope: Annotated[float, Field(lt=0)] = -0.3
    """Nats per e-fold of tokens, or of parameters, below which a polygenic token falls."""
    r2: Annotated[float, Field(gt=0, lt=1)] = 0.98
    """R² of a line in the logarithm, above which a falling token is polygenic."""
    fit_first: Annotated[int | None, Field(ge=0)] = None
    """First step of the power law over training; without it the step at which half of the fall of log L is done."""
    n_bins: Annotated[int, Field(ge=2)] = 300
    """Bins of the density of losses (published: 3,000)."""
    max_loss: Annotated[float, Field(gt=0)] = 20.8
    """Nats at which the last bin ends (published: 30 bits)."""
    n_listed: Annotated[int, Field(ge=0)] = 2000
    """Tokens whose own emergence is listed: those that are clustered, else evenly spaced ones."""
    emergence_loss: Annotated[float | None, Field(gt=0)] = None
    """Nats below which a token has emerged; without it half of its own fall."""
    n_alike: Annotated[int, Field(ge=0)] = 3
    """Of each listed token, the listed tokens with the most correlated curves."""
    before: Annotated[int, Field(ge=0)] = 20
    """Tokens of context shown before each listed one."""
    draws: Annotated[int, Field(ge=2)] = 200
    """Bootstrap draws of documents for intervals."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of intervals."""
    seed: int = 0
    """Of draws."""

    @model_validator(mode="after")
    def _ordered(self) -> "LossCurvesConfig":
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        return self
