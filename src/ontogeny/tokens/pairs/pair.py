"""What a minimal pair is, and how pairs become tokens."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from ontogeny.errors import CorpusError
from ontogeny.tokens.pairs.config import PairPolicy


@dataclass(frozen=True)
class MinimalPair:
    """A prefix that calls for `right` and not for `wrong`.

    `patch_prefix`: the clean prefix with the one thing changed that decides between the answers, None where there is
    none. `wrong` is None where one word follows two prefixes (BLiMP's two-prefix sets): then the word is likelier
    after the clean prefix. `cluster` says which pairs are not independent (the same noun, the same prefix): intervals
    are over clusters. `sentences`: the whole right and wrong sentence, for scoring as evaluation harnesses do it.
    """

    clean_prefix: str
    right: str
    wrong: str | None
    patch_prefix: str | None = None
    cluster: str = ""
    phenomenon: str = ""
    language: str = "en"
    sentences: tuple[str, str] | None = None


@dataclass(frozen=True)
class PairTokens:
    """Pairs as token ids, padded on the right (with the last real token: causal models never look there).

    `clean`, `patch` [pair position]; `length`, `patch_length` [pair]: prefix lengths, BOS included; `right`, `wrong`
    [pair]: answer ids, -1 where there is none; `cluster` [pair]: cluster numbers from 0; `pairs`: what they were made
    from; `skipped`: reason -> how many. `has_bos`: whether position 0 is a BOS.
    """

    clean: Int[np.ndarray, "pair position"]
    patch: Int[np.ndarray, "pair position"] | None
    length: Int[np.ndarray, "pair"]
    patch_length: Int[np.ndarray, "pair"] | None
    right: Int[np.ndarray, "pair"]
    wrong: Int[np.ndarray, "pair"]
    cluster: Int[np.ndarray, "pair"]
    pairs: tuple[MinimalPair, ...]
    has_bos: bool = False
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, indices: Int[np.ndarray, "chosen"]) -> "PairTokens":
        """The pairs at `indices`; clusters keep their numbers."""
        return PairTokens(
            self.clean[indices],
            None if self.patch is None else self.patch[indices],
            self.length[indices],
            None if self.patch_length is None else self.patch_length[indices],
            self.right[indices],
            self.wrong[indices],
            self.cluster[indices],
            tuple(self.pairs[int(index)] for index in indices),
            self.has_bos,
            self.skipped,
        )

    @property
    def n_clusters(self) -> int:
        """Independent groups of pairs."""
        return len(np.unique(self.cluster))


@dataclass(frozen=True)
class _Encoded:
    clean: list[int]
    patch: list[int] | None
    right: int
    wrong: int


class _Skip(Exception):
    """A pair that the policy leaves out; the reason is its message. Never seen outside this module."""


SEVERAL, UNEQUAL, OTHERWISE = (
    "with an answer of several tokens",
    "with prefixes of unequal length",
    "whose answers are other tokens after the patch prefix",
)
CURES = {
    SEVERAL: 'policy.answers = "first" lets the first token in which they differ decide, or choose other answers',
    UNEQUAL: 'policy.equal_length = false keeps them, for baselines other than "pair", or choose other prefixes',
}
"""What can be done about a reason that left no pair; of others: change the pairs or the policy."""


def tokenize_pairs(
    pairs: Iterable[MinimalPair], tokenizer: Any, policy: PairPolicy, enough: int | None = None
) -> PairTokens:
    """Pairs as tokens under a policy; CorpusError where none is left, with every reason, its count and its cure.

    Prefix and answer are tokenized together: the prefix is what both have in common from the start (the longest common
    token prefix), the answers are the tokens that follow it. `enough`: clusters after which no more pairs are read.
    """
    bos = bos_of(tokenizer, policy)
    kept: list[tuple[MinimalPair, _Encoded]] = []
    skipped: Counter[str] = Counter()
    split: Counter[str] = Counter()
    clusters: set[str] = set()
    total = 0
    for pair in pairs:
        total += 1
        try:
            kept.append((pair, _encode(pair, tokenizer, policy, bos)))
        except _Skip as reason:
            skipped[str(reason)] += 1
            if str(reason) == SEVERAL:
                split.update(each for each in (pair.right, pair.wrong) if each and len(_ids(tokenizer, each)) > 1)
        else:
            clusters.add(pair.cluster or f"pair {total}")
            if len(clusters) == enough:
                break
    if not kept:
        raise _nothing_left(total, skipped, split, tokenizer)
    return _collate(kept, dict(skipped), bool(bos))


def _nothing_left(total: int, skipped: Counter[str], split: Counter[str], tokenizer: Any) -> CorpusError:
    """Every reason with its count, the answers that are `split` into tokens, and what can be done about it."""
    if not skipped:
        return CorpusError(f"no pair is left of {total}: there were none to read; give files that hold pairs.")
    told = {reason: f"{count} {reason}" for reason, count in skipped.most_common()}
    if split:
        shown = [
            f"{answer!r} is {' + '.join(repr(tokenizer.decode([each])) for each in _ids(tokenizer, answer))}"
            for answer, _ in split.most_common(3)
        ]
        more = f" and {len(split) - 3} more" if len(split) > 3 else ""
        told[SEVERAL] += f" ({', '.join(shown)}{more})"
    cure = CURES.get(skipped.most_common(1)[0][0], "change the pairs or the policy")
    return CorpusError(f"no pair is left of {total}: {'; '.join(told.values())}; {cure}.")


def bos_of(tokenizer: Any, policy: PairPolicy) -> list[int]:
    """The token ids that precede every prefix; CorpusError where a BOS is demanded that the tokenizer lacks."""
    bos = tokenizer.bos_token_id
    if policy.bos == "never" or (policy.bos == "auto" and bos is None):
        return []
    if bos is None:
        raise CorpusError('bos = "always" needs a BOS token and this tokenizer has none; use bos = "never".')
    prepends = tokenizer("a")["input_ids"][:1] == [bos]
    return [bos] if policy.bos == "always" or prepends or bos == tokenizer.eos_token_id else []


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences have in common from the start."""
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    return same


def _encode(pair: MinimalPair, tokenizer: Any, policy: PairPolicy, bos: list[int]) -> _Encoded:
    if pair.wrong is None:
        encoded = _encode_one_answer(pair, tokenizer, policy)
    else:
        encoded = _encode_two_answers(pair, pair.wrong, tokenizer, policy)
    clean, patch = bos + encoded.clean, None if encoded.patch is None else bos + encoded.patch
    if not clean or patch == []:
        raise _Skip("with an empty prefix")
    if patch is not None and patch == clean:
        raise _Skip("whose two prefixes are the same tokens")
    if patch is not None and policy.equal_length and len(patch) != len(clean):
        raise _Skip(UNEQUAL)
    if policy.max_tokens is not None and max(len(clean), len(patch or [])) > policy.max_tokens:
        raise _Skip(f"longer than {policy.max_tokens} tokens")
    return _Encoded(clean, patch, encoded.right, encoded.wrong)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _encode_two_answers(pair: MinimalPair, wrong: str, tokenizer: Any, policy: PairPolicy) -> _Encoded:
    right_ids, wrong_ids = (_ids(tokenizer, pair.clean_prefix + answer) for answer in (pair.right, wrong))
    same = common_length(right_ids, wrong_ids)
    if same in (len(right_ids), len(wrong_ids)):
        raise _Skip(
            "whose answers are the same token" if right_ids == wrong_ids else "one answer of which begins the other"
        )
    if policy.answers == "single" and not len(right_ids) == len(wrong_ids) == same + 1:
        raise _Skip(SEVERAL)
    patch = None
    if pair.patch_prefix is not None:
        patch = _patch_prefix(pair.patch_prefix, (pair.right, wrong), (right_ids[same], wrong_ids[same]), tokenizer)
    return _Encoded(right_ids[:same], patch, right_ids[same], wrong_ids[same])


def _patch_prefix(prefix: str, answers: tuple[str, str], answer_ids: tuple[int, int], tokenizer: Any) -> list[int]:
    """The patch prefix's tokens; both answers must be the same tokens after it as after the clean one."""
    first, second = (_ids(tokenizer, prefix + answer) for answer in answers)
    same = common_length(first, second)
    if same == min(len(first), len(second)) or (first[same], second[same]) != answer_ids:
        raise _Skip(OTHERWISE)
    return first[:same]


def _encode_one_answer(pair: MinimalPair, tokenizer: Any, policy: PairPolicy) -> _Encoded:
    """One word after two prefixes: the prefixes are what precedes the word's tokens."""
    prefixes = [pair.clean_prefix] + ([] if pair.patch_prefix is None else [pair.patch_prefix])
    heads, answers = [], []
    for prefix in prefixes:
        head, whole = _ids(tokenizer, prefix), _ids(tokenizer, prefix + pair.right)
        if whole[: len(head)] != head:
            raise _Skip("whose answer merges with the prefix's last token")
        heads.append(head)
        answers.append(whole[len(head) :])
    if any(not answer for answer in answers) or any(answer[0] != answers[0][0] for answer in answers):
        raise _Skip(OTHERWISE)
    if policy.answers == "single" and any(len(answer) != 1 for answer in answers):
        raise _Skip(SEVERAL)
    return _Encoded(heads[0], heads[1] if len(heads) > 1 else None, answers[0][0], -1)


def _collate(kept: list[tuple[MinimalPair, _Encoded]], skipped: dict[str, int], has_bos: bool) -> PairTokens:
    both = [each for each in kept if each[1].patch is not None]
    if both and len(both) < len(kept):
        skipped["without a patch prefix, among others that have one"] = len(kept) - len(both)
        kept = both
    encoded = [each for _, each in kept]
    names: dict[str, int] = {}
    cluster = [names.setdefault(pair.cluster or f"pair {index}", len(names)) for index, (pair, _) in enumerate(kept)]
    cleans, patches = [each.clean for each in encoded], [each.patch for each in encoded if each.patch is not None]
    width = max(map(len, cleans + patches))
    return PairTokens(
        clean=_padded(cleans, width),
        patch=_padded(patches, width) if patches else None,
        length=np.array([len(each) for each in cleans], dtype=np.int64),
        patch_length=np.array([len(each) for each in patches], dtype=np.int64) if patches else None,
        right=np.array([each.right for each in encoded], dtype=np.int64),
        wrong=np.array([each.wrong for each in encoded], dtype=np.int64),
        cluster=np.array(cluster, dtype=np.int64),
        pairs=tuple(pair for pair, _ in kept),
        has_bos=has_bos,
        skipped=skipped,
    )


def _padded(rows: Sequence[Sequence[int]], width: int) -> Int[np.ndarray, "pair position"]:
    return np.array([[*row, *[row[-1]] * (width - len(row))] for row in rows], dtype=np.int64)
