import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latents.batches import latent_batch
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import AnalysisError
from ontogeny.latents.betas import Scaling, iter_scaling
from ontogeny.latents.pair import Pair, check_scales
from ontogeny.latents.scaling import Probes, ScalingAccumulator, block_of, find_peaks, latent_blocks
from ontogeny.types import HookPoint, Snapshot, Source

N_LATENTS, N_SOURCES, D_MODEL = 12, 3, 5


def make_dictionary(gate: str = "shared", seed: int = 0) -> Crosscoder:
    """A dictionary in float64 with unequal norms, a bias, and one latent that never fires."""
    config = CrosscoderConfig.model_validate(
        {"n_latents": N_LATENTS, "activation": {"kind": "topk", "k": 4}, "gate": gate, "aux_k": None}
    )
    torch.manual_seed(seed)
    dictionary = Crosscoder(config, ["a", "b", "c"], d_model=D_MODEL).double().eval()
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.copy_(torch.randn_like(parameter))
        dictionary.W_dec.mul_(torch.rand(N_LATENTS, N_SOURCES, 1, dtype=torch.float64) + 0.2)
        dictionary.b_enc[0] = -100
    return dictionary


def make_x(n_tokens: int = 60, seed: int = 1) -> Tensor:
    return torch.randn(n_tokens, N_SOURCES, D_MODEL, generator=torch.Generator().manual_seed(seed)).double()


def scale(dictionary: Crosscoder, x: Tensor, probes: Probes | None = None, latents: range | None = None) -> Scaling:
    accumulator = ScalingAccumulator(dictionary, probes or Probes.at_peak(dictionary), latents)
    accumulator.update(latent_batch(dictionary, x))
    (scaling,) = iter_scaling(accumulator.compute())
    return scaling


@pytest.mark.parametrize("gate", ["shared", "per_source"])
def test_betas_minimise_the_squared_error_by_brute_force(gate: str) -> None:
    dictionary, x = make_dictionary(gate), make_x()
    batch = latent_batch(dictionary, x)
    scaling = scale(dictionary, x)
    assert batch.x is not None
    f, recon = batch.codes.dense(), batch.recon.detach()
    W_dec, b_dec = dictionary.W_dec.detach(), dictionary.b_dec.detach()
    for latent in range(1, N_LATENTS):
        d = W_dec[latent, scaling.probe[latent]]
        for source in range(N_SOURCES):
            own = batch.codes.dense(source)[:, latent, None] * W_dec[latent, source]
            targets = {
                "activation": batch.x[:, source],
                "activation_no_bias": batch.x[:, source] - b_dec[source],
                "reconstruction": recon[:, source],
                "error": batch.x[:, source] - (recon[:, source] - own),
            }
            for name, y in targets.items():
                design = (f[:, latent, None] * d).reshape(-1, 1)
                best = torch.linalg.lstsq(design, y.reshape(-1, 1)).solution.item()
                ours = getattr(scaling, f"beta_{name}").value[latent, source]
                assert ours == pytest.approx(best, abs=1e-9), (name, latent, source)
            design = (f[:, latent, None] * W_dec[latent, source]).reshape(-1, 1)
            best = torch.linalg.lstsq(design, targets["error"].reshape(-1, 1)).solution.item()
            assert scaling.beta_own.value[latent, source] == pytest.approx(best, abs=1e-9)
        strength = scaling.beta_own.value[latent] * W_dec[latent].norm(dim=1).numpy()
        np.testing.assert_allclose(scaling.nu_own.value[latent], strength / strength[scaling.probe[latent]], rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_identity_of_the_betas(seed: int) -> None:
    dictionary = make_dictionary(seed=seed)
    scaling = scale(dictionary, make_x(seed=seed))
    W_dec = dictionary.W_dec.detach().numpy()
    d = W_dec[np.arange(N_LATENTS), scaling.probe]
    overlap = np.einsum("ld,lsd->ls", d, W_dec) / np.square(d).sum(1)[:, None]
    expected = scaling.beta_activation.value - scaling.beta_reconstruction.value + overlap
    np.testing.assert_allclose(scaling.beta_error.value, expected, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.1, 10), latent=st.integers(1, N_LATENTS - 1))
