"""Products of per-token gradients: every architecture and group against autograd in float64, and published numbers."""

import numpy as np
import pytest
import torch

from ontogeny.errors import AnalysisError, NonFiniteError
from ontogeny.quanta.config import GROUPS, GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gram import compute_gram
from ontogeny.quanta.gradients.parameters import block_parts, embedding_modules, final_parts, is_tied
from ontogeny.quanta.similarity import GradientGram
from ontogeny.snapshots.hooks import HookedModel
from paths import requires_shared
from quanta.golden_quanta import golden_case, golden_documents, golden_model
from snapshots.tiny_models import CONFIGS, VOCABULARY, build_model

DOCUMENTS = Documents.of([np.random.default_rng(3).integers(3, VOCABULARY, size) for size in (9, 6, 2, 12)])
TOKENS = np.array([0, 20, 3, 7, 13, 15, 24, 11])


def brute_force(model: HookedModel, tokens: np.ndarray) -> dict[tuple[str, int | None], np.ndarray]:
    """One backward a token through the whole document, parameter by parameter."""
    home = {}
    for part in [*(part for layer in range(model.n_layers) for part in block_parts(model, layer)), *final_parts(model)]:
        home[getattr(part.module, part.name)] = (part.group, part.layer)
    tables, norms = embedding_modules(model)
    home.update({table.weight: ("embeddings", None) for table in tables})
    home.update({getattr(part.module, part.name): ("embeddings", None) for part in norms})
    assert model.architecture is not None
    for parameter in model.module.get_submodule(model.architecture.unembedding).parameters():
        home.setdefault(parameter, ("unembedding", None))
    rows: dict[tuple[str, int | None], list[torch.Tensor]] = {key: [] for key in home.values()}
    for document, place in zip(*DOCUMENTS.locate(tokens)):
        ids = torch.from_numpy(DOCUMENTS.document(int(document)))
        logits = model(ids[None]).logits[0]
        loss = -logits[place - 1].log_softmax(-1)[ids[place]]
        found = torch.autograd.grad(loss, list(home), allow_unused=True)
        grouped: dict[tuple[str, int | None], list[torch.Tensor]] = {key: [] for key in rows}
        for (parameter, key), gradient in zip(home.items(), found):
            grouped[key].append(torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten())
        for key, parts in grouped.items():
            rows[key].append(torch.cat(parts))
    stacked = {key: torch.stack(each) for key, each in rows.items()}
    return {key: (each @ each.T).numpy() for key, each in stacked.items()}


def compare(found: GradientGram, expected: dict[tuple[str, int | None], np.ndarray], tolerance: float) -> None:
    assert set(found.products) == set(expected)
    for key, products in found.products.items():
        np.testing.assert_allclose(
            products, expected[key], atol=tolerance * np.abs(expected[key]).max(), err_msg=str(key)
        )


@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_group_of_every_layer_is_what_autograd_gives(name: str) -> None:
    model = HookedModel(build_model(name).double())
    expected = brute_force(model, TOKENS)
    groups = tuple(group for group in GROUPS if any(group == key[0] for key in expected))
    assert ("unembedding" in groups) != is_tied(model)
    config = GramConfig(groups=groups, by_layer=True, batch_tokens=20)
    compare(compute_gram(model, DOCUMENTS, TOKENS, config), expected, 2e-6)


@pytest.mark.parametrize(("storage", "tolerance"), [("model", 1e-5), ("bfloat16", 2e-2)])
def test_a_small_budget_changes_nothing_but_the_number_of_passes(storage: str, tolerance: float) -> None:
    torch.manual_seed(0)
    model = HookedModel(build_model("gpt_neox"))
    roomy = compute_gram(model, DOCUMENTS, TOKENS)
    # Some rows of one matrix at a time, and the residual stream in a file.
    tight = compute_gram(model, DOCUMENTS, TOKENS, GramConfig.model_validate({"memory": 2.2e-5, "storage": storage}))
    np.testing.assert_allclose(tight.similarity(), roomy.similarity(), atol=tolerance)
    assert all(parameter.requires_grad for parameter in model.module.parameters())
    with pytest.raises(AnalysisError, match="1e-06 GB do not hold"):
        compute_gram(model, DOCUMENTS, TOKENS, GramConfig(memory=1e-6))


def test_groups_that_match_nothing_are_refused() -> None:
    model = HookedModel(build_model("llama"))
    with pytest.raises(
        AnalysisError, match=r"'mlp\.bias' is of no parameter; this model has attention\.weight, mlp\.weight"
    ):
        compute_gram(model, DOCUMENTS, TOKENS, GramConfig(groups=("mlp.bias",)))
    with pytest.raises(AnalysisError, match="no gradients of parameter group 'embeddings'; there are final_norm"):
        compute_gram(model, DOCUMENTS, TOKENS).similarity(["embeddings"])


def test_a_gradient_that_is_not_finite_is_named() -> None:
    gram = GradientGram(np.array([5, 8]), {("final_norm", None): np.array([[1.0, 0.0], [0.0, 0.0]])})
    with pytest.raises(NonFiniteError, match="token of canonical index 8 has squared length 0"):
        gram.similarity()


@requires_shared
@pytest.mark.parametrize("run", ["A", "B"])
def test_the_published_similarities(run: str) -> None:
    _, tensors = golden_case()
    documents, tokens = golden_documents(tensors), tensors[f"{run}.token_idxs"].numpy()
    exact = compute_gram(golden_model(torch.float64), documents, tokens)
    np.testing.assert_allclose(exact.similarity(), tensors[f"{run}.similarity_f64"].numpy(), atol=5e-7)
    ours = compute_gram(golden_model(), documents, tokens, GramConfig(groups=(*GROUPS,)))
    published = ["attention.weight", "attention.bias", "mlp.weight", "mlp.bias", "final_norm"]
    np.testing.assert_allclose(ours.similarity(published), tensors[f"{run}.similarity"].numpy(), atol=2e-5)
    np.testing.assert_allclose(ours.similarity(published), exact.similarity(), atol=1e-5)
    if run == "A":
        renamed = ours.similarity([*published, "unembedding"])
        np.testing.assert_allclose(renamed, tensors["A.similarity_f64_with_unembedding"].numpy(), atol=1e-5)
