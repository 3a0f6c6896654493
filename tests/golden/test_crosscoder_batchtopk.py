"""BatchTopK crosscoders against dictionary_learning (jkminder's fork), with auxiliary loss and training steps."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from golden.dictionary_learning import build, parameters
from golden.parity import assert_parity, case_files, load_case
from ontogeny.dictionaries.activation_functions.batchtopk import BatchTopK
from ontogeny.dictionaries.crosscoder import Crosscoder, StepContext
from ontogeny.dictionaries.start import compute_geometric_median
from paths import requires_shared

pytestmark = requires_shared
FILES = case_files("crosscoder_batchtopk")


def batchtopk(settings: dict[str, Any], tensors: dict[str, Tensor]) -> Crosscoder:
    return build(
        settings,
        tensors,
        activation={
            "kind": "batchtopk",
            "k": settings["k"],
            "budget": "separate",
            "threshold_decay": settings["threshold_beta"],
            "threshold_warmup": False,
            "threshold_start": settings["threshold_start_step"] + 1,
        },
        aux_k={"k": settings["top_k_aux"], "coefficient": settings["auxk_alpha"]},
    )


def dense(crosscoder: Crosscoder, codes: Any) -> Tensor:
    if crosscoder.config.gate == "shared":
        return codes.dense()
    return torch.stack([codes.dense(source) for source in range(crosscoder.n_sources)], 1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_training_form_matches_the_original(path: Path) -> None:
    settings, tensors = load_case(path)
    crosscoder = batchtopk(settings, tensors)
    x = tensors["input.x"]
    dead = tensors["input.num_tokens_since_fired"] + len(x) >= settings["dead_feature_threshold"]
    first = crosscoder.training_step(x)
    dead &= ~(first.codes.counts() > 0)
    assert_parity(dead, tensors["out.dead_mask_used_by_aux"], "dead")
    output = crosscoder.training_step(x, StepContext(dead=dead))
    output.loss.backward()

    assert_parity(dense(crosscoder, output.codes), tensors["out.train.f"], "f")
    assert_parity(output.codes.counts() > 0, tensors["out.train.active"], "active")
    assert_parity(crosscoder.normalise_target(output.recon), tensors["out.train.x_hat_normalised"], "x_hat")
    assert_parity(output.terms["recon"], tensors["loss.l2_loss"], "l2_loss")
    if "aux_k" in output.terms:
        assert_parity(output.terms["aux_k"], settings["auxk_alpha"] * tensors["loss.auxk_loss"], "auxk_loss")
    else:
        assert float(tensors["loss.auxk_loss"]) == 0
    assert_parity(output.loss, tensors["loss.total"], "total")
    for name, gradient in parameters(crosscoder, gradients=True).items():
        assert_parity(gradient, tensors[f"grad.{name}"], f"grad.{name}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_inference_form_and_threshold_match_the_original(path: Path) -> None:
    settings, tensors = load_case(path)
    crosscoder = batchtopk(settings, tensors)
    activation = cast(BatchTopK, crosscoder.activation)
    x = tensors["input.x"]
    output = crosscoder.training_step(x)
    crosscoder.eval()
    assert_parity(dense(crosscoder, crosscoder.encode(x)), tensors["out.eval_untrained.f"], "f before a threshold")
    activation.threshold.copy_(tensors["input.eval_threshold"].reshape(-1))
    codes = crosscoder.encode(x)
    assert_parity(dense(crosscoder, codes), tensors["out.eval.f"], "f")
    assert_parity(crosscoder.decode(codes), tensors["out.eval.x_hat"], "x_hat")

    crosscoder.train()
    for start, name in ((torch.tensor(-1.0), "minus1"), (tensors["input.eval_threshold"], "eval")):
        activation.threshold.copy_(start.reshape(-1).expand_as(activation.threshold))
        activation.n_steps.fill_(100)
        crosscoder.after_step(output.codes)
        reference = tensors[f"out.threshold_after_update_from_{name}"]
        assert_parity(activation.threshold.view_as(reference), reference, f"threshold from {name}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_geometric_median_matches_the_original(path: Path) -> None:
    settings, tensors = load_case(path)
    x = batchtopk(settings, tensors).normalise(tensors["input.x"])
    assert_parity(compute_geometric_median(x), tensors["out.geometric_median"], "geometric median")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_training_steps_match_the_original(path: Path) -> None:
    settings, tensors = load_case(path)
    if "after5.encoder.bias" not in tensors:
        return
    crosscoder = batchtopk(settings, tensors)
    x = tensors["input.x"]
    with torch.no_grad():
        crosscoder.b_dec.copy_(compute_geometric_median(crosscoder.normalise(x)))
    optimizer = torch.optim.Adam(crosscoder.parameters(), lr=settings["lr"])
    silent = tensors["input.num_tokens_since_fired"].clone()
    losses = []
    for step in range(5):
        optimizer.param_groups[0]["lr"] = settings["lr"] * min(step / settings["warmup_steps"], 1)
        optimizer.zero_grad()
        fired = crosscoder.training_step(x).codes.counts() > 0
        silent = torch.where(fired, 0, silent + len(x))
        output = crosscoder.training_step(x, StepContext(dead=silent >= settings["dead_feature_threshold"]))
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(crosscoder.parameters(), settings["grad_clip_norm"])
        optimizer.step()
        crosscoder.after_step(output.codes)
        losses.append(output.loss.detach())
    assert_parity(torch.stack(losses), tensors["out.train5.losses"], "losses")
    for name, parameter in parameters(crosscoder).items():
        assert_parity(parameter, tensors[f"after5.{name}"], f"after5.{name}")
    threshold = cast(BatchTopK, crosscoder.activation).threshold
    assert_parity(threshold.view_as(tensors["after5.threshold"]), tensors["after5.threshold"], "threshold")
