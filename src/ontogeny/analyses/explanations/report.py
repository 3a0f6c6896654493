"""From latents to explanations and their scores: what is asked of whom, in which order, and the tables."""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.explanations.client import Answers, ChatClient, Messages, Reply
from ontogeny.analyses.explanations.config import ExplanationsConfig
from ontogeny.analyses.explanations.dossier import Dossier, compile_dossier
from ontogeny.analyses.explanations.prompts import (
    Explanation,
    ask_detection,
    ask_explanation,
    ask_fuzzing,
    count_tokens,
    read_explanation,
    read_numbers,
)
from ontogeny.analyses.explanations.scoring import Score, Trial, compute_score, make_detection, make_fuzzing
from ontogeny.errors import AnalysisError
from ontogeny.latents.cache import CodeCache
from ontogeny.latents.documents import Documents
from ontogeny.latents.windows import PassPlaces
from ontogeny.progress import Reporter
from ontogeny.results import Column, Result, Table, View

ATTEMPTS = 3
"""How often a question is put whose reply cannot be read."""
EXPECTED_EXPLANATION = "x" * 120

EXPLANATIONS = (
    Column("latent", "1", "index of the latent"),
    Column("n_active", "tokens", "tokens on which it is on"),
    Column("explanation", "1", "what the model takes it for; null where no reply could be read"),
    Column("complexity", "1", "1 (one token) to 5 (a theme), as the model rates it"),
    Column(
        "detection", "fraction", "balanced accuracy of telling texts with the latent from others by it; 0.5: chance"
    ),
    Column("detection_se", "fraction", "its standard error"),
    Column("n_detection", "1", "texts it rests on"),
    Column("fuzzing", "fraction", "balanced accuracy of telling right marks from wrong ones by it; 0.5: chance"),
    Column("fuzzing_se", "fraction", "its standard error"),
    Column("n_fuzzing", "1", "texts it rests on"),
    Column("prompt_tokens", "tokens", "tokens of all prompts, as the endpoint counts them"),
    Column("reply_tokens", "tokens", "tokens of all replies"),
)
JUDGEMENTS = (
    Column("latent", "1", "index of the latent"),
    Column("trial", "1", "detection or fuzzing"),
    Column("number", "1", "number of the text in the prompt"),
    Column("text", "1", "the text"),
    Column("truth", "1", "whether the latent is on in it (detection), whether the marks are right (fuzzing)"),
    Column("said", "1", "what the model said"),
)


@dataclass
class Case:
    """One latent on its way through the questions."""

    dossier: Dossier
    n_active: int
    explanation: Explanation | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    judgements: list[dict[str, Any]] = field(default_factory=list)
    prompt_tokens: int = 0
    reply_tokens: int = 0


def make_result(inputs: AnalysisInputs, config: ExplanationsConfig) -> Result:
    """Say what it will cost, ask, and put what came back into tables."""
    codes = inputs.codes
    assert codes is not None, "explanations are made from the code cache"
    cases = _open_cases(inputs, config, codes)
    reporter = Reporter()
    with closing(Answers(inputs.scratch / "answers.jsonl")) as answers:
        requests, tokens = estimate_cost(cases, config)
        known = f"; {len(answers.known)} answers are there from before" if answers.known else ""
        reporter.say(
            f"explanations: {requests:,} requests to {config.base_url} with some {tokens:,} prompt tokens and up to "
            f"{requests * config.max_reply_tokens:,} reply tokens, for {len(cases)} latents{known}"
        )
        if config.max_prompt_tokens is not None and tokens > config.max_prompt_tokens:
            raise AnalysisError(
                f"explaining {len(cases)} latents takes some {tokens:,} prompt tokens, more than "
                f"analyses.explanations.max_prompt_tokens = {config.max_prompt_tokens:,}; raise it, or lower n_latents."
            )
        with closing(ChatClient(config, answers)) as client:
            _ask_all(cases, client, config, reporter)
    return _result(cases, config)


def estimate_cost(cases: list[Case], config: ExplanationsConfig) -> tuple[int, int]:
    """(requests, prompt tokens) where every reply can be read at once; four characters a token."""
    prompts: list[Messages] = []
    for case in cases:
        prompts.append(ask_explanation([passage.marked for passage in case.dossier.shown]))
        for trial, ask in _trials(case.dossier, config).values():
            prompts.append(ask(EXPECTED_EXPLANATION, trial.texts))
    return len(prompts), sum(count_tokens(messages) for messages in prompts)


def choose_latents(counts: Int[np.ndarray, " latent"], config: ExplanationsConfig) -> list[int]:
    """The latents asked for, or a seeded draw; AnalysisError for one that is not there or never on."""
    for latent in config.latents:
        if not 0 <= latent < len(counts) or counts[latent] == 0:
            why = "never fires on the held-out text" if 0 <= latent < len(counts) else "is not in the dictionary"
            raise AnalysisError(f"analyses.explanations.latents names latent {latent}, which {why}; leave it out.")
    if config.latents:
        return sorted(set(config.latents))
    eligible = np.flatnonzero(counts >= config.min_active)
    if len(eligible) == 0:
        raise AnalysisError(
            f"no latent fires on {config.min_active} held-out tokens; lower analyses.explanations.min_active."
        )
    drawn = np.random.default_rng(config.seed).choice(eligible, min(config.n_latents, len(eligible)), replace=False)
    return sorted(int(latent) for latent in drawn)


