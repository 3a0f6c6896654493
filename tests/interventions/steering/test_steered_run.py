"""The control: as long as the change at every token, in a direction of its own."""

from pathlib import Path

import pytest
import torch

from interventions.steering.tiny_steerer import POINT, ask, make_steerer, save_series
from ontogeny.interventions.edits import PartsMaker
from ontogeny.interventions.steering.steered_run import SteeredRun, draw_directions
from ontogeny.types import HookPoint


@pytest.mark.parametrize("half", [False, True])
def test_the_control_is_as_long_as_the_change(tmp_path: Path, half: bool) -> None:
    series = save_series(tmp_path)
    steerer, place = make_steerer(series), HookPoint.parse(POINT)
    models = {label: series.open(index) for index, label in enumerate(series.labels)}
    change = {"kind": "lower_half", "snapshot": "step0", "layer": 2} if half else {"kind": "remove", "latents": [0, 3]}
    plan = steerer.make_plan(ask("step8", change, {"kind": "scale", "factor": 2}))
    tokens = torch.randint(1, 50, (3, 7))
    with torch.no_grad():
        clean = {label: model.read(tokens, [place])[place] for label, model in models.items()}
        x = torch.stack([clean[label].flatten(0, 1) for label in series.labels], dim=1)
        codes = steerer.dictionary.encode(x)
    own = {index: x[:, index] for index in range(2)}
    masks = {"both": torch.ones(21, dtype=torch.bool)}
    parts = PartsMaker(steerer.dictionary, [0, 1]).split(codes, own, masks)
    random = draw_directions(plan, 3, x.shape[-1], seed=0)
    # What enters block 2 is read after every change up to there.
    entering, moved = HookPoint("resid_pre", 2), []
    for directions in (None, random):
        run = SteeredRun(plan, models, directions)
        run.upper.read = [entering]
        moved.append(run.extend(tokens, parts).activations[entering] - clean["step8"])
    steered, control = moved
    assert steered.norm(dim=-1).min() > 0.01
    torch.testing.assert_close(control.norm(dim=-1), steered.norm(dim=-1), atol=1e-4, rtol=1e-4)
    where = plan.cut if plan.cut is not None else place
    expected = random[where][:, None] * steered.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(control, expected, atol=1e-3, rtol=1e-3)
    assert (random[where][0] - random[where][1]).norm() > 0.1
