"""Which predictions are measured, in which blocks of rows, and to which groups and documents they belong."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from ontogeny.analyses.patched_kl.config import Group, PatchedKLConfig
from ontogeny.errors import AnalysisError
from ontogeny.evaluation.groups import ALL, predicted_groups
from ontogeny.interventions.splice import predicted_positions
from ontogeny.tokens.corpus import Corpus

NEEDS_CHAT: tuple[Group, ...] = ("template", "user", "answer")


@dataclass(frozen=True)
class MeasuredTokens:
    """Predictions in blocks of rows: `row` (among a block's rows, and its block), `position`; groups may overlap."""

    blocks: tuple[Int[np.ndarray, "_"], ...]
    block: Int[np.ndarray, " token"]
    row: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    groups: tuple[str, ...]
    member: Bool[np.ndarray, "group token"]
    documents: Int[np.ndarray, " document"]
    document: Int[np.ndarray, " token"]
    context_length: int

    @property
    def n_tokens(self) -> int:
        """Predictions."""
        return len(self.row)

    def counted(self, index: int) -> Bool[np.ndarray, "row position"]:
        """Where the predictions of a block are made."""
        here = self.block == index
        counted = np.zeros((len(self.blocks[index]), self.context_length), dtype=bool)
        counted[self.row[here], self.position[here]] = True
        return counted

    def members(self, index: int) -> tuple[Bool[np.ndarray, "group token"], Int[np.ndarray, " token"]]:
        """Groups and documents (places in `documents`) of a block's predictions, in order of row and position."""
        here = self.block == index
        return self.member[:, here], self.document[here]


def part_rows(corpus: Corpus) -> tuple[Int[np.ndarray, " measured"], Int[np.ndarray, " fitted"]]:
    """Held-out rows that are measured, and those that mean differences are taken from: in turns, so that no patch is
    judged on the text it was made from. A single row serves both."""
    rows = corpus.rows("held_out")
    return (rows[::2], rows[1::2]) if len(rows) > 1 else (rows, rows)


def choose_blocks(
    corpus: Corpus, rows: Int[np.ndarray, " row"], config: PatchedKLConfig
) -> tuple[Int[np.ndarray, "_"], ...]:
    """Blocks of `model_batch` rows, up to the one that reaches `tokens` predictions."""
    blocks, n_tokens = [], 0
    for start in range(0, len(rows), config.model_batch):
        if n_tokens >= config.tokens:
            break
        blocks.append(rows[start : start + config.model_batch])
        n_tokens += int(predicted_positions(corpus, blocks[-1]).sum())
    return tuple(blocks)


def choose_tokens(
    corpus: Corpus, blocks: tuple[Int[np.ndarray, "_"], ...], vocabulary: int, config: PatchedKLConfig
) -> MeasuredTokens:
    """The predictions at kept positions, of tokens of the same document that both snapshots know.

    AnalysisError where there are none, and where a group is asked for that the text lacks.
    """
    places = []
    for index, rows in enumerate(blocks):
        predicted = predicted_positions(corpus, rows, vocabulary)
        row, position = predicted.nonzero()
        places.append(np.stack([np.full(len(row), index), row, rows[row], position]))
    block, row, corpus_row, position = np.concatenate(places, axis=1)
    if not len(row):
        raise AnalysisError("no held-out prediction is made at a kept position; hold out more text (corpus.held_out).")
    found = dict(predicted_groups(corpus, corpus_row, position, config.first_tokens))
    names = _choose_groups({name for name, member in found.items() if member.any()}, list(found), config)
    documents, document = np.unique(corpus.document[corpus_row, position], return_inverse=True)
    member = np.stack([found[name] for name in names])
    return MeasuredTokens(
        blocks, block, row, position, names, member, documents, document, corpus.context_length
    )  # fmt: skip


def _choose_groups(filled: set[str], names: list[str], config: PatchedKLConfig) -> tuple[str, ...]:
    """The groups asked for, "all" first; without a wish those that hold predictions."""
    texts = [name for name in names if name.startswith("text/")]
    answers = ["mask/assistant", *(name for name in names if name.startswith("answer/"))]
    kinds: dict[Group, list[str]] = {
        "all": [ALL],
        "text": texts,
        "template": ["mask/control"],
        "user": ["mask/user"],
        "answer": answers,
    }
    for kind in config.groups or ():
        if kind in NEEDS_CHAT and not filled & set(kinds[kind]):
            raise AnalysisError(
                f"analyses.patched_kl.groups asks for {kind!r}, and no held-out prediction is of that kind: the text "
                "needs conversations (a text source with chat = true); leave it out to report on what there is."
            )
    if config.groups is None and len(texts) < 2:
        kinds["text"] = []
    wanted = list(kinds) if config.groups is None else list(dict.fromkeys(["all", *config.groups]))
    return tuple(name for kind in wanted for name in kinds[kind] if name in filled)
