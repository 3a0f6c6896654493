"""What steering found, as plain numbers that travel as JSON: tokens as they come, texts, and the whole of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from ontogeny.config import Config, config_error
from ontogeny.errors import ConfigError
from ontogeny.interventions.steering.config import SteeringRequest

Kind = Literal["baseline", "steered", "control"]
Ending = Literal["end of text", "end of turn", "max_tokens", "context", "stopped"]
KINDS: tuple[Kind, ...] = ("baseline", "steered", "control")


class TokenRecord(Config):
    """One token of one text; numbers are null where there is none, for the first token of a row above all."""

    kind: Kind
    """Which text."""
    sample: int
    """Which of its samples."""
    position: int
    """From the start of the row, a BOS included."""
    token: int
    """Its id."""
    text: str
    """Its text."""
    generated: bool
    """Whether it was generated; else it is the prompt's."""
    probability: float | None
    """Of this token, where it was predicted, under the model that the text is drawn from."""
    kl: float | None
    """KL(untouched || changed), nats, where this token was predicted, both on the same tokens; null in a baseline."""
    kl_control: float | None
    """The same for random directions as long as the change, on the same tokens; with a control, in steered texts."""
    codes: tuple[float, ...] = ()
    """Code of every monitored latent, from the untouched snapshots on these tokens; none at positions left out."""
    contributions: tuple[tuple[float, ...], ...] = ()
    """Per monitored latent: what every written source gets of it, code · decoder norm where its gate is on."""
    evidence: tuple[tuple[float | None, ...], ...] = ()
    """Per monitored latent: what every read source alone says of it."""


class TextRecord(Config):
    """One text, ended."""

    kind: Kind
    """Which text."""
    sample: int
    """Which of its samples."""
    text: str
    """What was generated."""
    ended: Ending
    """By what."""


class Divergence(Config):
    """The mean KL over the generated tokens of a kind of text, in nats."""

    kind: Kind
    """Of the texts whose tokens are gone through."""
    run: Literal["steered", "control"]
    """What is compared with the untouched snapshot there."""
    mean: float
    """Over all generated tokens."""
    se: float | None
    """Standard error of the mean over samples, which stand for themselves; null for one sample."""
    n_tokens: int
    """Generated tokens."""
    n_samples: int
    """Samples."""


class SteeringRecord(Config):
    """A request with all that came of it."""

    version: Literal[1] = 1
    """Of the format."""
    request: SteeringRequest
    """What was asked."""
    sources_in: tuple[str, ...]
    """Sources that the dictionary reads, in the order of `evidence`."""
    sources_out: tuple[str, ...]
    """Sources that it writes, in the order of `contributions`."""
    monitored: tuple[int, ...]
    """Latents in the order of `codes`."""
    largest: tuple[float | None, ...]
    """Largest code of each on held-out text, null where it is not known."""
    tokens: tuple[TokenRecord, ...]
    """Every token of every text, the prompt's too."""
    texts: tuple[TextRecord, ...]
    """Every text."""

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of text there are, baseline first."""
        return [kind for kind in KINDS if any(text.kind == kind for text in self.texts)]

    def passage(self, kind: Kind, sample: int = 0) -> list[TokenRecord]:
        """The tokens of one text, in order."""
        return [each for each in self.tokens if (each.kind, each.sample) == (kind, sample)]

    def text(self, kind: Kind, sample: int = 0) -> str:
        """What was generated."""
        return next(each.text for each in self.texts if (each.kind, each.sample) == (kind, sample))

    def divergences(self) -> list[Divergence]:
        """Mean KL of the steered and of the control run on every kind of text that has it."""
        found: list[Divergence] = []
        steered = [each for each in self.tokens if each.kind == "steered" and each.generated]
        control = [each for each in self.tokens if each.kind == "control" and each.generated]
        found += _mean_of("steered", "steered", [(each.sample, each.kl) for each in steered])
        found += _mean_of("steered", "control", [(each.sample, each.kl_control) for each in steered])
        found += _mean_of("control", "control", [(each.sample, each.kl) for each in control])
        return found

    def save(self, file: Path | str) -> None:
        """Write it as JSON."""
        Path(file).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_steering(file: Path | str) -> SteeringRecord:
    """What `SteeringRecord.save` wrote; ConfigError says what is wrong with the file."""
    file = Path(file)
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; give a file that `ontogeny steer --json` wrote.")
    try:
        return SteeringRecord.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise config_error(error, SteeringRecord, str(file)) from error


def _mean_of(
    kind: Kind, run: Literal["steered", "control"], values: Iterable[tuple[int, float | None]]
) -> Sequence[Divergence]:
    by_sample: dict[int, list[float]] = {}
    for sample, value in values:
        if value is not None:
            by_sample.setdefault(sample, []).append(value)
    if not by_sample:
        return []
    sums = np.array([sum(each) for each in by_sample.values()])
    counts = np.array([len(each) for each in by_sample.values()])
    mean, n = float(sums.sum() / counts.sum()), len(counts)
    # A ratio of sums over samples of unequal length: the usual linearisation.
    residual = (sums - mean * counts) / counts.mean()
    se = float(np.sqrt((residual**2).sum() / (n - 1) / n)) if n > 1 else None
    return [Divergence(kind=kind, run=run, mean=mean, se=se, n_tokens=int(counts.sum()), n_samples=n)]
