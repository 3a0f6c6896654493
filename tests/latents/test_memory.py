"""A dictionary of very many latents and sources: the cache and the tables are made in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paths import REPOSITORY

SCRIPT = """
import sys
from pathlib import Path
import numpy as np, torch
from ontogeny.activations.stream import TokenColumns
from ontogeny.analyses import AnalysisInputs
from ontogeny.analyses.statistics import STATISTICS, StatisticsConfig
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.sparse import Pattern
from ontogeny.latents.cache_writer import CodeCacheWriter
from ontogeny.results import save_result
from ontogeny.tokens.corpus import Corpus

def megabytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024

torch.set_num_threads(1)
folder, n_latents, n_sources, n_tokens, k = Path(sys.argv[1]), 250_000, 32, 4096, 64
config = CrosscoderConfig.model_validate({"n_latents": n_latents, "activation": {"kind": "topk", "k": k}})
dictionary = Crosscoder(config, [f"step{i}" for i in range(n_sources)], d_model=1)
pattern = Pattern.from_rows(torch.randint(0, n_latents, (n_tokens, k)), n_latents)
codes = Codes(torch.rand(n_tokens * k) + 0.1, dictionary.decoder_norms().detach(), pattern)
token = np.arange(n_tokens)
columns = TokenColumns(token, token // 64, token % 128, token // 128, np.zeros(n_tokens, dtype=int))
corpus = Corpus.from_tokens(np.ones((n_tokens // 128, 128), dtype=int))
before = megabytes("VmRSS")
writer = CodeCacheWriter(folder / "codes", dictionary, "d1", max_pairs=1 << 16)
writer.append(codes, columns)
inputs = AnalysisInputs(dictionary, corpus, None, None, None, folder, "cpu", writer.finish())
save_result(STATISTICS.run(inputs, StatisticsConfig()), folder / "result")
print(megabytes("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="resident memory is read from /proc")
def test_tables_of_many_latents_and_sources_stream(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    # 8 million rows of `latent_sources` held whole would take 700 MB; with 4 times the latents it is 380 MB too.
    assert float(told.stdout) < 480, f"{told.stdout} MB"