def test_rescaling_a_latent_changes_no_beta(factor: float, latent: int) -> None:
    """f -> c f with W_dec -> W_dec / c leaves every contribution, so every beta, as it was."""
    config = CrosscoderConfig.model_validate(
        {
            "n_latents": N_LATENTS,
            "activation": {"kind": "relu"},
            "sparsity": {"kind": "l1", "coefficient": 1.0},
            "aux_k": None,
        }
    )
    dictionary = Crosscoder(config, ["a", "b", "c"], d_model=D_MODEL).double()
    dictionary.load_state_dict(make_dictionary().state_dict(), strict=False)
    probes = Probes.at_peak(dictionary)
    before = scale(dictionary, make_x(), probes)
    with torch.no_grad():
        dictionary.W_enc[latent] *= factor
        dictionary.b_enc[latent] *= factor
        dictionary.W_dec[latent] /= factor
    after = scale(dictionary, make_x(), Probes.at_peak(dictionary))
    for name in ("beta_error", "beta_reconstruction", "beta_activation", "nu_error"):
        np.testing.assert_allclose(getattr(after, name).value, getattr(before, name).value, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(getattr(after, name).se, getattr(before, name).se, rtol=1e-6, atol=1e-12)


def test_a_dead_latent_has_no_betas_and_spoils_no_other() -> None:
    scaling = scale(make_dictionary(), make_x())
    assert scaling.n_active[0] == 0
    assert scaling.n_clusters[0] == 0
    for name in ("beta_error", "nu_error", "beta_activation", "nu_reconstruction"):
        ratio = getattr(scaling, name)
        assert np.isnan(ratio.value[0]).all() and np.isnan(ratio.se[0]).all()
        assert np.isfinite(ratio.value[1:]).all()
    assert np.isnan(scaling.t_error[0]).all()


def test_a_decoder_without_length_in_one_source_has_no_strength_of_its_own_there() -> None:
    dictionary = make_dictionary()
    with torch.no_grad():
        dictionary.W_dec[3, 1] = 0
    scaling = scale(dictionary, make_x())
    assert np.isnan(scaling.beta_own.value[3, 1])
    assert scaling.nu_own.value[3, 1] == 0
    assert scaling.t_own[3, 1] < 0
    assert np.isfinite(scaling.nu_error.value[3]).all()


def test_a_decoder_of_norm_zero_has_no_betas() -> None:
    dictionary = make_dictionary()
    with torch.no_grad():
        dictionary.W_dec[3] = 0
    scaling = scale(dictionary, make_x())
    assert np.isnan(scaling.beta_error.value[3]).all()
    assert np.isfinite(scaling.beta_error.value[4]).all()


@pytest.mark.parametrize("gate", ["shared", "per_source"])
def test_parts_merge_to_the_whole(gate: str) -> None:
    dictionary, x = make_dictionary(gate), make_x(90)
    probes = Probes.at_peak(dictionary)
    whole, first, second = (ScalingAccumulator(dictionary, probes) for _ in range(3))
    whole.update(latent_batch(dictionary, x))
    first.update(latent_batch(dictionary, x[:40]))
    second.update(latent_batch(dictionary, x[40:70], 40))
    resumed = ScalingAccumulator(dictionary, probes)
    resumed.load_state(second.state())
    resumed.update(latent_batch(dictionary, x[70:], 70))
    first.merge(resumed)
    for name, tensor in whole.state().items():
        torch.testing.assert_close(first.state()[name], tensor, rtol=1e-12, atol=1e-12)


def test_blocks_of_latents_hold_what_the_whole_holds() -> None:
    dictionary, x = make_dictionary("per_source"), make_x()
    probes = Probes.at_peak(dictionary) + Probes.random(dictionary, Probes.at_peak(dictionary), seed=3)
    whole = ScalingAccumulator(dictionary, probes)
    whole.update(latent_batch(dictionary, x))
    for latents in latent_blocks(N_LATENTS, N_SOURCES, 2, budget=30_000):
        assert len(latents) < N_LATENTS
        part = ScalingAccumulator(dictionary, probes, latents)
        part.update(latent_batch(dictionary, x))
        for probe in (0, 1):
            (ours,), (all_of_them,) = iter_scaling(part.compute(), probe, 0), iter_scaling(whole.compute(), probe, 0)
            for name in ("beta_error", "nu_error", "beta_reconstruction"):
                expected = getattr(all_of_them, name).value[latents.start : latents.stop]
                np.testing.assert_allclose(getattr(ours, name).value, expected, rtol=1e-12)


@pytest.mark.parametrize("gate", ["shared", "per_source"])
def test_two_targets_hold_what_all_sources_hold_of_them(gate: str) -> None:
    dictionary, x = make_dictionary(gate), make_x()
    source = Source(Snapshot("model"), HookPoint("resid_post", 1))
    pair = Pair(N_SOURCES - 1, 0, source, source)
    probes = pair.probes(dictionary)
    budget = N_LATENTS * 8 * 5 * (4 * 2 + 2)
    whole = ScalingAccumulator(dictionary, probes, n_blocks=5)
    part = pair.scaling(dictionary, probes, budget)
    for each in (whole, part):
        each.update(latent_batch(dictionary, x))
    assert sum(each.nbytes for name, each in part.state().items() if name != "n_active") <= budget
    (ours,), (all_of_them,) = iter_scaling(part.compute()), iter_scaling(whole.compute())
    places = [pair.base, pair.chat]
    np.testing.assert_array_equal(np.array(places)[ours.probe], all_of_them.probe)
    for name in ("beta_activation_no_bias", "beta_error", "beta_own", "nu_error", "nu_own", "nu_reconstruction"):
        expected = getattr(all_of_them, name)
        np.testing.assert_allclose(getattr(ours, name).value, expected.value[:, places], rtol=1e-12)
        np.testing.assert_allclose(getattr(ours, name).se, expected.se[:, places], rtol=1e-9)


def test_folded_scales_are_refused_where_they_differ() -> None:
    dictionary = make_dictionary().float()
    check_scales(dictionary)
    check_scales(dictionary.fold_scales())
    dictionary.set_scales(torch.tensor([1.0, 0.5, 2.0]))
    check_scales(dictionary)
    with pytest.raises(AnalysisError, match="before folding"):
        check_scales(dictionary.fold_scales())


def test_a_million_latents_of_32_sources_fit_by_blocks() -> None:
    blocks = latent_blocks(10**6, 32, 1, budget=2 * 10**9)
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert blocks[-1].stop == 10**6
    largest = max(map(len, blocks))
    dictionary = make_dictionary("per_source")
    taken = sum(
        each.numel() * each.element_size()
        for name, each in ScalingAccumulator(dictionary, Probes.at_peak(dictionary)).state().items()
        if name != "n_active"
    )
    # A gate per source is the larger case; the formula scales exactly.
    assert taken == N_LATENTS * 8 * 32 * (4 * N_SOURCES + 2)
    assert largest * 8 * 32 * (4 * 32 + 2) <= 2 * 10**9


def test_peak_is_the_largest_norm_and_controls_have_its_norm() -> None:
    dictionary = make_dictionary()
    norms = dictionary.decoder_norms().detach().numpy()
    assert np.array_equal(find_peaks(dictionary), norms.argmax(1))
    peak = Probes.at_peak(dictionary)
    control = Probes.random(dictionary, peak, seed=0)
    torch.testing.assert_close(control.directions.norm(dim=-1), peak.directions.norm(dim=-1))
    assert (control.sources == -1).all()
    assert torch.equal(control.directions, Probes.random(dictionary, peak, seed=0).directions)


def test_blocks_keep_documents_whole_and_do_not_follow_turns() -> None:
    document = np.repeat(np.arange(3200), 5)
    blocks = block_of(document, np.zeros_like(document), 32)
    assert all(len(set(blocks[start : start + 5])) == 1 for start in range(0, len(blocks), 5))
    even = np.unique(blocks[document % 2 == 0])
    assert len(even) == 32, "texts that take turns share all blocks"
    assert np.array_equal(block_of(np.full(4, -1), np.arange(4)), block_of(np.arange(4), np.zeros(4, np.int64)))
