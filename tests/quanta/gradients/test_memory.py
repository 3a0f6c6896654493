"""Growth of memory stays in the budget, where gradients and residuals take more than that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paths import BOOKS, BOOKS_TEXT, requires_shared

REPOSITORY = Path(__file__).resolve().parents[3]
RANDOM = """
from snapshots.tiny_models import VOCABULARY, build_model

sizes = {"hidden_size": 64, "intermediate_size": 256, "num_key_value_heads": 4}
model = HookedModel(build_model("gpt_neox", **sizes))
documents = Documents.of([rng.integers(3, VOCABULARY, 48) for _ in range(60)])
"""
REAL = f"""
from pathlib import Path
from transformers import AutoTokenizer
from ontogeny.snapshots.load import load_model

folder = {str(BOOKS / "step4024")!r}
model = HookedModel(load_model(folder).float())
ids = np.array(AutoTokenizer.from_pretrained(folder)(Path({str(BOOKS_TEXT)!r}).read_text())["input_ids"])
documents = Documents.of([ids[start : start + 128] for start in range(0, len(ids) - 1, 128)])
"""
CHILD = """
import numpy as np
import torch
torch.set_num_threads(1)
from benchmarks.memory import ResidentPeak
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gram import compute_gram
from ontogeny.snapshots.hooks import HookedModel
rng = np.random.default_rng(0)
{case}
chosen = rng.choice(documents.n_predicted, 2000, replace=False)
compute_gram(model, documents, chosen[:64], GramConfig(memory=1.0))
with ResidentPeak() as peak:
    compute_gram(model, documents, chosen, GramConfig(memory=1.0))
parameters = sum(each.numel() for each in model.module.parameters())
print(peak.growth, parameters * 2000 * 4 / 2**20)
"""


def check_growth(case: str) -> None:
    """In a process of its own, of two thousand tokens in one gigabyte."""
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY / "tests"), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD.format(case=case)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    growth, gradients = (float(each) for each in done.stdout.splitlines()[-1].split())
    budget = 1e9 / 2**20
    assert gradients > budget, "all gradients fit, so nothing was tested"
    assert growth < budget


@pytest.mark.slow
def test_two_thousand_tokens_in_one_gigabyte() -> None:
    check_growth(RANDOM)


@requires_shared
@pytest.mark.slow
def test_two_thousand_tokens_of_a_real_family_in_one_gigabyte() -> None:
    """868 MiB of 954 when it was written."""
    check_growth(REAL)