def _open_cases(inputs: AnalysisInputs, config: ExplanationsConfig, codes: CodeCache) -> list[Case]:
    documents = Documents.from_columns(codes.columns)
    places = PassPlaces.from_columns(codes.columns, inputs.corpus)
    tokenizer = inputs.series.tokenizer

    def decode(token: int) -> str:
        return str(tokenizer.decode([token]))

    return [
        Case(
            compile_dossier(codes.block(latent, latent + 1), documents, places, decode, config),
            int(codes.counts[latent]),
        )
        for latent in choose_latents(codes.counts, config)
    ]


def _trials(dossier: Dossier, config: ExplanationsConfig) -> dict[str, tuple[Trial, Any]]:
    made = {
        "detection": (make_detection(dossier, config.seed), ask_detection),
        "fuzzing": (make_fuzzing(dossier, config.seed), ask_fuzzing),
    }
    return {name: (trial, ask) for name, (trial, ask) in made.items() if trial is not None}


def _ask_all(cases: list[Case], client: ChatClient, config: ExplanationsConfig, reporter: Reporter) -> None:
    """All cases, several at a time; the first error stops all, and what was answered is kept."""
    with (
        ThreadPoolExecutor(config.workers, thread_name_prefix="ask") as pool,
        reporter.measure("explanations", len(cases)) as advance,
    ):
        pending = {pool.submit(_ask, case, client, config) for case in cases}
        try:
            while pending:
                done, pending = wait(pending, timeout=1.0, return_when=FIRST_EXCEPTION)
                for each in done:
                    each.result()
                advance(len(cases) - len(pending), "")
        finally:
            client.stopped.set()
            for each in pending:
                each.cancel()


def _ask(case: Case, client: ChatClient, config: ExplanationsConfig) -> None:
    """Explain one latent, then score the explanation."""
    messages = ask_explanation([passage.marked for passage in case.dossier.shown])
    case.explanation = _ask_until_read(case, client, messages, read_explanation)
    if case.explanation is None:
        return
    for name, (trial, ask) in _trials(case.dossier, config).items():
        count = len(trial.texts)
        called = _ask_until_read(
            case, client, ask(case.explanation.text, trial.texts), lambda reply, n=count: read_numbers(reply, n)
        )
        if called is None:
            continue
        case.scores[name] = compute_score(trial, called)
        for number, (text, truth) in enumerate(zip(trial.texts, trial.truth, strict=True), 1):
            judged = {"latent": case.dossier.latent, "trial": name, "number": number, "text": text}
            case.judgements.append({**judged, "truth": truth, "said": number in called})


def _ask_until_read(case: Case, client: ChatClient, messages: Messages, read: Any) -> Any:
    """What `read` makes of the first reply of which it makes anything; None if it makes nothing of any."""
    for attempt in range(ATTEMPTS):
        reply: Reply = client.ask(messages, attempt)
        case.prompt_tokens += reply.prompt_tokens
        case.reply_tokens += reply.reply_tokens
        found = read(reply.text)
        if found is not None:
            return found
    return None


def _result(cases: list[Case], config: ExplanationsConfig) -> Result:
    rows = []
    for case in cases:
        row: dict[str, Any] = {"latent": case.dossier.latent, "n_active": case.n_active}
        row |= {
            "explanation": case.explanation.text if case.explanation else None,
            "complexity": case.explanation.complexity if case.explanation else None,
        }
        for name in ("detection", "fuzzing"):
            score = case.scores.get(name)
            row |= {name: score and score.value, f"{name}_se": score and score.se, f"n_{name}": score and score.n}
        rows.append({**row, "prompt_tokens": case.prompt_tokens, "reply_tokens": case.reply_tokens})
    judgements = [each for case in cases for each in case.judgements]
    tables = (
        Table("explanations", EXPLANATIONS, _arrow(EXPLANATIONS, rows), sorted_by=("latent",)),
        Table("judgements", JUDGEMENTS, _arrow(JUDGEMENTS, judgements), sorted_by=("latent", "trial", "number")),
    )
    views = (
        View("histogram", "explanations", "Complexity as the model rates it", x="complexity"),
        View("scatter", "explanations", "Two scores of every explanation", x="detection", y=("fuzzing",)),
        View("table", "explanations", "Explanations"),
    )
    return Result("explanations", tables, views, _summary(rows, config))


def _summary(rows: list[dict[str, Any]], config: ExplanationsConfig) -> dict[str, Any]:
    summary: dict[str, Any] = {"model": config.model, "n_latents": len(rows)}
    summary["n_explained"] = sum(row["explanation"] is not None for row in rows)
    for name in ("detection", "fuzzing", "complexity"):
        values = [row[name] for row in rows if row[name] is not None]
        summary[name] = float(np.mean(values)) if values else None
    return summary | {name: sum(row[name] for row in rows) for name in ("prompt_tokens", "reply_tokens")}


def _arrow(columns: tuple[Column, ...], rows: list[dict[str, Any]]) -> pa.Table:
    words, logical = {"explanation", "trial", "text"}, {"truth", "said"}
    fractions = {"detection", "detection_se", "fuzzing", "fuzzing_se"}
    kinds = (
        dict.fromkeys(words, pa.string()) | dict.fromkeys(logical, pa.bool_()) | dict.fromkeys(fractions, pa.float64())
    )
    return pa.Table.from_pylist(
        rows, schema=pa.schema([(column.name, kinds.get(column.name, pa.int64())) for column in columns])
    )
