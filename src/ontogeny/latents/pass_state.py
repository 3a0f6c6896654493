"""Where a pass stands, in its scratch folder: one safetensors file, whole under its name or not there."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save

from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.latents.accumulators import Accumulator
from ontogeny.latents.cache_writer import CachePlace, CodeCacheWriter
from ontogeny.workspace import write_bytes

STATE = "pass.safetensors"


class PassState:
    """Saves and restores a pass: the riders' sums and the cache's place, of the same pass over the same store alone."""

    def __init__(
        self,
        folder: Path | None,
        identity: Mapping[str, Any],
        dictionary: Crosscoder,
        riders: Mapping[str, Accumulator],
        cache: CodeCacheWriter | None,
    ) -> None:
        self.path = None if folder is None else folder / STATE
        sums = [] if folder is None else _checksums(dictionary)
        self.identity = {**identity, "dictionary": sums, "riders": sorted(riders), "cache": cache is not None}
        self.riders, self.cache = riders, cache

    def save(self, n_tokens: int) -> None:
        """Save the pass after its first `n_tokens`; nothing without a folder."""
        if self.path is None:
            return
        # The cache first: a place that is not on disk must not be saved.
        place = CachePlace() if self.cache is None else self.cache.sync()
        tensors = {
            f"{name}/{key}": tensor.contiguous()
            for name, rider in self.riders.items()
            for key, tensor in rider.state().items()
        }
        described = {"pass": self.identity, "n_tokens": n_tokens, "place": asdict(place)}
        write_bytes(self.path, save(tensors, {"state": json.dumps(described)}))

    def load(self) -> int:
        """Put back what was saved; how many tokens that is, 0 where nothing was, or by another pass."""
        if self.path is None or not self.path.is_file():
            return 0
        with safe_open(self.path, "pt") as file:
            described = json.loads(file.metadata()["state"])
            if described["pass"] != self.identity:
                return 0
            if self.cache is not None and not self.cache.rewind(CachePlace(**described["place"])):
                return 0
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, rider in self.riders.items():
            prefix = f"{name}/"
            rider.load_state(
                {key.removeprefix(prefix): each for key, each in tensors.items() if key.startswith(prefix)}
            )
        return int(described["n_tokens"])


def _checksums(dictionary: Crosscoder) -> list[int]:
    """What tells one dictionary from another without reading all of its weights."""
    weights = (dictionary.b_enc, dictionary.decoder_norms())
    return [zlib.crc32(each.detach().float().cpu().numpy().tobytes()) for each in weights]
