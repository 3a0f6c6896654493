import json
from pathlib import Path

import pytest

from ontogeny.errors import CorpusError
from ontogeny.tokens.config import TextSourceConfig
from ontogeny.tokens.rules.config import RulesConfig
from ontogeny.tokens.text_sources import KINDS, document_of, iter_documents, stdlib_files


def test_every_kind_that_the_config_allows_has_a_reader() -> None:
    annotation = TextSourceConfig.model_fields["kind"].annotation
    assert set(KINDS) == set(annotation.__args__)  # type: ignore[union-attr]


def test_the_standard_library_is_sorted_and_free_of_tests() -> None:
    files = stdlib_files()
    names = [file.name for file in files]
    assert {"argparse.py", "random.py"} <= set(names)
    assert not [file for file in files if {"test", "tests", "site-packages"} & set(file.parts[-3:-1])]
    first, again = (next(iter_documents(TextSourceConfig(kind="stdlib"))).text for _ in range(2))
    assert first == again != ""


def test_column_and_template() -> None:
    record = {"title": "T", "body": "B", "n": 3}
    assert document_of(record, TextSourceConfig(kind="stdlib", column="body"), "x").text == "B"
    assert (
        document_of(record, TextSourceConfig(kind="stdlib", template="{title}: {body} {n:02}"), "x").text == "T: B 03"
    )


@pytest.mark.parametrize("extra", [{"column": "txt"}, {"template": "{txt}"}])
def test_a_missing_column_names_the_columns_there_are(extra: dict[str, str]) -> None:
    with pytest.raises(CorpusError, match="'txt'; its columns are title, body"):
        document_of({"title": "T", "body": "B"}, TextSourceConfig(kind="stdlib", **extra), "x")


@pytest.mark.parametrize("template", ["{title", "{}", "{0}", "{title.x}", "{title[x]}", "{title:d}"])
def test_a_template_that_does_not_fit_is_refused(template: str) -> None:
    with pytest.raises(CorpusError, match="does not fit its columns title"):
        document_of({"title": "T"}, TextSourceConfig(kind="stdlib", template=template), "x")


def test_half_a_surrogate_pair_is_no_text() -> None:
    record = {"text": "a\ud800b", "talk": [{"role": "user", "content": "\udc00"}]}
    plain, chat = TextSourceConfig(kind="stdlib"), TextSourceConfig(kind="files", path="x", column="talk", chat=True)
    assert document_of(record, plain, "x").text == "a\ufffdb"
    assert document_of(record, chat, "x").messages == ({"role": "user", "content": "\ufffd"},)


def test_a_column_that_is_no_text_is_refused() -> None:
    with pytest.raises(CorpusError, match="holds a list"):
        document_of({"text": [1]}, TextSourceConfig(kind="stdlib"), "x")


def test_conversations_in_both_common_forms(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    forms = [
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
        [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}],
    ]
    path.write_text("".join(json.dumps({"text": form}) + "\n" for form in forms))
    first, second = iter_documents(TextSourceConfig(kind="files", path=str(path), chat=True))
    assert first.messages == second.messages == tuple(forms[0])


@pytest.mark.parametrize("value", ["hi", [{"who": "x"}], ["hi"], [{"role": "user", "content": [{"text": "hi"}]}]])
def test_what_is_no_conversation_is_refused(value: object) -> None:
    with pytest.raises(CorpusError, match=r"role, content|must be text"):
        document_of({"text": value}, TextSourceConfig(kind="files", path="x", chat=True), "x")


def test_saved_datasets(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    dataset = Dataset.from_dict({"text": ["one", "two"]})
    dataset.save_to_disk(tmp_path / "flat", num_shards=1)
    DatasetDict({"train": dataset, "test": dataset.select([1])}).save_to_disk(tmp_path / "split")
    flat = TextSourceConfig(kind="folder", path=str(tmp_path / "flat"))
    split = TextSourceConfig(kind="folder", path=str(tmp_path / "split"), split="test")
    assert [document.text for document in iter_documents(flat)] == ["one", "two"]
    assert [document.text for document in iter_documents(split)] == ["two"]
    with pytest.raises(CorpusError, match="its splits are train, test"):
        list(iter_documents(split.model_copy(update={"split": "dev"})))
    with pytest.raises(CorpusError, match="save_to_disk"):
        list(iter_documents(flat.model_copy(update={"path": str(tmp_path)})))


def test_rules_carry_their_labels() -> None:
    document = next(iter_documents(TextSourceConfig(kind="rules", rules=RulesConfig(n_documents=1))))
    assert len(document.labels["rule"]) == len(document.text.split())
