"""Effects of a million latents: what is held grows with those that are active."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SCRIPT = """
import sys
from pathlib import Path
import torch
from interventions.tiny_prompts import D_MODEL, NAMES, attribute, read_all, tiny_pairs
from interventions.tiny_series import HOOK_POINT, tiny_series
from latents.test_effect_sums import high_water
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions import effect_batches
from ontogeny.interventions.effect_batches import build_effect_batches, moving_positions
from ontogeny.interventions.effects import EffectPlan
from ontogeny.interventions.prompts import clean_prompts

torch.set_num_threads(1)
config = CrosscoderConfig.model_validate({"n_latents": 1_000_000, "activation": {"kind": "relu"}, "aux_k": None})
dictionary = Crosscoder(config, NAMES, d_model=D_MODEL).eval()
with torch.no_grad():
    dictionary.b_enc.fill_(-1e4)
    dictionary.b_enc[::20_000] = 1.0
series, clean = tiny_series(Path(sys.argv[1])), clean_prompts(tiny_pairs(40))
read, moves = read_all(series, clean), moving_positions(clean)
effect_batches.ENCODED_AT_A_TIME = 1 << 24
before = high_water()
for baseline, path in (("mean", "joint"), ("zero", "error_kept")):
    batches, mean = build_effect_batches(dictionary, clean, read, moves, baseline=baseline, batch=16)
    plan = EffectPlan(dictionary, [HOOK_POINT] * 2, batches, mean, baseline=baseline, path=path)
    effects = attribute(series, plan)
    plan.compute_exact(series.open(0), 0, effects.active[:3])
assert 0 < len(effects.active) <= 50
print((high_water() - before) >> 10)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the high-water mark there")
def test_a_million_latents_cost_what_is_active(tmp_path: Path) -> None:
    """A copy of one source's decoder would be 64 MB, the codes of all positions at once 1.2 GB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, cwd=TESTS, env=environment
    )
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) < 330, f"grew by {told.stdout} MiB"
