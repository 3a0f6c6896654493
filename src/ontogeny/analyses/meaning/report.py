"""The tables of meaning, made block by block while they are saved."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.meaning.columns import LOGITS, RECOVERY, TOKENS, schema_of
from ontogeny.analyses.meaning.complexity import compute_complexity
from ontogeny.analyses.meaning.config import MeaningConfig
from ontogeny.analyses.meaning.logits import LogitEffects, iter_rows
from ontogeny.analyses.meaning.snapshots import ask_snapshots
from ontogeny.analyses.meaning.span import Span, plan_contexts, summarise_spans
from ontogeny.errors import AnalysisError
from ontogeny.latents.blocks import LatentBlock
from ontogeny.latents.cache import CodeCache
from ontogeny.latents.documents import DocumentRuns, Documents
from ontogeny.latents.triggers import KindTables, TokenKinds, compute_variety, sort_tokens
from ontogeny.results import Result, Table, View

BLOCK_PAIRS, BLOCK_LATENTS = 1 << 20, 1 << 13
"""Pairs and latents looked at together."""


def make_result(inputs: AnalysisInputs, config: MeaningConfig) -> Result:
    """Spans and logit effects from the snapshots, everything else from the code cache."""
    codes = inputs.codes
    assert codes is not None, "meaning is read off the code cache"
    _check_latents(config, codes)
    documents = Documents.from_columns(codes.columns)
    lengths = [1 << power for power in range(config.max_span.bit_length()) if 1 << power <= config.max_span]
    chosen = draw_latents(codes.counts, config)
    contexts = plan_contexts(codes, documents, chosen, config.span_examples, lengths) if len(chosen) else None
    asked = ask_snapshots(inputs, config, contexts)
    spans = {} if contexts is None else summarise_spans(contexts, asked.values, lengths, config.recovered)
    pages = _Pages(inputs, config, codes, documents, spans)
    tables = [pages.tokens(), _recovery(spans, lengths)]
    views = [
        View("histogram", "tokens", "Complexity of latents", x="complexity"),
        View("scatter", "tokens", "Purity and unigram explainability", x="purity", y=("unigram_mcc",)),
        View("line", "recovery", "How much context brings a latent back", x="length", y=("recovered",), group="latent",
             error="recovered_se", log_x=True),
    ]  # fmt: skip
    if asked.effects:
        tables.append(pages.logits(asked.effects))
        views.append(View("table", "logits", "Tokens promoted most and least, by source"))
    return Result("meaning", tuple(tables), tuple(views), pages.summary())


def _check_latents(config: MeaningConfig, codes: CodeCache) -> None:
    beyond = [latent for latent in config.span_of if not 0 <= latent < codes.n_latents]
    if beyond:
        raise AnalysisError(
            f"analyses.meaning.span_of names latent {beyond[0]}, and the dictionary has latents 0 to "
            f"{codes.n_latents - 1}; name one of those."
        )


def draw_latents(counts: Int[np.ndarray, " latent"], config: MeaningConfig) -> Int[np.ndarray, " chosen"]:
    """The latents whose span is measured, ascending: those asked for, and a draw from the others that fire enough."""
    asked = [latent for latent in config.span_of if counts[latent] > 0]
    eligible = np.setdiff1d(np.flatnonzero(counts >= config.min_active), asked)
    count = min(config.span_latents, len(eligible))
    drawn = np.random.default_rng(config.seed).choice(eligible, count, replace=False)
    return np.unique(np.concatenate([drawn, asked]).astype(np.int64))


@dataclass(frozen=True)
class _Pages:
    """What all tables are made from."""

    inputs: AnalysisInputs
    config: MeaningConfig
    codes: CodeCache
    documents: Documents
    spans: dict[int, Span]

    @cached_property
    def kinds(self) -> TokenKinds:
        return sort_tokens(self.codes.columns, self.inputs.corpus)

    @cached_property
    def predictors(self) -> KindTables:
        return KindTables(self.kinds, self.documents)

    @cached_property
    def words(self) -> pa.Array:
        """Every token as text."""
        tokenizer = self.inputs.series.tokenizer
        size = max(len(tokenizer), int(self.kinds.token_ids.max(initial=-1)) + 1)
        return pa.array([tokenizer.decode([token]) for token in range(size)], pa.string())

    def tokens(self) -> Table:
        """One row a latent."""
        schema = schema_of(TOKENS)

        def batches() -> Iterator[pa.RecordBatch]:
            for block in self.codes.iter_blocks(BLOCK_PAIRS, BLOCK_LATENTS):
                yield _record_batch(schema, self._describe(block))

        return Table("tokens", TOKENS, pa.RecordBatchReader.from_batches(schema, batches()), sorted_by=("latent",))

    def _describe(self, block: LatentBlock) -> list[object]:
        """The columns of `TOKENS` for a block of latents."""
        variety = compute_variety(block, self.kinds, self.documents)
        enough = block.counts >= self.config.min_active
        explained = self.predictors.explain(block)
        mccs = {name: np.where(enough, each.mcc, np.nan) for name, each in explained.items()}
        errors = {name: np.where(enough, each.mcc_se, np.nan) for name, each in explained.items()}
        span, span_se, n_span, censored, trigger = self._spans_of(block)
        better = np.nan_to_num(mccs["bigram"], nan=-1.0) > np.nan_to_num(mccs["unigram"], nan=-1.0)
        complexity = compute_complexity(
            np.where(enough, variety.entropy, np.nan),
            variety.entropy_se,
            np.where(better, mccs["bigram"], mccs["unigram"]),
            np.where(better, errors["bigram"], errors["unigram"]),
            span,
            span_se,
            self.config.max_span,
        )
        alive = variety.token >= 0
        words = self.words.take(pa.array(variety.token, mask=~alive))
        numbers = [variety.purity, variety.purity_se, _whole(variety.n_kinds, alive), variety.entropy]
        numbers += [variety.entropy_se, variety.context_entropy, variety.place, variety.place_se]
        predicted = [each[name] for name in self.predictors.names for each in (mccs, errors)]
        measured = [2.0**span, span_se, _whole(n_span, n_span > 0), _whole(censored, n_span > 0), trigger]
        score = [complexity.value, complexity.se, _whole(complexity.parts, complexity.parts > 0)]
        first = np.arange(block.first, block.first + block.n_latents)
        return [first, block.counts, _whole(variety.token, alive), words, *numbers, *predicted, *measured, *score]

    def _spans_of(self, block: LatentBlock) -> tuple[np.ndarray, ...]:
        """(log2 span, its error, examples, censored ones, trigger) of a block, NaN and 0 where not measured."""
        rows = [self.spans.get(latent) for latent in range(block.first, block.first + block.n_latents)]
        span, error, trigger = (
            np.array([np.nan if each is None else getattr(each, name) for each in rows])
            for name in ("log2", "se", "trigger")
        )
        n_span, censored = (
            np.array([0 if each is None else getattr(each, name) for each in rows], dtype=np.int64)
            for name in ("n_examples", "censored")
        )
        return span, error, n_span, censored, trigger

    def logits(self, by_source: list[LogitEffects]) -> Table:
        """The ends of every living latent's effects in every source."""
        schema = schema_of(LOGITS)
        names = pa.array(list(self.inputs.dictionary.sources_out), pa.string())
        sides = pa.array(["top", "bottom"], pa.string())

        def batches() -> Iterator[pa.RecordBatch]:
            for block in self.codes.iter_blocks(BLOCK_PAIRS, BLOCK_LATENTS):
                mean, error = _mean_codes(block, self.documents)
                alive = np.flatnonzero(block.counts)
                for latent, source, side, rank, ids, effect, effect_se in iter_rows(
                    by_source, block.first + alive, mean[alive], error[alive]
                ):
                    yield _record_batch(
                        schema,
                        [latent, names.take(pa.array(source)), sides.take(pa.array(side)), rank, ids,
                         self.words.take(pa.array(ids)), effect, effect_se],
                    )  # fmt: skip

        return Table("logits", LOGITS, pa.RecordBatchReader.from_batches(schema, batches()), sorted_by=("latent",))

    def summary(self) -> dict[str, object]:
        """A few numbers for people."""
        logs = np.array([each.log2 for each in self.spans.values()])
        return {
            "n_latents": self.codes.n_latents,
            "n_tokens": self.codes.n_tokens,
            "dead": int((self.codes.counts == 0).sum()),
            "too_rare": int(((self.codes.counts > 0) & (self.codes.counts < self.config.min_active)).sum()),
            "spans_measured": len(logs),
            "median_span": float(2.0 ** np.median(logs)) if len(logs) else None,
            "span_of_one_token": float((logs < 0.5).mean()) if len(logs) else None,
        }


