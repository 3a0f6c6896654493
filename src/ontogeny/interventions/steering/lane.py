"""One kind of text while it is written: what its snapshot predicts, untouched and changed, and what its latents do."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.errors import NonFiniteError
from ontogeny.interventions.edits import Parts, PartsMaker
from ontogeny.interventions.splice import compute_token_losses
from ontogeny.interventions.steering.monitor import Monitored, compute_monitored
from ontogeny.interventions.steering.plan import SteeringPlan
from ontogeny.interventions.steering.steered_run import SteeredRun
from ontogeny.snapshots.growing_rows import GrowingRows
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint, Source


@dataclass(frozen=True)
class LaneStep:
    """What is known of the new tokens [row new] of a lane once its models have read them.

    `probability`: of each token where it was predicted, under the lane's own model; `divergence`: per changed run
    KL(untouched || changed) there, nats, on the same tokens; NaN for the first token of a text, which nobody predicts.
    `monitored`: of all tokens, row after row, None where no latent is. `following` [row vocab]: logits of what comes.
    """

    probability: Float[Tensor, "row new"]
    divergence: Mapping[str, Float[Tensor, "row new"]]
    monitored: Monitored | None
    following: Float[Tensor, "row vocab"]


class Lane:
    """Rows of one kind of text: the untouched snapshots read them, the changed runs predict them.

    `kind`: whose logits the next token is drawn from, `baseline` or a name of `runs`. `maker` is None where the
    dictionary has no part in it. Codes are read from the untouched snapshots on the same tokens, so that no edit feeds
    on another one.
    """

    def __init__(
        self,
        kind: str,
        plan: SteeringPlan,
        models: Mapping[str, HookedModel],
        runs: Mapping[str, SteeredRun],
        maker: PartsMaker | None,
        *,
        n_prompt: int,
        skip_first: int,
        cached: bool = True,
    ) -> None:
        self.kind, self.plan, self.runs, self.maker = kind, plan, dict(runs), maker
        self.n_prompt, self.skip_first, self.n_tokens = n_prompt, skip_first, 0
        self.device = models[plan.request.snapshot].device
        steered = plan.request.snapshot
        self.readers = {
            label: GrowingRows(
                models[label], points, logits=label == steered, cached=cached, instead=plan.instead.get(label)
            )
            for label, points in {steered: [], **plan.reading}.items()
        }
        self._before: dict[str, list[Tensor]] = {}
        self._last: Tensor | None = None

    def extend(self, tokens: Int[Tensor, "row new"]) -> LaneStep:
        """Let all models read the new tokens; NonFiniteError where a change drives one out of the numbers."""
        outputs = {label: reader.extend(tokens) for label, reader in self.readers.items()}
        activations = {
            (label, point): value.flatten(0, 1).float()
            for label, output in outputs.items()
            for point, value in output.activations.items()
            if isinstance(point, HookPoint)
        }
        parts, monitored = self._split(tokens, activations)
        logits = {"baseline": outputs[self.plan.request.snapshot].logits}
        logits |= {name: run.extend(tokens, parts).logits for name, run in self.runs.items()}
        for name, each in logits.items():
            if not bool(each.isfinite().all()):
                raise NonFiniteError(
                    f"the {name} logits of {self.plan.request.snapshot} hold a NaN or an infinity; lower the strengths."
                )
        self.n_tokens += tokens.shape[1]
        return self._judge(tokens, logits, monitored)

    def _split(
        self, tokens: Int[Tensor, "row new"], activations: Mapping[tuple[str, HookPoint], Tensor]
    ) -> tuple[Parts, Monitored | None]:
        position = torch.arange(self.n_tokens, self.n_tokens + tokens.shape[1], device=self.device).repeat(len(tokens))
        kept, prompt = position >= self.skip_first, position < self.n_prompt
        masks = {"prompt": kept & prompt, "generated": kept & ~prompt, "both": kept}
        if self.maker is None:
            return Parts(masks=masks), None
        if not self.plan.needs_codes:
            return Parts(None, self.maker.directions, self.maker.biases, {}, masks), None
        x = self._inputs(activations)
        with torch.no_grad():
            codes = self.maker.dictionary.encode(x).sparse()
        own = {place.index: activations[place.label, place.hook_point] for place in self.plan.places.values()}
        latents = self.plan.request.monitored
        monitored = compute_monitored(self.maker.dictionary, codes, x, latents) if latents else None
        return self.maker.split(codes, own, masks), monitored

    def _inputs(self, activations: Mapping[tuple[str, HookPoint], Tensor]) -> Float[Tensor, "token source d_model"]:
        """What the dictionary reads: every source's activation; for those left out, its value with no latent on."""
        n_tokens = len(next(iter(activations.values())))
        columns = []
        for index, source in enumerate(self.plan.reads):
            key = (source.snapshot.label, source.hook_point)
            if source.snapshot.label in self.plan.read_labels:
                columns.append(activations[key].to(self.device))
            else:
                columns.append(self._resting(index, source).to(self.device).expand(n_tokens, -1))
        return torch.stack(columns, dim=1)

    def _resting(self, index: int, source: Source) -> Float[Tensor, " d_model"]:
        """A source's activation with no latent on: its decoder bias, raw; its centre where it is not written."""
        assert self.maker is not None, "codes are read with a dictionary"
        dictionary = self.maker.dictionary
        name = dictionary.sources_in[index]
        if name not in dictionary.sources_out:
            return dictionary.centre[index]
        with torch.no_grad():
            return dictionary.denormalise(dictionary.b_dec[None])[0, dictionary.sources_out.index(name)]

    def _judge(
        self, tokens: Int[Tensor, "row new"], logits: Mapping[str, Tensor], monitored: Monitored | None
    ) -> LaneStep:
        rows, new = tokens.shape
        known = [] if self._last is None else [self._last]
        whole = torch.cat([*known, tokens.to(self.device)], dim=1)
        heard = {name: torch.cat([*self._before.get(name, []), each], dim=1) for name, each in logits.items()}
        predicting = torch.ones_like(whole, dtype=torch.bool)
        predicting[:, -1] = False
        n_predicted = whole.shape[1] - 1

        def placed(values: Float[Tensor, "token"]) -> Float[Tensor, "row new"]:
            table = torch.full((rows, new), torch.nan)
            table[:, new - n_predicted :] = values.view(rows, n_predicted).cpu()
            return table

        probability, divergence = torch.empty(0, 0), {}
        for name, each in heard.items():
            clean = None if name == "baseline" else heard["baseline"]
            losses, kl = compute_token_losses(each, whole, predicting, clean)
            if name == self.kind:
                probability = placed((-losses).exp())
            if kl is not None:
                # Rounding leaves a KL of equal distributions a hair on either side of 0.
                divergence[name] = placed(kl.clamp(min=0))
        self._before = {name: [each[:, -1:]] for name, each in logits.items()}
        self._last = tokens[:, -1:].to(self.device)
        return LaneStep(probability, divergence, monitored, logits[self.kind][:, -1])
