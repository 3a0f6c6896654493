"""Minimal pairs out of the files that the field keeps them in, one reader a layout."""

import csv
import json
from collections.abc import Callable, Iterator
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
        for row in _json_lines(path, _needed_of_blimp):
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
        for row in _json_lines(
            path, lambda row: ("clean_prefix", "clean_answer", "patch_answer"), ("sentence_good", "sentence_bad")
        ):
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
        rows = csv.DictReader((line for _, line in _lines(path)), delimiter="\t")
        try:
            missing = {"sen", "wrong_sen"} - set(rows.fieldnames or ())
            if missing:
                raise CorpusError(
                    f"{path} has no column {sorted(missing)[0]!r}; a MultiBLiMP table has sen, wrong_sen, between tabs."
                )
            for row in rows:
                _check_row(row, f"line {rows.line_num} of {path}", ("sen", "wrong_sen"))
                yield sentence_pair(
                    row["sen"],
                    row["wrong_sen"],
                    cluster=row.get("lemma") or "",
                    phenomenon=row.get("phenomenon") or "agreement",
                    language=language,
                    sentences=(row["sen"], row["wrong_sen"]),
                )
        except csv.Error as error:
            raise CorpusError(
                f"line {rows.line_num + 1} of {path} is no row of a table: {error}; mend the file."
            ) from error


def iter_feature_circuits(config: BehaviourConfig) -> Iterator[MinimalPair]:
    """The layout of the feature-circuits data: clean_prefix, patch_prefix, clean_answer, patch_answer, case.

    Marks et al. 2024, arXiv 2403.19647. True minimal pairs; the cluster is the pair of subjects, whichever is clean.
    """
    for path in paths_of(config):
        for row in _json_lines(path, lambda row: ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer")):
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
    optional = ("wrong", "patch_prefix", "phenomenon", "language")
    for path in paths_of(config):
        for row in _json_lines(path, lambda row: ("clean_prefix", "right"), optional):
            unknown = sorted(set(row) - fields)
            if unknown:
                raise CorpusError(f"{path} has a field {unknown[0]!r}; a pair has {', '.join(sorted(fields))}.")
            known = {name: value for name, value in row.items() if value is not None}
            given = {"wrong": None, "phenomenon": path.stem, "language": config.language or "en", **known}
            given["cluster"] = str(given.get("cluster", ""))
            if "sentences" in given:
                given["sentences"] = _both_sentences(given["sentences"], path)
            yield MinimalPair(**given)


def _both_sentences(given: Any, path: Path) -> tuple[str, str]:
    if not isinstance(given, list) or len(given) != 2 or not all(isinstance(each, str) for each in given):
        raise CorpusError(
            f"{path} has sentences = {_short(given)}; give the right and the wrong one: two texts in a list."
        )
    return given[0], given[1]


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
    found = [path for path in found if path.is_file()]
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


def _needed_of_blimp(row: dict[str, Any]) -> tuple[str, ...]:
    """What a BLiMP row must hold, by the kind of its set."""
    if "two_prefix_prefix_good" in row:
        return ("sentence_good", "sentence_bad", "two_prefix_prefix_good", "two_prefix_prefix_bad", "two_prefix_word")
    if "one_prefix_prefix" in row:
        return ("sentence_good", "sentence_bad", "one_prefix_prefix", "one_prefix_word_good", "one_prefix_word_bad")
    return ("sentence_good", "sentence_bad")


def _json_lines(
    path: Path, needed: Callable[[dict[str, Any]], tuple[str, ...]], optional: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """The objects of a file; `needed` of one are texts, `optional` ones texts or absent. CorpusError names the line."""
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise CorpusError(
                f"line {number} of {path} is no JSON object ({reason}); a file of pairs has one object a line."
            ) from error
        if not isinstance(row, dict):
            raise CorpusError(f"line {number} of {path} is no JSON object; a file of pairs has one object a line.")
        _check_row(row, f"line {number} of {path}", needed(row), optional)
        yield row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a text file; CorpusError where it is no UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise CorpusError(f"line {number} of {path} is not UTF-8 text; convert the file.") from error
            yield number, text


def _check_row(row: dict[str, Any], where: str, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    for name in (*needed, *optional):
        value = row.get(name)
        if value is None and name in optional:
            continue
        if value is None:
            raise CorpusError(f"{where} has no {name!r}; a row has {', '.join(needed)}.")
        # Half a surrogate pair, as JSON can hold it, is no text.
        if not isinstance(value, str) or value.encode("utf-8", "ignore").decode() != value:
            raise CorpusError(f"{where} has {name} = {_short(value)}, which is no text.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
