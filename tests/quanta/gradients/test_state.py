"""A computation that was killed goes on behind what was done, and gives the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.gradients import stream
from ontogeny.quanta.gram import compute_gram
from ontogeny.quanta.similarity import GradientGram
from ontogeny.workspace import read_json
from quanta.gradient_oracles import DOCUMENTS, TOKENS, tiny_model

REPOSITORY = Path(__file__).resolve().parents[3]
SETTINGS = {
    "plain": {"groups": ["attention.weight", "mlp.weight", "final_norm", "embeddings"], "by_layer": True},
    "summed": {},
    "sketch": {"sketch": 64},
    "whitened": {"whitening": "kronecker"},
}
STAGES = {"plain": 4, "summed": 3, "sketch": 6, "whitened": 6}
"""Blocks of the model and its embeddings; of two streams where whitening or a check has its own."""
CHILD = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from ontogeny.quanta.gradients.state import StreamState
from quanta.gradients import test_state
keep, left = StreamState.save, [int(sys.argv[2])]
def save(self, *args):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    keep(self, *args)
    left[0] -= 1
StreamState.save = save
test_state.compute(sys.argv[1], Path(sys.argv[3]))
"""


def compute(setting: str, scratch: Path | None) -> GradientGram:
    """One block a stage."""
    before, stream.REPEATED_FLOP = stream.REPEATED_FLOP, 0.0
    config = GramConfig.model_validate({**SETTINGS[setting], "batch_tokens": 20})
    # Tied embeddings, so that the vectors of the unembedding have to be kept until the end.
    result = compute_gram(tiny_model("gpt2"), DOCUMENTS, TOKENS, config, scratch)
    stream.REPEATED_FLOP = before
    return result


def killed_after(setting: str, stages: int, scratch: Path) -> None:
    """SIGKILL when so many stages were kept and the next was computed."""
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, setting, str(stages), str(scratch)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(("setting", "after"), [("plain", 1), ("plain", 3), ("sketch", 4), ("whitened", 4)])
def test_a_killed_computation_goes_on(
    setting: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compute(setting, tmp_path / "whole")
    killed_after(setting, after, tmp_path / "killed")
    kept = [read_json(path)["done"] for path in (tmp_path / "killed").glob("*/state.json")]
    assert sum(kept) == after
    ran = []
    run = stream.GradientStream._run_stage
    monkeypatch.setattr(stream.GradientStream, "_run_stage", lambda self, n: (ran.append(n), run(self, n))[1])
    found = compute(setting, tmp_path / "killed")
    embedded = setting == "plain"
    assert len(ran) == STAGES[setting] - embedded - min(after, STAGES[setting] - embedded)
    assert set(found.products) == set(expected.products)
    for key, products in expected.products.items():
        np.testing.assert_array_equal(found.products[key], products, err_msg=str(key))
    # What is whole is read again; of the streams nothing is left.
    ran.clear()
    again = compute(setting, tmp_path / "killed")
    assert not ran and not list((tmp_path / "killed").glob("*/stream.*"))
    np.testing.assert_array_equal(again.total(), expected.total())
    np.testing.assert_allclose(compute(setting, None).similarity(), expected.similarity(), atol=1e-12)


def test_other_questions_do_not_take_what_was_kept(tmp_path: Path) -> None:
    first = compute("summed", tmp_path)
    other = compute_gram(tiny_model("gpt2"), DOCUMENTS, TOKENS[:4], GramConfig(), tmp_path)
    np.testing.assert_allclose(other.total(), first.total()[:4, :4], rtol=1e-9)
    changed = tiny_model("gpt2")
    changed.module.transformer.ln_f.weight.data *= 2  # type: ignore[union-attr]
    assert not np.allclose(compute_gram(changed, DOCUMENTS, TOKENS, GramConfig(), tmp_path).total(), first.total())
    assert len(list(tmp_path.glob("pairs.*"))) == 3


def test_stages_of_another_plan_begin_anew(tmp_path: Path) -> None:
    killed_after("summed", 2, tmp_path)
    # All blocks are one stage here.
    found = compute_gram(tiny_model("gpt2"), DOCUMENTS, TOKENS, GramConfig(batch_tokens=20), tmp_path)
    np.testing.assert_allclose(found.total(), compute("summed", None).total(), rtol=1e-9)
