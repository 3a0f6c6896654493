"""Rankings of the user's own, from a list in the recipe or a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from jaxtyping import Int

from ontogeny.analyses.ablation.config import GivenRanking
from ontogeny.config import nearest
from ontogeny.errors import AnalysisError

LATENT = "latent"


def ranking_files(given: Sequence[GivenRanking]) -> list[Path]:
    """The files that rankings are read from; AnalysisError where one is not there."""
    files = [Path(each.path).expanduser() for each in given if each.path is not None]
    for file in files:
        if not file.is_file():
            raise AnalysisError(f"analyses.ablation.given: there is no file {file}; give a CSV or Parquet file.")
    return files


def order_given(given: GivenRanking, behaviour: str, source: str, n_latents: int) -> Int[np.ndarray, "ranked"]:
    """The latents of a ranking, in order, each once; none where its file says nothing of this behaviour and source.

    AnalysisError for a latent that the dictionary lacks, and for a file or column that cannot be read.
    """
    latents = np.array(given.latents, dtype=np.int64) if given.path is None else _read(given, behaviour, source)
    wrong = latents[(latents < 0) | (latents >= n_latents)]
    if len(wrong):
        raise AnalysisError(
            f"ranking {given.name!r} names latent {wrong[0]}; this dictionary has {n_latents}, from 0 on."
        )
    _, first = np.unique(latents, return_index=True)
    return latents[np.sort(first)]


def _read(given: GivenRanking, behaviour: str, source: str) -> Int[np.ndarray, "ranked"]:
    (file,) = ranking_files([given])
    assert given.column is not None, "a file comes with a column"
    try:
        table = pyarrow.csv.read_csv(file) if file.suffix.lower() == ".csv" else pq.read_table(file)
    except pa.ArrowInvalid as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise AnalysisError(f"{file} is neither a CSV nor a Parquet file that can be read: {reason}.") from None
    for name in (LATENT, given.column):
        if name not in table.column_names:
            alike = nearest(name, table.column_names) or table.column_names
            raise AnalysisError(f"{file} has no column {name!r} to rank by; it has {', '.join(alike)}.")
    for name, value in (("behaviour", behaviour), ("source", source)):
        if name in table.column_names:
            table = table.filter(pc.equal(table.column(name), value))
    try:
        values = np.asarray(table.column(given.column).cast(pa.float64()).to_numpy(zero_copy_only=False))
        latents = np.asarray(table.column(LATENT).cast(pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        raise AnalysisError(f"{file}: columns {LATENT!r} and {given.column!r} must be numbers.") from None
    known = np.isfinite(values)
    keys = values[known] if given.smallest else -np.abs(values[known])
    return latents[known][np.argsort(keys, kind="stable")].astype(np.int64)
