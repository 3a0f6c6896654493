"""Every example runs, uses the public API alone, and finds what it says."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
import torch

import ontogeny as og
from paths import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_use_the_public_names_alone(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("ontogeny"), f"{file.name} imports from {node.module}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "og":
            assert hasattr(og, node.attr), f"{file.name} uses ontogeny.{node.attr}, which is not exported"


def test_train_sae(tmp_path: Path) -> None:
    sae = load_example("train_sae").main(tmp_path, steps=150)
    x = load_example("train_sae").make_activations(2_000)
    with torch.no_grad():
        error = (sae(x) - x).square().sum() / (x - x.mean(0)).square().sum()
    assert error < 0.35
    again = og.import_dictionary(tmp_path / "saelens")
    with torch.no_grad():
        assert torch.allclose(again(x), sae(x), atol=1e-4)


def test_crosscoder_on_own_module(tmp_path: Path) -> None:
    table = load_example("crosscoder_on_own_module").main(tmp_path, steps=60)
    assert table.columns == ["latent", "step0", "step4", "step16", "step64", "step256"]
    assert table.select(pl.max_horizontal(pl.exclude("latent"))).to_series().round(5).eq(1).all()


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny random snapshots with a tokenizer, as folders of Hugging Face files."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("family")
    words = {"[UNK]": 0, "the": 1, "cat": 2, "sat": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="[UNK]")
    config = GPTNeoXConfig(
        vocab_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    for step in (0, 8):
        torch.manual_seed(step)
        GPTNeoXForCausalLM(config).save_pretrained(folder / f"step{step}")
        fast.save_pretrained(folder / f"step{step}")
    return folder


def test_encode_text(family: Path, tmp_path: Path) -> None:
    config = og.CrosscoderConfig(n_latents=32, activation={"kind": "topk", "k": 3})
    og.Crosscoder(config, ["step0", "step8"], d_model=16).save(tmp_path)
    table = load_example("encode_text").encode_text(tmp_path, str(family / "step*"), "resid_post.0", "the cat sat")
    assert table["token"].unique(maintain_order=True).to_list() == ["the", "cat", "sat"]
    assert table.columns == ["position", "token", "latent", "value", "step0", "step8"]
    assert table.height == 9 and (table["value"] > 0).all()


def test_steer(family: Path, tmp_path: Path) -> None:
    config = og.CrosscoderConfig(n_latents=32, activation={"kind": "topk", "k": 3})
    og.Crosscoder(config, ["step0", "step8"], d_model=16).save(tmp_path)
    arguments = (str(family / "step*"), "resid_post.0", "step8", 4, 50.0, "the cat")
    record = load_example("steer").steer(tmp_path, *arguments)
    assert record.kinds == ["baseline", "steered", "control"]
    assert all(each.mean >= 0 for each in record.divergences())


def test_results_as_dataframes(tmp_path: Path) -> None:
    stream = og.MemoryStore.from_tensors(torch.randn(256, 2, 8), ["step0", "step1"])
    config = og.CrosscoderConfig(n_latents=16, activation={"kind": "topk", "k": 2})
    dictionary = og.Crosscoder(config, ["step0", "step1"], d_model=8).eval()
    og.save_result(og.evaluate(dictionary, stream, og.EvaluationConfig(splice=False)), tmp_path)
    per_source, density = load_example("results_as_dataframes").open_frames(tmp_path)
    assert len(per_source) == 2
    assert isinstance(density, pl.DataFrame)
