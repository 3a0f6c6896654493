"""The crosscoder against a dense float64 oracle, and its invariances."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dictionaries.dense_reference import dense_terms
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder, StepContext, load_dictionary
from ontogeny.errors import DictionaryError

ACTIVATIONS: dict[str, dict[str, Any]] = {
    "relu": {"kind": "relu"},
    "jumprelu": {"kind": "jumprelu", "threshold": 0.3, "window": 0.5},
    "topk": {"kind": "topk", "k": 5},
    "batchtopk": {"kind": "batchtopk", "k": 5},
    "batchtopk_separate": {"kind": "batchtopk", "k": 5, "budget": "separate"},
    "groupmax": {"kind": "groupmax", "k": 8},
}
SPARSITY: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "l1": {"kind": "l1", "coefficient": 0.3},
    "l1_mean": {"kind": "l1", "coefficient": 0.3, "reduction": "mean"},
    "tanh": {"kind": "tanh", "coefficient": 0.3},
    "tanh_quad": {"kind": "tanh_quad", "coefficient": 0.3},
}
NORMS = torch.tensor([2.0, 8.0, 40.0], dtype=torch.float64)


def random_crosscoder(n_sources: int, seed: int = 0, **config: Any) -> tuple[Crosscoder, Tensor]:
    """A crosscoder with nothing special about it, in float64, and activations of unequal norms."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    names = [f"step{i}" for i in range(n_sources)]
    crosscoder = Crosscoder(CrosscoderConfig.model_validate({"n_latents": 48, **config}), names, d_model=10).double()
    with torch.no_grad():
        for parameter in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc, crosscoder.b_dec):
            parameter.copy_(normal(*parameter.shape) * 0.3)
        if crosscoder.W_skip is not None:
            crosscoder.W_skip.copy_(normal(*crosscoder.W_skip.shape) * 0.1)
    crosscoder.set_scales(10**0.5 / NORMS[:n_sources], normal(n_sources, 10))
    return crosscoder, normal(30, n_sources, 10) * NORMS[:n_sources, None] / 10**0.5


def assert_matches_dense(crosscoder: Crosscoder, x: Tensor, target: Tensor | None = None) -> None:
    dead = torch.arange(crosscoder.n_latents) % 3 == 0
    terms = crosscoder.training_step(x, StepContext(dead=dead), target).terms
    torch.stack(list(terms.values())).sum().backward()
    gradients = {name: parameter.grad for name, parameter in crosscoder.named_parameters()}
    crosscoder.zero_grad()
    expected = dense_terms(crosscoder, x, dead, target)
    torch.stack(list(expected.values())).sum().backward()
    assert terms.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(terms[name], term, rtol=1e-9, atol=1e-12, msg=f"term {name}")
    for name, parameter in crosscoder.named_parameters():
        torch.testing.assert_close(
            gradients[name], parameter.grad, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"gradient of {n}: {m}"
        )


@pytest.mark.parametrize("n_sources", [1, 3])
@pytest.mark.parametrize("gate", ["shared", "per_source"])
@pytest.mark.parametrize("sparsity", SPARSITY)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_step_equals_dense_autograd(activation: str, sparsity: str, gate: str, n_sources: int) -> None:
    if activation == "groupmax" and gate == "per_source":
        return
    crosscoder, x = random_crosscoder(
        n_sources, activation=ACTIVATIONS[activation], sparsity=SPARSITY[sparsity], gate=gate
    )
    assert_matches_dense(crosscoder, x)


