"""Indirect effects of crosscoding-through-time: as run (one gradient, by a slip of batching) and as meant (IG-10).

`out.*` came out of the public code, which asks for ten steps but reads the first one's metric ten times: this is
attribution patching. `reference.*` is the formula that it stands for. Both end at zero codes and a zero error.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from golden.parity import TOLERANCE, assert_parity, load_case
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.effect_batches import PromptActivations, build_effect_batches, moving_positions
from ontogeny.interventions.effects import EffectPlan
from ontogeny.interventions.prompts import Prompts, measure_prompts, read_prompts
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


@pytest.mark.parametrize(("steps", "suffix"), [(1, "out.effects"), (10, "reference.effects")])
def test_effects_as_run_and_as_meant(steps: int, suffix: str) -> None:
    settings, tensors = load_case(Path(FOLDER / "legacy_ie.safetensors"))
    series = open_series(SeriesConfig(folders=str(FOLDER / "legacy_ie_model*")))
    place = HookPoint("resid_post", settings["layer_index"])
    occupied = tensors["input.attention_mask"].bool()
    last = torch.full((len(occupied),), occupied.shape[1] - 1)
    prompts = Prompts(tensors["input.input_ids"], occupied, last, tensors["input.right"], tensors["input.wrong"])
    hidden = torch.stack([read_prompts(series.open(k), prompts, place) for k in range(2)], dim=2)
    activations = PromptActivations(hidden, (0, 1), (0, 1))
    dictionary = build(tensors)
    batches, _ = build_effect_batches(
        dictionary, prompts, activations, moving_positions(prompts, 0), baseline="zero", batch=4
    )
    plan = EffectPlan(dictionary, [place] * 2, batches, None, baseline="zero", rule="left", steps=steps)
    effects = plan.gather([plan.compute_source(series.open(k), k) for k in range(2)])
    found = np.zeros((2, len(occupied), dictionary.n_latents))
    found[:, effects.prompt, effects.latent] = effects.values.T
    meant = "_ig10_left" if steps == 10 else ""
    summed = {name: tensors[f"{suffix}{part}{meant}"].double() for name, part in (("latent", ""), ("error", "_error"))}
    assert_parity(torch.from_numpy(found), summed["latent"].sum(2), "effects", 2 * TOLERANCE)
    assert_parity(torch.from_numpy(effects.error.T.copy()), summed["error"].sum(2), "error", 2 * TOLERANCE)
    for source in range(2):
        assert_parity(measure_prompts(series.open(source), prompts), tensors["out.metric_clean"][source], "metric")