def _mean_codes(
    block: LatentBlock, documents: Documents
) -> tuple[Float[np.ndarray, " latent"], Float[np.ndarray, " latent"]]:
    """Mean code over active tokens, and its standard error over documents."""
    runs = DocumentRuns.of_block(block, documents)
    return runs.ratio(runs.sums(block.values), runs.sums(np.ones(len(block.values))))


def _recovery(spans: dict[int, Span], lengths: list[int]) -> Table:
    """One row a measured latent and length."""
    names = [column.name for column in RECOVERY]
    rows = [
        dict(zip(names, [latent, length, *_none(numbers[:2]), int(numbers[2])], strict=True))
        for latent, span in sorted(spans.items())
        for length, numbers in zip(lengths, span.recovery, strict=True)
    ]
    return Table.from_rows("recovery", RECOVERY, rows, schema_of(RECOVERY))


def _none(numbers: Float[np.ndarray, " n"]) -> list[float | None]:
    return [None if np.isnan(number) else float(number) for number in numbers]


def _whole(values: Int[np.ndarray, " latent"], known: Bool[np.ndarray, " latent"]) -> pa.Array:
    """Integers that are null where they are not known."""
    return pa.array(values, pa.int64(), mask=~known)


def _record_batch(schema: pa.Schema, values: list[object]) -> pa.RecordBatch:
    """One record batch; NaN becomes null."""
    arrays = [
        each if isinstance(each, pa.Array) else pa.array(each, field.type, from_pandas=True)
        for each, field in zip(values, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