@pytest.mark.parametrize("share", [0.0, 1.1], ids=["dense", "sparse"])
@pytest.mark.parametrize("gate", ["shared", "per_source"])
@pytest.mark.parametrize("sparsity", SPARSITY)
@pytest.mark.parametrize("activation", ["relu", "jumprelu"])
def test_dense_and_sparse_paths_agree(
    activation: str, sparsity: str, gate: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ontogeny.dictionaries.activation_functions.preactivation.SPARSE_BELOW", share)
    crosscoder, x = random_crosscoder(3, activation=ACTIVATIONS[activation], sparsity=SPARSITY[sparsity], gate=gate)
    assert crosscoder.encode(x).is_dense == (share == 0.0)
    assert_matches_dense(crosscoder, x)


@pytest.mark.parametrize("norm", ["sum", "frobenius", "mixed", "none"])
@pytest.mark.parametrize("recon", ["squared", "norm", "batchnorm"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reconstruction_and_norms_equal_dense_autograd(norm: str, recon: str, reduction: str) -> None:
    crosscoder, x = random_crosscoder(
        3,
        activation=ACTIVATIONS["batchtopk"],
        sparsity=SPARSITY["l1"],
        norm=norm,
        recon=recon,
        reduction=reduction,
        subtract_b_dec=True,
        skip=True,
    )
    assert_matches_dense(crosscoder, x)


@pytest.mark.parametrize("gate", ["shared", "per_source"])
def test_preact_term_equals_dense_autograd(gate: str) -> None:
    crosscoder, x = random_crosscoder(3, activation=ACTIVATIONS["jumprelu"], preact=0.1, gate=gate)
    assert_matches_dense(crosscoder, x)


def test_transcoder_reads_one_place_and_writes_others() -> None:
    config = CrosscoderConfig(n_latents=48, activation={"kind": "topk", "k": 5}, skip=True)
    crosscoder = Crosscoder(config, ["mlp_in"], ["mlp_out.a", "mlp_out.b"], d_model=10, d_model_out=6).double()
    x = torch.randn(30, 1, 10, dtype=torch.float64) * 3
    y = torch.randn(30, 2, 6, dtype=torch.float64) + 2
    crosscoder.set_scales(
        torch.tensor([0.3]), scale_out=torch.tensor([1.0, 0.5]), centre_out=torch.ones(2, 6, dtype=torch.float64)
    )
    crosscoder.initialise(x, torch.Generator().manual_seed(0), target=y)
    with torch.no_grad():
        crosscoder.W_skip.normal_()
    assert_matches_dense(crosscoder, x, y)
    folded = crosscoder.eval().fold_scales()
    torch.testing.assert_close(folded(x), crosscoder(x))
    for call in (lambda: crosscoder.training_step(x), lambda: crosscoder.decode(crosscoder.encode(x))):
        with pytest.raises(DictionaryError, match=r"give target|activations read"):
            call()


def gradient_free(crosscoder: Crosscoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Dense codes and reconstruction of the inference form."""
    with torch.no_grad():
        codes = crosscoder.eval().encode(x)
        return codes.dense(), crosscoder.decode(codes, x)


def settle(crosscoder: Crosscoder, x: Tensor) -> None:
    """Give the thresholds a value that no score of `x` equals."""
    crosscoder.train().after_step(crosscoder.training_step(x).codes)
    for name, buffer in crosscoder.named_buffers():
        if name == "activation.threshold":
            buffer.mul_(1.01)


CELLS = [(a, g) for a in ACTIVATIONS for g in ("shared", "per_source") if (a, g) != ("groupmax", "per_source")]


@pytest.mark.parametrize(("activation", "gate"), CELLS)
def test_inference_does_not_depend_on_the_batch(activation: str, gate: str) -> None:
    crosscoder, x = random_crosscoder(3, activation=ACTIVATIONS[activation], gate=gate)
    settle(crosscoder, x)
    codes, recon = gradient_free(crosscoder, x)
    order = torch.randperm(len(x))
    parts = [gradient_free(crosscoder, part) for part in x[order].split([1, 7, 22])]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), codes[order])
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), recon[order])


@pytest.mark.parametrize(("activation", "gate"), CELLS)
@pytest.mark.parametrize("subtract_b_dec", [False, True])
def test_folding_keeps_codes_gates_and_reconstructions(
    activation: str, gate: str, subtract_b_dec: bool, tmp_path: Path
) -> None:
    crosscoder, x = random_crosscoder(
        3, activation=ACTIVATIONS[activation], gate=gate, subtract_b_dec=subtract_b_dec, skip=True
    )
    settle(crosscoder, x)
    crosscoder.eval()
    folded = crosscoder.fold_scales()
    assert torch.equal(folded.scale, torch.ones(3)) and not folded.centre.any()
    folded.save(tmp_path)
    for other in (folded, load_dictionary(tmp_path)):
        codes, other_codes = crosscoder.encode(x), other.encode(x)
        torch.testing.assert_close(other_codes.dense(), codes.dense())
        for source in range(3):
            assert torch.equal(other_codes.dense(source) > 0, codes.dense(source) > 0)
        torch.testing.assert_close(other.decode(other_codes, x), crosscoder.decode(codes, x))
        torch.testing.assert_close(other.decoder_norms(), crosscoder.decoder_norms())
    with pytest.raises(DictionaryError, match="folded"):
        folded.training_step(x)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), cell=st.sampled_from([c for c in CELLS if c[0] != "groupmax"]))
def test_gauge_latent_and_source_permutation(seed: int, cell: tuple[str, str]) -> None:
    crosscoder, x = random_crosscoder(3, seed, activation=ACTIVATIONS[cell[0]], gate=cell[1])
    settle(crosscoder, x)
    codes, recon = gradient_free(crosscoder, x)
    with torch.no_grad():
        # f -> c f, W_dec -> W_dec / c: scores and so gates stay, since they weigh the code by the decoder norm.
        factor = torch.rand(48, dtype=torch.float64) + 0.5
        crosscoder.W_enc.mul_(factor[:, None, None])
        crosscoder.b_enc.mul_(factor)
        crosscoder.W_dec.div_(factor[:, None, None])
        scaled_codes, scaled_recon = gradient_free(crosscoder, x)
        torch.testing.assert_close(scaled_codes, codes * factor)
        torch.testing.assert_close(scaled_recon, recon)

        order = torch.randperm(48)
        for parameter in crosscoder.parameters():
            if parameter.shape[0] == 48:
                parameter.copy_(parameter[order])
        permuted_codes, permuted_recon = gradient_free(crosscoder, x)
        torch.testing.assert_close(permuted_codes, scaled_codes[:, order])
        torch.testing.assert_close(permuted_recon, recon)

        sources = torch.tensor([2, 0, 1])
        crosscoder.W_enc.copy_(crosscoder.W_enc[:, sources])
        crosscoder.W_dec.copy_(crosscoder.W_dec[:, sources])
        crosscoder.b_dec.copy_(crosscoder.b_dec[sources])
        crosscoder.set_scales(crosscoder.scale[sources].clone(), crosscoder.centre[sources].clone())
        for name, buffer in crosscoder.named_buffers():
            if name == "activation.threshold" and buffer.numel() == 3:
                buffer.copy_(buffer[sources].clone())
        last_codes, last_recon = gradient_free(crosscoder, x[:, sources])
        torch.testing.assert_close(last_codes, permuted_codes)
        torch.testing.assert_close(last_recon, recon[:, sources])


def test_k_of_the_step_overrides_k_and_only_for_that_step() -> None:
    crosscoder, x = random_crosscoder(1, activation=ACTIVATIONS["batchtopk"])
    assert int(crosscoder.training_step(x, StepContext(k=9)).codes.l0().sum()) == 9 * len(x)
    assert int(crosscoder.training_step(x).codes.l0().sum()) == 5 * len(x)


def test_evaluation_changes_nothing() -> None:
    crosscoder, x = random_crosscoder(2, activation=ACTIVATIONS["batchtopk"])
    settle(crosscoder, x)
    before = {name: tensor.clone() for name, tensor in crosscoder.state_dict().items()}
    crosscoder.eval()
    crosscoder.loss_terms(x)
    gradient_free(crosscoder, x)
    assert all(torch.equal(before[name], tensor) for name, tensor in crosscoder.state_dict().items())


def test_aux_loss_lowers_the_residual_and_not_its_negative() -> None:
    crosscoder, x = random_crosscoder(2, activation=ACTIVATIONS["topk"], aux_k={"coefficient": 1.0})
    dead = torch.arange(48) >= 24
    optimizer = torch.optim.Adam(crosscoder.parameters(), lr=1e-2)
    first = last = 0.0
    for step in range(30):
        optimizer.zero_grad()
        aux = crosscoder.training_step(x, StepContext(dead=dead)).terms["aux_k"]
        aux.backward()
        optimizer.step()
        first, last = (float(aux.detach()), last) if step == 0 else (first, float(aux.detach()))
    assert last < 0.6 * first


@pytest.mark.parametrize("norm", ["sum", "none"])
def test_a_dead_latent_that_writes_nothing_leaves_the_aux_loss_finite(norm: str) -> None:
    crosscoder, x = random_crosscoder(2, activation=ACTIVATIONS["topk"], norm=norm, aux_k={"k": 3})
    with torch.no_grad():
        crosscoder.W_dec[46] = 0
    dead = torch.arange(48) >= 45  # as many as are taken, so that it is one of them on every token
    output = crosscoder.training_step(x, StepContext(dead=dead))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    for name, parameter in crosscoder.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_start_repeats_one_source_and_finds_a_good_norm() -> None:
    crosscoder, x = random_crosscoder(3, activation=ACTIVATIONS["topk"], init={"encoder_factor": 0.5})
    crosscoder.initialise(x, torch.Generator().manual_seed(1))
    assert torch.equal(crosscoder.W_dec[:, 0], crosscoder.W_dec[:, 2])
    torch.testing.assert_close(crosscoder.W_enc, 0.5 * crosscoder.W_dec)

    def error() -> float:
        return float((crosscoder.normalise(crosscoder(x)) - crosscoder.normalise(x)).square().mean())

    with torch.no_grad():
        best = error()
        for factor in (0.7, 1.4):
            crosscoder.W_dec.mul_(factor)
            crosscoder.W_enc.mul_(factor)
            assert error() > best
            crosscoder.W_dec.div_(factor)
            crosscoder.W_enc.div_(factor)


def test_gradient_reaches_the_activations_read() -> None:
    crosscoder, x = random_crosscoder(2, activation=ACTIVATIONS["topk"], aux_k=None)
    x.requires_grad_()
    crosscoder(x).square().sum().backward()
    sparse = x.grad
    codes = crosscoder.encode(x)
    on = codes.dense().detach() > 0
    x.grad = None
    read = crosscoder.normalise(x)
    f = (torch.einsum("bsd,jsd->bj", read, crosscoder.W_enc) + crosscoder.b_enc) * on
    dense = crosscoder.denormalise(torch.einsum("bj,jsd->bsd", f, crosscoder.W_dec) + crosscoder.b_dec)
    dense.square().sum().backward()
    torch.testing.assert_close(sparse, x.grad)


@pytest.mark.parametrize(
    ("config", "sources", "message"),
    [
        ({"n_latents": 8, "activation": {"kind": "groupmax", "k": 3}}, ["a"], "cannot split 8 latents into k = 3"),
        ({"expansion": 2.0, "activation": {"kind": "topk", "k": 21}}, ["a"], "k = 21 is more than the 20 latents"),
        ({"n_latents": 8, "activation": {"kind": "relu"}}, [], "at least one source"),
    ],
)
def test_impossible_configurations_are_refused(config: dict[str, Any], sources: list[str], message: str) -> None:
    with pytest.raises(DictionaryError, match=message):
        Crosscoder(CrosscoderConfig.model_validate(config), sources, d_model=10)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"config\.json is missing"):
        load_dictionary(tmp_path)
    crosscoder, _ = random_crosscoder(2, activation=ACTIVATIONS["topk"])
    crosscoder.save(tmp_path)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DictionaryError, match="damaged"):
        load_dictionary(tmp_path)
