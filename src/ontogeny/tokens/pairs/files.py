"""Minimal pairs out of the files that the field keeps them in, one reader a layout."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ontogeny.errors import CorpusError
from ontogeny.tokens.pairs.config import BehaviourConfig
from ontogeny.tokens.pairs.pair import MinimalPair, common_length


def iter_blimp(config: BehaviourConfig) -> Iterator[MinimalPair]:
    """BLiMP: one-prefix sets give two answers, two-prefix sets one word after two prefixes, the others sentences.

    Warstadt et al. 2020, arXiv 1912.00582. Clusters are the prefixes.
    """
    for path in paths_of(config):
        for row in _json_lines(path, ("sentence_good", "sentence_bad")):
            sentences = (row["sentence_good"], row["sentence_bad"])
            common: dict[str, Any] = {
                "phenomenon": row.get("UID") or path.stem,
                "language": config.language or "en",
                "sentences": sentences,
            }
            if "two_prefix_prefix_good" in row:
                good, bad = row["two_prefix_prefix_good"], row["two_prefix_prefix_bad"]
                word = _spaced(row["two_prefix_word"])
                yield MinimalPair(good, word, None, bad, cluster=word, **common)
            elif "one_prefix_prefix" in row:
                answers = _spaced(row["one_prefix_word_good"]), _spaced(row["one_prefix_word_bad"])
                yield MinimalPair(row["one_prefix_prefix"], *answers, cluster=row["one_prefix_prefix"], **common)
            else:
                yield sentence_pair(*sentences, **common)


def iter_clams(config: BehaviourConfig) -> Iterator[MinimalPair]:
    """CLAMS rows: sentence_good/bad, clean_prefix, clean_answer, patch_answer; those marked `skip` are left out.

    Mueller et al. 2020, arXiv 2005.00187. Rows repeat a prefix with its answers, so these are the clusters. The
    language is the file name's first part ("fr_simple_agrmt").
    """
    for path in paths_of(config):
        language = config.language or path.stem.partition("_")[0]
        for row in _json_lines(path, ("clean_prefix", "clean_answer", "patch_answer")):
            if row.get("skip"):
                continue
            good, bad = row.get("sentence_good"), row.get("sentence_bad")
            yield MinimalPair(
                row["clean_prefix"],
                row["clean_answer"],
                row["patch_answer"],
                cluster=row["clean_prefix"],
                phenomenon=path.stem.partition("_")[2] or path.stem,
                language=language,
                sentences=(good, bad) if good and bad else None,
            )


def iter_multiblimp(config: BehaviourConfig) -> Iterator[MinimalPair]:
    """MultiBLiMP tables (`<language>/data.tsv`): columns sen, wrong_sen, phenomenon, lemma where there is one.

    Jumelet et al. 2025, arXiv 2504.02768.
    """
    for path in paths_of(config):
        language = config.language or (path.parent.name if path.stem == "data" else path.stem)
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            missing = {"sen", "wrong_sen"} - set(rows.fieldnames or ())
            if missing:
                raise CorpusError(
                    f"{path} has no column {sorted(missing)[0]!r}; a MultiBLiMP table has sen, wrong_sen."
                )
            for row in rows:
                yield sentence_pair(
                    row["sen"],
                    row["wrong_sen"],
                    cluster=row.get("lemma") or "",
                    phenomenon=row.get("phenomenon") or "agreement",
                    language=language,
                    sentences=(row["sen"], row["wrong_sen"]),
                )


def iter_feature_circuits(config: BehaviourConfig) -> Iterator[MinimalPair]:
    """The layout of the feature-circuits data: clean_prefix, patch_prefix, clean_answer, patch_answer, case.

    Marks et al. 2024, arXiv 2403.19647. True minimal pairs; the cluster is the pair of subjects, whichever is clean.
    """
    for path in paths_of(config):
        for row in _json_lines(path, ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer")):
            clean, patch = row["clean_prefix"], row["patch_prefix"]
            yield MinimalPair(
                clean,
                row["clean_answer"],
                row["patch_answer"],
                patch,
                cluster=_difference(clean, patch),
                phenomenon=path.stem,
                language=config.language or "en",
            )


def iter_jsonl(config: BehaviourConfig) -> Iterator[MinimalPair]:
    """Plain JSON lines with the fields of `MinimalPair`; clean_prefix and right are needed."""
    fields = set(MinimalPair.__dataclass_fields__)
    for path in paths_of(config):
        for row in _json_lines(path, ("clean_prefix", "right")):
            unknown = sorted(set(row) - fields)
            if unknown:
                raise CorpusError(f"{path} has a field {unknown[0]!r}; a pair has {', '.join(sorted(fields))}.")
            given = {"wrong": None, "phenomenon": path.stem, "language": config.language or "en", **row}
            if given.get("sentences") is not None:
                given["sentences"] = tuple(given["sentences"])
            yield MinimalPair(**given)


def sentence_pair(good: str, bad: str, **common: Any) -> MinimalPair:
    """A pair out of two sentences that share their beginning: the prefix is what they share, word by word."""
    right, wrong = good.split(" "), bad.split(" ")
    numbers: dict[str, int] = {}
    ids = [[numbers.setdefault(word, len(numbers)) for word in words] for words in (right, wrong)]
    same = common_length(*ids)
    prefix = " ".join(right[:same])
    lead = " " if same else ""
    answer, other = (lead + " ".join(words[same : same + 1]) for words in (right, wrong))
    common["cluster"] = common.get("cluster") or prefix
    return MinimalPair(prefix, answer, other, **common)


def paths_of(config: BehaviourConfig) -> list[Path]:
    """The files of a behaviour, in order; CorpusError where there are none."""
    given = Path(str(config.path)).expanduser()
    if given.is_dir():
        found = [*sorted(given.glob("*.json*")), *sorted(given.glob("*.tsv"))]
    else:
        found = sorted(Path(given.anchor).glob(str(given.relative_to(given.anchor))))
    if not found:
        raise CorpusError(
            f"there is no file at {config.path}; give a file, a folder or a pattern of {config.kind} pairs."
        )
    return found


def _spaced(word: str) -> str:
    return word if word.startswith(" ") else f" {word}"


def _difference(clean: str, patch: str) -> str:
    """The words in which two prefixes differ, in one order for both directions of the pair."""
    words = [sorted(pair) for pair in zip(clean.split(), patch.split(), strict=False) if pair[0] != pair[1]]
    return " ".join("/".join(pair) for pair in words) or min(clean, patch)


def _json_lines(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise CorpusError(f"line {number} of {path} is no JSON object: {error.msg}.") from error
            missing = [name for name in needed if not isinstance(row, dict) or name not in row]
            if missing:
                raise CorpusError(f"line {number} of {path} has no {missing[0]!r}; a row has {', '.join(needed)}.")
            yield row
