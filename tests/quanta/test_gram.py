"""Products of per-token gradients: every architecture and group against autograd in float64, and published numbers."""

import numpy as np
import pytest
import torch

from ontogeny.errors import AnalysisError, NonFiniteError
from ontogeny.quanta.config import GROUPS, GramConfig
from ontogeny.quanta.gradients.parameters import is_tied
from ontogeny.quanta.gram import compute_cross_gram, compute_gram
from ontogeny.quanta.similarity import GradientGram
from ontogeny.snapshots.hooks import HookedModel
from paths import requires_shared
from quanta.golden_quanta import golden_case, golden_documents, golden_model
from quanta.gradient_oracles import (
    DOCUMENTS,
    TOKENS,
    cosines,
    grouped_parameters,
    published_parts,
    tiny_model,
    whole_gradients,
)
from snapshots.tiny_models import CONFIGS, build_model


def brute_force(model: HookedModel, tokens: np.ndarray) -> dict[tuple[str, int | None], np.ndarray]:
    """Products of whole gradients, parameter by parameter, added up by group and layer."""
    home = grouped_parameters(model)
    found: dict[tuple[str, int | None], np.ndarray] = {}
    for key, gradient in zip(home.values(), whole_gradients(model, tokens, list(home))):
        flat = gradient.flatten(1)
        found[key] = found.get(key, 0) + (flat @ flat.T).numpy()
    return found


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
    with pytest.raises(
        AnalysisError, match=r"of parameter group 'embeddings'; there are attention\.weight, final_norm"
    ):
        compute_gram(model, DOCUMENTS, TOKENS).similarity(["embeddings"])


def test_a_gradient_that_is_not_finite_is_named() -> None:
    gram = GradientGram(np.array([5, 8]), {("final_norm", None): np.array([[1.0, 0.0], [0.0, 0.0]])})
    with pytest.raises(NonFiniteError, match="token of canonical index 8 has squared length 0"):
        gram.similarity()


def flat_gradients(model: HookedModel, tokens: np.ndarray = TOKENS) -> torch.Tensor:
    """Of the published groups, [token entry]."""
    parameters = [getattr(part.module, part.name) for part in published_parts(model)]
    return torch.cat([each.flatten(1) for each in whole_gradients(model, tokens, parameters)], dim=1)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "bloom"])
def test_absolute_and_sparse_gradients(name: str) -> None:
    model = tiny_model(name)
    gradients = flat_gradients(model)
    absolute = compute_gram(model, DOCUMENTS, TOKENS, GramConfig(entries="absolute", batch_tokens=20))
    np.testing.assert_allclose(absolute.similarity(), cosines(gradients.abs()), atol=1e-9)
    shares = gradients / gradients.norm(dim=1, keepdim=True)
    sparse = compute_gram(model, DOCUMENTS, TOKENS, GramConfig(entries="sparse", batch_tokens=20))
    expected = cosines(torch.where(shares.abs() < 7e-3, 0.0, shares))
    np.testing.assert_allclose(sparse.similarity(), expected, atol=1e-6)
    assert np.abs(expected - cosines(gradients)).max() > 1e-4


@pytest.mark.parametrize("changes", [{}, {"entries": "absolute"}, {"entries": "sparse"}, {"whitening": "kronecker"}])
def test_products_with_landmarks_are_those_of_all_pairs(changes: dict[str, str]) -> None:
    model = tiny_model("gpt_neox")
    tokens, landmarks = np.array([16, 2, 9]), np.array([21, 4, 11, 0])
    config = GramConfig.model_validate({**changes, "by_layer": True, "batch_tokens": 20})
    if config.whitening == "none":
        pairs = compute_gram(model, DOCUMENTS, np.concatenate([tokens, landmarks]), config)
        expected = pairs.similarity()[:3, 3:]
    else:  # the whitening is that of the landmarks: known only for pairs of them
        tokens = landmarks[[2, 1]]
        expected = compute_gram(model, DOCUMENTS, landmarks, config).similarity()[[2, 1]]
    cross = compute_cross_gram(model, DOCUMENTS, tokens, landmarks, config)
    np.testing.assert_allclose(cross.similarity(), expected, atol=1e-9)
    assert set(cross.products) == {
        ("final_norm", None),
        *(
            (f"{home}.{kind}", layer)
            for home in ("attention", "mlp")
            for kind in ("weight", "bias")
            for layer in range(3)
        ),
    }


def test_products_with_landmarks_refuse_tables() -> None:
    with pytest.raises(AnalysisError, match="'embeddings' has products of all pairs only"):
        compute_cross_gram(tiny_model("gpt2"), DOCUMENTS, TOKENS, TOKENS, GramConfig(groups=("embeddings",)))
    with pytest.raises(ValueError, match="groups has 'unembedding', which is compared as it is"):
        GramConfig(groups=("unembedding",), sketch=50)


def test_sketches_tell_their_error() -> None:
    model = tiny_model("gpt_neox", torch.float32)
    tokens = np.arange(0, DOCUMENTS.n_predicted, 2)
    exact = compute_gram(model, DOCUMENTS, tokens).similarity()
    errors = []
    for k in (64, 1024):
        sketched = compute_gram(model, DOCUMENTS, tokens, GramConfig(sketch=k))
        error = sketched.sketch_error
        assert error is not None
        above = np.triu_indices(len(tokens), 1)
        difference = (sketched.similarity() - exact)[above]
        assert (error.n_numbers, error.n_pairs) == (k, len(difference))
        assert error.measured == pytest.approx(np.sqrt(np.square(difference).mean()), rel=1e-3)
        assert error.foretold == pytest.approx(np.sqrt(np.square(1 - exact[above] ** 2).mean() / k), rel=1e-3)
        assert 0.3 < error.measured / error.foretold < 1.3
        assert f"sketches of {k} numbers: error of a cosine" in str(error)
        errors.append(error.measured)
    assert errors[1] < errors[0] / 2
    cross = compute_cross_gram(model, DOCUMENTS, tokens[:4], tokens[4:], GramConfig(sketch=1024))
    np.testing.assert_allclose(cross.similarity(), sketched.similarity()[:4, 4:], atol=1e-5)


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
