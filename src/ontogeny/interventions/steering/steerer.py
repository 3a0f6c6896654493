"""Steering a snapshot: texts come token by token, untouched, steered and control side by side; stop at any time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError

from ontogeny.config import config_error
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import CorpusError
from ontogeny.interventions.sources import source_positions
from ontogeny.interventions.steering.config import SteeringRequest
from ontogeny.interventions.steering.plan import SteeringPlan
from ontogeny.interventions.steering.record import KINDS, SteeringRecord, TextRecord, TokenRecord
from ontogeny.interventions.steering.writer import Opened, Writer
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.snapshots.series import SnapshotSeries
from ontogeny.tokens.build import resolve_bos, resolve_replacements
from ontogeny.tokens.chat import find_turn_end, tokenize_user_turn
from ontogeny.tokens.config import CorpusConfig
from ontogeny.tokens.token_texts import TokenTexts
from ontogeny.types import HookPoint, Source


class Steerer:
    """A dictionary and the snapshots of its sources, ready to be steered; models are opened when asked for, and kept.

    `hook_points`: of the sources, as they were harvested. `corpus`: how the text of the dictionary began (a BOS, first
    positions left out): prompts begin alike, and positions that the dictionary never saw are never changed. `largest`
    [latent]: the largest code of every latent on held-out text, which strengths may be given in. `cached` = False runs
    all tokens anew for each new one: the slow form of the same thing.
    SnapshotError, StoreError or DictionaryError where dictionary and series do not fit.
    """

    def __init__(
        self,
        series: SnapshotSeries,
        dictionary: Crosscoder,
        hook_points: Sequence[HookPoint | str],
        *,
        corpus: CorpusConfig | None = None,
        largest: Float[np.ndarray, "latent"] | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        cached: bool = True,
    ) -> None:
        self.series, self.dictionary = series, dictionary.to(device).eval()
        self.corpus, self.largest = corpus or CorpusConfig(), largest
        self.device, self.dtype, self.cached = device, dtype, cached
        points = [HookPoint.parse(str(point)) for point in hook_points]
        series.check_hook_points(points)
        known = [Source(snapshot, point) for snapshot in series.snapshots for point in points]
        self.reads, self.writes = (
            [known[place] for place in source_positions(known, names)]
            for names in (dictionary.sources_in, dictionary.sources_out)
        )
        self._instead = resolve_replacements(self.corpus, series.tokenizer)
        self._models: dict[str, HookedModel] = {}
        self._texts = TokenTexts(series.tokenizer)

    # ---- asking --------------------------------------------------------------------------------------------------

    def steer(self, request: SteeringRequest) -> SteeringRecord:
        """Everything that comes of a request."""
        return self.gather(request, list(self.iter_tokens(request)))

    def gather(self, request: SteeringRequest, records: Sequence[TokenRecord | TextRecord]) -> SteeringRecord:
        """The record of what `iter_tokens` has given so far; texts that had not ended are stopped there."""
        latents = tuple(request.monitored)
        tokens = tuple(each for each in records if isinstance(each, TokenRecord))
        texts = [each for each in records if isinstance(each, TextRecord)]
        ended = {(each.kind, each.sample) for each in texts}
        for kind, sample in dict.fromkeys((each.kind, each.sample) for each in tokens):
            if (kind, sample) not in ended:
                own = [each for each in tokens if (each.kind, each.sample, each.generated) == (kind, sample, True)]
                text = str(self.series.tokenizer.decode([each.token for each in own]))
                texts.append(TextRecord(kind=kind, sample=sample, text=text, ended="stopped"))
        largest = [None if self.largest is None else float(self.largest[latent]) for latent in latents]
        return SteeringRecord(
            request=request,
            sources_in=self.dictionary.sources_in,
            sources_out=self.dictionary.sources_out,
            monitored=latents,
            largest=tuple(largest),
            tokens=tokens,
            texts=tuple(texts),
        )

    def iter_events(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """`iter_tokens` in JSON's own types, for a server; ConfigError names a wrong key of the request."""
        try:
            asked = SteeringRequest.model_validate(request)
        except ValidationError as error:
            raise config_error(error, SteeringRequest, "request") from error
        for record in self.iter_tokens(asked):
            kind = "token" if isinstance(record, TokenRecord) else "text"
            yield {"event": kind, **record.model_dump(mode="json")}

    def iter_tokens(self, request: SteeringRequest) -> Iterator[TokenRecord | TextRecord]:
        """Every token once all models have read it, and every text once it ended; texts of all kinds take turns.

        The first step gives the prompt's tokens. To stop, drop the iterator (`close` frees the models' memory of the
        text). What is wrong with a request is said before the first token: SnapshotError, HookPointError,
        DictionaryError, AnalysisError, CorpusError.
        """
        plan = self.make_plan(request)
        prompt = self._tokenize(request)
        kinds = [kind for kind in KINDS if kind == "baseline" or plan.changes]
        if not request.control:
            kinds = [kind for kind in kinds if kind != "control"]
        opened = self._open(plan)
        writers = [Writer(opened, plan, kind, prompt) for kind in kinds]
        while any(not writer.done for writer in writers):
            for writer in writers:
                if not writer.done:
                    yield from writer.advance()

    def make_plan(self, request: SteeringRequest) -> SteeringPlan:
        """The request made definite, or the error that says why it cannot be."""
        largest = None if self.largest is None else torch.from_numpy(np.asarray(self.largest))
        return SteeringPlan(
            request, self.dictionary, self.reads, self.writes, self.series.n_layers, largest, self._instead
        )

    # ---- opening -------------------------------------------------------------------------------------------------

    def _open(self, plan: SteeringPlan) -> Opened:
        """What the texts of a plan are written with; models are opened once."""
        for label in plan.labels:
            if label not in self._models:
                place = self.series.labels.index(label)
                self._models[label] = self.series.open(place, device=self.device, dtype=self.dtype)
        return Opened(
            self.dictionary,
            self._models,
            self.series.tokenizer,
            self._texts,
            self.context,
            self.skip_first,
            self.device,
            self.cached,
            find_turn_end(self.series.tokenizer, self.template) if plan.request.chat else None,
        )

    @property
    def written(self) -> list[str]:
        """Snapshots that the dictionary writes, which can be steered."""
        return list(dict.fromkeys(source.snapshot.label for source in self.writes))

    @property
    def context(self) -> int | None:
        """Tokens that fit; None for models without a limit of their own."""
        return getattr(self.series.model_configs[0], "max_position_embeddings", None)

    @property
    def bos(self) -> list[int]:
        """What a prompt begins with: the BOS of the dictionary's text, where that had one."""
        tokenizer = self.series.tokenizer
        return [] if resolve_bos(self.corpus, tokenizer) == "never" else [int(tokenizer.bos_token_id)]

    @property
    def skip_first(self) -> int:
        """Positions at the beginning that the dictionary never saw."""
        first = self.corpus.exclude_first if "first_n" in self.corpus.exclude else 0
        return max(first, len(self.bos) if "bos" in self.corpus.exclude else 0)

    @property
    def template(self) -> str | None:
        """The chat template of the dictionary's text, where that had one of its own; else the tokenizer's applies."""
        return next((source.template for source in self.corpus.sources if source.template is not None), None)

    def _tokenize(self, request: SteeringRequest) -> list[int]:
        tokenizer, prompt = self.series.tokenizer, request.prompt
        ids = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        if not ids:
            raise CorpusError(f"the prompt {prompt!r} has no tokens; give some text to continue.")
        if request.chat:
            ids = tokenize_user_turn(prompt, tokenizer, self.template)
            # As in the dictionary's text: a BOS that the template renders makes way for the text's own.
            ids = ids[1:] if ids[0] == tokenizer.bos_token_id else ids
        tokens = [*self.bos, *ids]
        if self.context is not None and len(tokens) >= self.context:
            raise CorpusError(
                f"the prompt has {len(tokens)} tokens, and with a context of {self.context} nothing can follow it; "
                "shorten it."
            )
        self.series.check_tokens(tokens, self._instead)
        return tokens
