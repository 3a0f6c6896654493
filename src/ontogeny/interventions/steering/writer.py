"""Writing all samples of one kind of text: read what was drawn, say what was found, draw what comes next."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.edits import PartsMaker
from ontogeny.interventions.steering.lane import Lane, LaneStep
from ontogeny.interventions.steering.plan import SteeringPlan
from ontogeny.interventions.steering.record import Ending, Kind, TextRecord, TokenRecord
from ontogeny.interventions.steering.sampling import choose_tokens
from ontogeny.interventions.steering.steered_run import SteeredRun, draw_directions
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.token_texts import TokenTexts


@dataclass(frozen=True)
class Opened:
    """What texts are written with: a dictionary, models by their snapshots' labels, a tokenizer, limits.

    `context`: tokens that fit, None without a limit; `skip_first`: positions at the beginning that are never changed;
    `turn_end`: the token that ends an answer, None outside of conversations.
    """

    dictionary: Crosscoder
    models: Mapping[str, HookedModel]
    tokenizer: Any
    texts: TokenTexts
    context: int | None
    skip_first: int
    device: str
    cached: bool
    turn_end: int | None = None


class Writer:
    """All samples of one kind of text, while they are written."""

    def __init__(self, opened: Opened, plan: SteeringPlan, kind: Kind, prompt: Sequence[int]) -> None:
        self.opened, self.plan, self.kind = opened, plan, kind
        self.sampling, self.n_prompt = plan.request.sampling, len(prompt)
        rows, models, cached = self.sampling.samples, opened.models, opened.cached
        runs = {}
        if kind == "steered":
            runs["steered"] = SteeredRun(plan, models, cached=cached)
        if plan.request.control and kind != "baseline":
            d_model = models[plan.request.snapshot].d_model
            random = draw_directions(plan, rows, d_model, self.sampling.seed)
            runs["control"] = SteeredRun(plan, models, random, cached=cached)
        maker = None
        if plan.edits or plan.needs_codes:
            maker = PartsMaker(opened.dictionary, sorted(plan.places), opened.device)
        self.lane = Lane(
            kind, plan, models, runs, maker, n_prompt=self.n_prompt, skip_first=opened.skip_first, cached=cached
        )
        self.next = torch.tensor([list(prompt)] * rows)
        self.generated: list[list[int]] = [[] for _ in range(rows)]
        self.open_rows = set(range(rows))
        self.step = 0

    @property
    def done(self) -> bool:
        """Whether every text has ended."""
        return not self.open_rows

    def advance(self) -> Iterator[TokenRecord | TextRecord]:
        """Let the models read what was drawn last, say what they found, and draw what comes next."""
        first, tokens = self.lane.n_tokens, self.next
        step = self.lane.extend(tokens)
        texts = self.opened.texts.of(tokens.flatten().numpy()).to_pylist()
        for row in sorted(self.open_rows):
            for place in range(tokens.shape[1]):
                yield self._token(row, place, first + place, tokens, texts[row * tokens.shape[1] + place], step)
        for row in sorted(self.open_rows):
            ending = self._ending(row)
            if ending is not None:
                self.open_rows.remove(row)
                text = str(self.opened.tokenizer.decode(self.generated[row]))
                yield TextRecord(kind=self.kind, sample=row, text=text, ended=ending)
        following = step.following.masked_fill(~self._readable(step.following), -torch.inf)
        self.next = choose_tokens(following, self.sampling, self.step)[:, None]
        for row in self.open_rows:
            self.generated[row].append(int(self.next[row, 0]))
        self.step += 1

    def _readable(self, logits: Float[Tensor, "row vocab"]) -> Bool[Tensor, " vocab"]:
        """Tokens that every snapshot of the plan can read: a chat model may know more than its base."""
        readable = torch.ones(logits.shape[-1], dtype=torch.bool)
        for label in self.plan.labels:
            size, instead = self.opened.models[label].vocab_size, self.plan.instead.get(label, {})
            readable[size:] &= torch.tensor(
                [token in instead for token in range(size, len(readable))], dtype=torch.bool
            )
        return readable.to(logits.device)

    def _ending(self, row: int) -> Ending | None:
        written, context = self.generated[row], self.opened.context
        if written and written[-1] == self.opened.tokenizer.eos_token_id:
            return "end of text"
        if written and written[-1] == self.opened.turn_end:
            return "end of turn"
        if len(written) >= self.sampling.max_tokens:
            return "max_tokens"
        return "context" if context is not None and self.lane.n_tokens >= context else None

    def _token(
        self, row: int, place: int, position: int, tokens: Int[Tensor, "row new"], text: str, step: LaneStep
    ) -> TokenRecord:
        kl = {name: _known(values[row, place]) for name, values in step.divergence.items()}
        at = row * tokens.shape[1] + place
        # Of the first positions, which it never saw, the dictionary has nothing to say.
        seen = step.monitored if position >= self.opened.skip_first else None
        return TokenRecord(
            kind=self.kind,
            sample=row,
            position=position,
            token=int(tokens[row, place]),
            text=text,
            generated=position >= self.n_prompt,
            probability=_known(step.probability[row, place]),
            kl=kl.get(self.kind),
            kl_control=kl.get("control") if self.kind == "steered" else None,
            codes=() if seen is None else tuple(seen.codes[at].tolist()),
            contributions=() if seen is None else tuple(map(tuple, seen.contributions[at].tolist())),
            evidence=() if seen is None else tuple(tuple(map(_known, each)) for each in seen.evidence[at]),
        )


def _known(value: Tensor | float) -> float | None:
    """A number; None for NaN."""
    number = float(value)
    return None if number != number else number
