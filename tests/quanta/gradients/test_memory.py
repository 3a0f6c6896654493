"""Growth of memory stays in the budget, where gradients and residuals take more than that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
CHILD = """
import numpy as np
import torch
torch.set_num_threads(1)
from benchmarks.memory import ResidentPeak
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gram import compute_gram
from ontogeny.snapshots.hooks import HookedModel
from snapshots.tiny_models import VOCABULARY, build_model

sizes = {"hidden_size": 64, "intermediate_size": 256, "num_key_value_heads": 4}
model = HookedModel(build_model("gpt_neox", **sizes))
rng = np.random.default_rng(0)
documents = Documents.of([rng.integers(3, VOCABULARY, 48) for _ in range(60)])
chosen = rng.choice(documents.n_predicted, 2000, replace=False)
compute_gram(model, documents, chosen[:64], GramConfig(memory=1.0))
with ResidentPeak() as peak:
    compute_gram(model, documents, chosen, GramConfig(memory=1.0))
parameters = sum(each.numel() for each in model.module.parameters())
print(peak.growth, parameters * 2000 * 4 / 2**20)
"""


@pytest.mark.slow
def test_two_thousand_tokens_in_one_gigabyte() -> None:
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY / "tests"), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True)
    growth, gradients = (float(each) for each in done.stdout.split())
    budget = 1e9 / 2**20
    assert gradients > budget, "all gradients fit, so nothing was tested"
    assert growth < budget
