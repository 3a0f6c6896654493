"""Minimal pairs: layouts read, tokenisation policies, what is skipped and counted, generators."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.errors import CorpusError
from ontogeny.tokens.pairs import MinimalPair, iter_pairs, tokenize_pairs
from ontogeny.tokens.pairs.behaviours import check_behaviours
from ontogeny.tokens.pairs.config import BehaviourConfig, PairPolicy
from ontogeny.tokens.pairs.files import sentence_pair
from ontogeny.tokens.pairs.generators import COMMON, NOUNS, iter_agreement, plural
from ontogeny.tokens.pairs.sources import GENERATORS, READERS
from ontogeny.tokens.vocabulary import train_tokenizer
from paths import SHARED, requires_shared


class Words:
    """A tokenizer of words: every word with its leading space is a token, but those with a hyphen are several."""

    bos_token_id: int | None = 0
    eos_token_id = 0

    def __init__(self) -> None:
        self.ids: dict[str, int] = {"<end>": 0}

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        pieces = [piece for word in text.split() for piece in word.replace("-", " -").split()]
        return {"input_ids": [self.ids.setdefault(piece, len(self.ids)) for piece in pieces]}

    def decode(self, ids: list[int]) -> str:
        return " ".join(list(self.ids)[each] for each in ids)


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_pairs_become_prefixes_answers_and_clusters() -> None:
    words = Words()
    pairs = [
        MinimalPair("The boy", " is", " are", "The boys", cluster="boy"),
        MinimalPair("The boys near us", " are", " is", "The boy near us", cluster="boy"),
        MinimalPair("The king", " is", " are", "The kings", cluster="king"),
    ]
    tokens = tokenize_pairs(pairs, words, PairPolicy())
    assert tokens.has_bos and tokens.clean[:, 0].tolist() == [0, 0, 0]
    assert tokens.length.tolist() == [3, 5, 3] and tokens.clean.shape == (3, 5)
    assert tokens.clean[0].tolist() == [0, words.ids["The"], words.ids["boy"], *[words.ids["boy"]] * 2]
    assert tokens.right.tolist() == [words.ids[each] for each in ("is", "are", "is")]
    assert tokens.wrong.tolist() == [words.ids[each] for each in ("are", "is", "are")]
    assert tokens.cluster.tolist() == [0, 0, 1] and tokens.n_clusters == 2
    assert tokens.take(np.array([2])).pairs == (pairs[2],)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (MinimalPair("The boy", " is", " is", "The boys"), "the same token"),
        (MinimalPair("The boy", " is", " is-not", "The boys"), "begins the other"),
        (MinimalPair("The boy", " is-not", " are-not", "The boys"), "several tokens"),
        (MinimalPair("The boy", " is", " are", "The big boys"), "unequal length"),
        (MinimalPair("The boy", " is", " are", "The boy"), "same tokens"),
        (MinimalPair("The old boy here", " is", " are", "The old boys here"), "longer than 4"),
    ],
    ids=["same", "prefix", "several", "length", "equal", "long"],
)
def test_what_is_skipped_is_counted_by_reason(pair: MinimalPair, reason: str) -> None:
    policy = PairPolicy(max_tokens=4)
    good = MinimalPair("The boy", " is", " are", "The boys")
    assert [key for key in tokenize_pairs([good, pair], Words(), policy).skipped if reason in key]
    with pytest.raises(CorpusError, match=f"no pair is left of 1: 1 .*{reason}"):
        tokenize_pairs([pair], Words(), policy)


def test_where_no_pair_is_left_the_split_answers_and_the_cure_are_named() -> None:
    tokenizer = train_tokenizer(["abc"], vocab_size=257)  # one token a byte
    pairs = [MinimalPair("The boy", " is", right) for right in (" are", " have", " were", " was")]
    with pytest.raises(CorpusError) as caught:
        tokenize_pairs(pairs, tokenizer, PairPolicy())
    message = str(caught.value)
    assert "4 with an answer of several tokens (' is' is ' ' + 'i' + 's', ' are' is " in message
    assert "and 2 more)" in message and 'policy.answers = "first"' in message and "\n" not in message
    assert len(tokenize_pairs(pairs, tokenizer, PairPolicy(answers="first"))) == 4
    with pytest.raises(CorpusError, match=r"policy\.equal_length = false"):
        tokenize_pairs([MinimalPair("The boy", " a", " b", "A boy")], tokenizer, PairPolicy())


def test_reading_stops_where_there_are_enough_clusters() -> None:
    read = []

    def pairs() -> Iterator[MinimalPair]:
        for number in range(20):
            read.append(number)
            yield MinimalPair("The boy", " is", " are", cluster=f"c{number // 2}")

    assert tokenize_pairs(pairs(), Words(), PairPolicy(), enough=4).n_clusters == 4 and len(read) == 7


def test_few_clusters_are_told_before_any_model_is_asked(tmp_path: Path) -> None:
    rows = [{"clean_prefix": f"a b{number}", "right": " is", "wrong": " are"} for number in range(7)]
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, rows)))
    behaviour = BehaviourConfig(kind="jsonl", path=str(tmp_path / "some.jsonl"))
    asked = SimpleNamespace(behaviours=[behaviour], policy=PairPolicy())
    assert check_behaviours(asked, Words()) == []
    (told,) = check_behaviours(SimpleNamespace(**vars(asked), min_clusters=10), Words())
    assert "behaviour 'some' keeps 7 pairs in 7 independent groups, fewer than 10" in told


def test_verbs_are_single_tokens_where_any_are() -> None:
    def length(word: str) -> int:
        return 2 if word in ("is", "are", "have") else 1

    pairs = list(iter_agreement(BehaviourConfig(kind="agreement", n_pairs=20), length))
    assert {pair.right for pair in pairs} == {" was", " were"}


def test_the_first_differing_token_may_decide() -> None:
    words = Words()
    pair = MinimalPair("The boy", " is-not", " are-not", "The boys")
    tokens = tokenize_pairs([pair], words, PairPolicy(answers="first", bos="never"))
    assert (tokens.right[0], tokens.wrong[0]) == (words.ids["is"], words.ids["are"]) and not tokens.has_bos


def test_one_word_may_follow_two_prefixes() -> None:
    tokens = tokenize_pairs([MinimalPair("The boys", " run", None, "The boy")], Words(), PairPolicy())
    assert tokens.wrong.tolist() == [-1] and tokens.patch is not None


def test_a_missing_bos_is_refused_only_where_it_is_demanded() -> None:
    words = Words()
    words.bos_token_id = None
    pair = MinimalPair("The boy", " is", " are")
    assert not tokenize_pairs([pair], words, PairPolicy()).has_bos
    with pytest.raises(CorpusError, match="never"):
        tokenize_pairs([pair], words, PairPolicy(bos="always"))


@given(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=6),
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_sentences_share_their_prefix(right: list[str], wrong: list[str]) -> None:
    good, bad = " ".join(right), " ".join(wrong)
    pair = sentence_pair(good, bad)
    assert pair.wrong is not None
    assert (pair.clean_prefix + pair.right).strip() == good[: len((pair.clean_prefix + pair.right).strip())]
    assert good.startswith(pair.clean_prefix) and bad.startswith(pair.clean_prefix)
    assert pair.right.split() != pair.wrong.split() or right == wrong


def test_every_layout_is_read(tmp_path: Path) -> None:
    blimp = {"sentence_good": "The boys run.", "sentence_bad": "The boys runs.", "UID": "agreement"}
    one = {"one_prefix_prefix": "The boys", "one_prefix_word_good": "run", "one_prefix_word_bad": "runs"}
    two = {"two_prefix_prefix_good": "The boys", "two_prefix_prefix_bad": "The boy", "two_prefix_word": "run"}
    path = jsonl(tmp_path / "b.jsonl", blimp, blimp | one, blimp | two)
    first, second, third = iter_pairs(BehaviourConfig(kind="blimp", path=path))
    assert (first.clean_prefix, first.right, first.wrong) == ("The boys", " run.", " runs.")
    assert (second.right, second.wrong, second.patch_prefix) == (" run", " runs", None)
    assert (third.clean_prefix, third.patch_prefix, third.wrong) == ("The boys", "The boy", None)
    row = {"clean_prefix": "Les rois", "clean_answer": " sont", "patch_answer": " est", "skip": False}
    path = jsonl(tmp_path / "fr_simple.jsonl", row, row | {"skip": True})
    (clams,) = iter_pairs(BehaviourConfig(kind="clams", path=path))
    assert (clams.language, clams.phenomenon, clams.right) == ("fr", "simple", " sont")
    folder = tmp_path / "deu"
    folder.mkdir()
    table = "sen\twrong_sen\tphenomenon\nDer Hund ist da\tDer Hund sind da\tSV-#\n"
    (folder / "data.tsv").write_text(table, encoding="utf-8")
    (multi,) = iter_pairs(BehaviourConfig(kind="multiblimp", path=str(folder)))
    assert (multi.language, multi.phenomenon, multi.clean_prefix, multi.right) == ("deu", "SV-#", "Der Hund", " ist")
    circuits = {"clean_prefix": "The boy", "patch_prefix": "The boys", "clean_answer": " is", "patch_answer": " are"}
    swapped = {"clean_prefix": "The boys", "patch_prefix": "The boy", "clean_answer": " are", "patch_answer": " is"}
    path = jsonl(tmp_path / "c.json", circuits, swapped)
    both = list(iter_pairs(BehaviourConfig(kind="feature_circuits", path=path)))
    assert both[0].cluster == both[1].cluster, "both directions of a pair are one cluster"
    path = jsonl(tmp_path / "own.jsonl", {"clean_prefix": "a", "right": " b", "wrong": " c", "cluster": "x"})
    assert next(iter_pairs(BehaviourConfig(kind="jsonl", path=path))).cluster == "x"


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "line 1"), ('{"right": " a"}', "clean_prefix"), ('{"clean_prefix": "a", "right": " b", "odd": 1}', "odd")],
    ids=["json", "missing", "unknown"],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "bad.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match=told):
        list(iter_pairs(BehaviourConfig(kind="jsonl", path=str(tmp_path / "bad.jsonl"))))
    with pytest.raises(CorpusError, match="there is no file"):
        list(iter_pairs(BehaviourConfig(kind="jsonl", path=str(tmp_path / "absent*"))))


@pytest.mark.parametrize("kind", sorted(GENERATORS))
def test_generators_give_true_pairs_by_seed(kind: Any) -> None:
    config = BehaviourConfig(kind=kind, n_pairs=40)
    words = Words()
    pairs = list(iter_pairs(config, words))
    assert pairs == list(iter_pairs(config, words)) != list(iter_pairs(config.model_copy(update={"seed": 1}), words))
    assert all(pair.clean_prefix != pair.patch_prefix and pair.right != pair.wrong for pair in pairs)
    if kind != "greater_than":  # a tokenizer of words knows no digits
        tokens = tokenize_pairs(pairs, words, PairPolicy())
        assert len(tokens) >= 0.9 * len(pairs) and tokens.n_clusters > 3
        assert tokens.patch is not None
        assert ((tokens.clean != tokens.patch).sum(axis=1) >= 1).all()


def test_agreement_has_attractors_of_the_other_number() -> None:
    plurals = {plural(noun) for noun in NOUNS}
    for pair in iter_pairs(BehaviourConfig(kind="agreement", attractors=2, n_pairs=30)):
        nouns = [word in plurals for word in pair.clean_prefix.split() if word in plurals or word in NOUNS]
        assert len(nouns) == 3 and nouns[1:] == [not nouns[0]] * 2
        assert (pair.right.strip() in ("are", "were", "have")) == nouns[0]


def test_a_draw_takes_every_cluster_before_a_second_of_any(tmp_path: Path) -> None:
    rows = [{"clean_prefix": f"{letter} {i}", "right": " b", "cluster": letter} for letter in "xyz" for i in range(9)]
    config = BehaviourConfig(kind="jsonl", path=jsonl(tmp_path / "p.jsonl", *rows), max_pairs=4)
    drawn = [pair.cluster for pair in iter_pairs(config)]
    assert len(drawn) == 4 and set(drawn) == set("xyz")


def test_kinds_of_the_config_are_those_that_are_read() -> None:
    kinds = BehaviourConfig.model_fields["kind"].annotation.__args__  # type: ignore[union-attr]
    assert set(kinds) == set(READERS) | set(GENERATORS)


@requires_shared
@pytest.mark.parametrize(("name", "left"), [("simple_test", 55), ("simple_train", 193), ("nounpp_train", 805)])
def test_the_books_tokenizer_leaves_as_many_pairs_as_its_notes_say(name: str, left: int) -> None:
    from ontogeny.snapshots.load import load_tokenizer

    tokenizer = load_tokenizer(str(SHARED / "data" / "families" / "books" / "step4024"))
    path = str(SHARED / "data" / "eval" / "subject_verb" / f"{name}.json")
    pairs = iter_pairs(BehaviourConfig(kind="feature_circuits", path=path))
    assert len(tokenize_pairs(pairs, tokenizer, PairPolicy())) == left


def test_induction_takes_common_words_where_few_nouns_are_single_tokens() -> None:
    def tokenizer(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [0] if text.strip() in COMMON else [0, 1]}

    pairs = list(iter_pairs(BehaviourConfig(kind="induction", n_pairs=20), tokenizer))
    assert {word for pair in pairs for word in pair.clean_prefix.split()} <= set(COMMON)
    assert not {pair.right for pair in iter_pairs(BehaviourConfig(kind="induction"))} & {
        f" {word}" for word in ("any", "if")
    }


FEATURE = '{"clean_prefix": "a", "patch_prefix": %s, "clean_answer": " b", "patch_answer": " c"}'


@pytest.mark.parametrize(
    ("kind", "content", "hint"),
    [
        ("blimp", b"", "none to read"),
        ("blimp", b"\n\n", "none to read"),
        ("blimp", b'{"sentence_good": "a b"}', "line 1 of .* has no 'sentence_bad'"),
        ("blimp", b'{"sentence_good": "a b", "sentence_bad": 3}', "sentence_bad = 3, which is no text"),
        (
            "blimp",
            b'{"two_prefix_prefix_good": "a", "sentence_good": "a", "sentence_bad": "b"}',
            "'two_prefix_prefix_bad'",
        ),
        ("blimp", b'{"one_prefix_prefix": "a", "sentence_good": "a", "sentence_bad": "b"}', "'one_prefix_word_good'"),
        ("blimp", b'{"sentence_good": "a", "sen', "line 1 of .* is no JSON object"),
        ("blimp", b"[1, 2]", "one object a line"),
        ("blimp", b"\xff\xfe{}", "not UTF-8"),
        ("clams", b'{"clean_prefix": "a", "clean_answer": " b", "patch_answer": null}', "'patch_answer'"),
        ("feature_circuits", (FEATURE % "null").encode(), "'patch_prefix'"),
        ("feature_circuits", f"[{FEATURE % 3},\n{FEATURE % 3}]".encode(), "one object a line"),
        ("jsonl", b'{"clean_prefix": 5, "right": " a"}', "clean_prefix = 5"),
        ("jsonl", b'{"clean_prefix": "\\ud800", "right": " a"}', "no text"),
        ("jsonl", b'{"clean_prefix": "a", "right": " b", "wrong": " c", "sentences": "ab"}', "two texts in a list"),
        ("jsonl", b'{"clean_prefix": "a", "right": " b", "wrnog": " c"}', "field 'wrnog'"),
        ("multiblimp", b"sen,wrong_sen\na,b", "column 'sen'.*between tabs"),
        ("multiblimp", b"sen\twrong_sen\na b\ta c\nalone", "line 3 of .* has no 'wrong_sen'"),
        ("multiblimp", b"sen\twrong_sen\n\xff\tb", "line 2 of .* is not UTF-8"),
        ("multiblimp", b"sen\twrong_sen\n" + b"a" * 200_000 + b"\tb", "line 2 of .* is no row"),
    ],
    ids=range(20),
)
def test_damaged_files_are_named_in_one_sentence(tmp_path: Path, kind: str, content: bytes, hint: str) -> None:
    file = tmp_path / "pairs.data"
    file.write_bytes(content)
    config = BehaviourConfig.model_validate({"kind": kind, "path": str(file)})
    with pytest.raises(CorpusError, match=hint) as caught:
        tokenize_pairs(iter_pairs(config), Words(), PairPolicy())
    assert "\n" not in str(caught.value)


def test_marks_of_byte_order_numbered_clusters_and_nulls_are_read(tmp_path: Path) -> None:
    row = '{"clean_prefix": "The boy", "right": " is", "wrong": " are", "cluster": 4, "phenomenon": null}'
    (tmp_path / "pairs.jsonl").write_bytes(b"\xef\xbb\xbf" + row.encode())
    (pair,) = iter_pairs(BehaviourConfig(kind="jsonl", path=str(tmp_path / "pairs.jsonl")))
    assert (pair.cluster, pair.phenomenon, pair.clean_prefix) == ("4", "pairs", "The boy")
    (tmp_path / "folder.jsonl").mkdir()
    assert len(list(iter_pairs(BehaviourConfig(kind="jsonl", path=str(tmp_path))))) == 1
