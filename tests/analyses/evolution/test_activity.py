"""What rides along: counts that merge and resume, and strengths from latent scaling."""

from pathlib import Path

import numpy as np
import torch

from analyses.evolution.inputs import opened
from latents.batches import latent_batch
from latents.small import N_LATENTS, dictionary, store
from ontogeny.analyses.evolution import EVOLUTION, EvolutionConfig
from ontogeny.analyses.evolution.activity import Activity, ActivityAccumulator, compute_strength, make_rider
from ontogeny.latents.passes import run_pass


def test_counts_merge_and_resume() -> None:
    made = dictionary()
    x = torch.randn(40, 3, 6)
    whole, first, second = (ActivityAccumulator(N_LATENTS) for _ in range(3))
    whole.update(latent_batch(made, x))
    first.update(latent_batch(made, x[:25]))
    second.load_state(first.state())
    second.update(latent_batch(made, x[25:], first=25))
    np.testing.assert_array_equal(second.compute().n_active, whole.compute().n_active)
    third = ActivityAccumulator(N_LATENTS)
    third.update(latent_batch(made, x[25:], first=25))
    first.merge(third)
    np.testing.assert_array_equal(first.compute().n_active, whole.compute().n_active)
    with torch.no_grad():
        active = torch.zeros(N_LATENTS, dtype=torch.int64)
        active += torch.bincount(made.encode(x).sparse().indices, minlength=N_LATENTS)
    np.testing.assert_array_equal(whole.compute().n_active, active.numpy())


def test_by_norm_the_strength_is_the_norm() -> None:
    made = dictionary()
    strength, n_active = compute_strength(made, Activity(np.arange(N_LATENTS)))
    np.testing.assert_allclose(strength, made.decoder_norms().detach().numpy(), rtol=1e-6)
    assert n_active.tolist() == list(range(N_LATENTS))


def test_by_scaling_the_strength_is_what_the_activations_hold_along_each_decoder() -> None:
    made, config = dictionary(), EvolutionConfig(strength="scaling", min_active=1)
    x = torch.randn(200, 3, 6)
    rider = make_rider(made, config)
    batch = latent_batch(made, x)
    rider.update(batch)
    strength, n_active = compute_strength(made, rider.compute())
    assert batch.x is not None
    f = batch.codes.dense().double()
    W_dec = made.W_dec.detach().double()
    norms = W_dec.norm(dim=-1)
    for latent in np.flatnonzero(n_active)[:8]:
        d = W_dec[latent]
        error = (batch.x - batch.recon).double() + f[:, latent, None, None] * d
        beta = torch.einsum("t,tsd,sd->s", f[:, latent], error, d) / (f[:, latent].square().sum() * d.square().sum(1))
        expected = (beta.clamp_min(0) * norms[latent]).nan_to_num(0.0)
        np.testing.assert_allclose(strength[latent], expected.numpy(), rtol=1e-4, atol=1e-6)
    assert n_active[0] == 0 and np.isnan(strength[0]).all()


def test_scaling_rides_on_the_pass(tmp_path: Path) -> None:
    made, held_out = dictionary(), store(tmp_path / "store")
    config = EvolutionConfig(strength="scaling", min_active=1)
    given = opened(tmp_path, made, held_out.sources)
    assert EVOLUTION.ride is not None
    rider = EVOLUTION.ride(given, config)
    run_pass(made, held_out, {"evolution": rider}, batch_size=33)
    result = EVOLUTION.run(opened(tmp_path, made, held_out.sources, accumulated=rider.compute()), config)
    rows = result.table("latents").rows()
    assert rows[0]["class"] == "never" and len(rows) == N_LATENTS
    assert result.summary["strength"] == "scaling"
