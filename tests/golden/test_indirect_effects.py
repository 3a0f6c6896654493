"""Indirect effects of crosscoding-through-time: as run (one gradient, by a slip of batching) and as meant (IG-10).

`out.*` came out of the public code, which asks for ten steps but reads the first one's metric ten times: this is
attribution patching. `reference.*` is the formula that it stands for. Both end at zero codes and a zero error.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.parity import assert_parity, load_case
from ontogeny.analyses.indirect_effects.legacy import legacy_blocks, slot_weights
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.effect_batches import PromptActivations, build_effect_batches, moving_positions
from ontogeny.interventions.effects import EffectPlan, IndirectEffects
from ontogeny.interventions.prompts import Prompts, measure_prompts, read_prompts
from ontogeny.latents.relie import compute_legacy_shares
from ontogeny.snapshots.config import SeriesConfig
from ontogeny.snapshots.series import open_series
from ontogeny.types import HookPoint
from paths import GOLDEN, requires_shared

pytestmark = requires_shared
FOLDER = GOLDEN / "crosscoding_through_time"


def build(tensors: dict[str, torch.Tensor]) -> Crosscoder:
    n_latents, n_sources, d_model = tensors["unfolded.W_dec"].shape
    config = CrosscoderConfig.model_validate({"n_latents": n_latents, "activation": {"kind": "relu"}, "aux_k": None})
    made = Crosscoder(config, [f"legacy_ie_model{index}" for index in range(n_sources)], d_model=d_model)
    with torch.no_grad():
        made.W_enc.copy_(tensors["unfolded.W_enc"].permute(2, 0, 1))
        for name in ("W_dec", "b_enc", "b_dec"):
            made.get_parameter(name).copy_(tensors[f"unfolded.{name}"])
    made.set_scales(tensors["input.scaling_factors"])
    return made.eval()


def attribute(
    settings: dict[str, Any], tensors: dict[str, torch.Tensor], steps: int, threshold: float = 0.0
) -> IndirectEffects:
    """Effects on the published prompts; both snapshots also give the published metric."""
    series = open_series(SeriesConfig(folders=str(FOLDER / "legacy_ie_model*")))
    place = HookPoint("resid_post", settings["layer_index"])
    occupied = tensors["input.attention_mask"].bool()
    last = torch.full((len(occupied),), occupied.shape[1] - 1)
    prompts = Prompts(tensors["input.input_ids"], occupied, last, tensors["input.right"], tensors["input.wrong"])
    for source in range(2):
        assert_parity(measure_prompts(series.open(source), prompts), tensors["out.metric_clean"][source], "metric")
    hidden = torch.stack([read_prompts(series.open(k), prompts, place) for k in range(2)], dim=2)
    activations = PromptActivations(hidden, (0, 1), (0, 1))
    dictionary = build(tensors)
    batches, _ = build_effect_batches(
        dictionary, prompts, activations, moving_positions(prompts, 0), baseline="zero", batch=3
    )
    plan = EffectPlan(
        dictionary, [place] * 2, batches, None, baseline="zero", rule="left", steps=steps, threshold=threshold
    )
    return plan.gather([plan.compute_source(series.open(k), k) for k in range(2)])


@pytest.mark.parametrize(("steps", "suffix"), [(1, "out.effects"), (10, "reference.effects")])
def test_effects_as_run_and_as_meant(steps: int, suffix: str) -> None:
    settings, tensors = load_case(Path(FOLDER / "legacy_ie.safetensors"))
    effects = attribute(settings, tensors, steps)
    found = np.zeros((2, effects.n_prompts, effects.n_latents))
    found[:, effects.prompt, effects.latent] = effects.values.T
    meant = "_ig10_left" if steps == 10 else ""
    summed = {name: tensors[f"{suffix}{part}{meant}"].double() for name, part in (("latent", ""), ("error", "_error"))}
    assert_parity(torch.from_numpy(found), summed["latent"].sum(2), "effects")
    assert_parity(torch.from_numpy(effects.error.T.copy()), summed["error"].sum(2), "error")


@pytest.mark.parametrize("suffix", ["", "_threshold"], ids=["all", "threshold"])
def test_the_mode_as_run_gives_the_published_means_and_shares(suffix: str) -> None:
    settings, tensors = load_case(Path(FOLDER / "legacy_ie.safetensors"))
    effects = attribute(settings, tensors, 1, settings["threshold"] if suffix else 0.0)
    lengths = tensors["input.attention_mask"].sum(1).numpy()
    weights = slot_weights(lengths, settings["batch_size_of_get_nodes"])
    nodes, pairs = legacy_blocks(effects, weights, [0, 1], ["A", "B"], [0, 1], {})
    saved = tensors[f"out.nodes_saved{suffix}"].numpy() / settings["n_columns_of_dataset"]
    shares = np.full((2, effects.n_latents), 0.5)
    for source, block in enumerate(nodes):
        whole = np.zeros(effects.n_latents)
        whole[block["latent"]] = block["effect"]
        shares[source, block["latent"]] = block["share"]
        assert_parity(torch.from_numpy(whole), torch.from_numpy(saved[source]), "nodes")
    expected = compute_legacy_shares(saved)
    firm = np.abs(saved).sum(axis=0) > 1e-3 * np.abs(saved).max()
    assert np.allclose(shares[:, firm], expected[:, firm], atol=1e-5)
    assert np.allclose(pairs[0]["share"], nodes[1]["share"], equal_nan=True)
