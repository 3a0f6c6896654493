"""The null controls: what nu looks like along directions that are not the latent's."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ontogeny.analyses.latent_scaling.config import LatentScalingConfig
from ontogeny.analyses.latent_scaling.sums import CONTROLS, iter_control_estimates
from ontogeny.analyses.latent_scaling.verdicts import LEAST_T
from ontogeny.latents.betas import Scaling
from ontogeny.latents.many_tests import adjust_p, compute_p
from ontogeny.latents.scaling import ScalingSums
from ontogeny.results import Column, Table

COLUMNS = (
    Column("control", "1", "the direction looked along in place of the latent's own"),
    Column("source", "1", "whose activations are looked at"),
    Column("n", "1", "latents looked at"),
    Column("nu_error_median", "1", "median of nu_error along it, in units of the true probe's"),
    Column("nu_error_low", "1", "its 2.5 % quantile over latents"),
    Column("nu_error_high", "1", "its 97.5 % quantile: smaller values of a real nu mean nothing"),
    Column("nu_reconstruction_low", "1", "2.5 % quantile of nu_reconstruction"),
    Column("nu_reconstruction_high", "1", "97.5 % quantile of nu_reconstruction"),
    Column("called_present", "fraction", "share called present by the same test: false claims of the method"),
    Column("called_present_se", "fraction", "its binomial standard error"),
    Column("called_absent", "fraction", "share called absent by the same test: its power"),
)


def control_table(sums: ScalingSums | None, names: Sequence[str], config: LatentScalingConfig) -> Table:
    """One row a (control, source); none where no latent was controlled."""
    rows = []
    if sums is not None:
        scalings: dict[str, list[Scaling]] = {control: [] for control in CONTROLS}
        for control, scaling in iter_control_estimates(sums, config):
            scalings[control].append(scaling)
        for control, parts in scalings.items():
            rows += _rows(control, parts, names, config)
    kinds = {"control": pa.string(), "source": pa.string(), "n": pa.int64()}
    schema = pa.schema([(column.name, kinds.get(column.name, pa.float64())) for column in COLUMNS])
    return Table.from_rows("controls", COLUMNS, rows, schema)


def _rows(
    control: str, parts: list[Scaling], names: Sequence[str], config: LatentScalingConfig
) -> list[dict[str, object]]:
    enough = np.concatenate(
        [
            (part.n_active >= config.min_tokens) & (np.nan_to_num(part.t_reference, posinf=np.inf) >= LEAST_T)
            for part in parts
        ]
    )
    degrees = np.concatenate([part.n_clusters for part in parts])[:, None] - 1
    t, nu_error, nu_reconstruction = (
        np.where(enough[:, None], np.concatenate(each), np.nan)
        for each in zip(
            *((part.t_error, part.nu_error.value, part.nu_reconstruction.value) for part in parts), strict=True
        )
    )
    present, absent = (adjust_p(compute_p(t, degrees, above=above)) for above in (True, False))
    rows: list[dict[str, object]] = []
    for source, name in enumerate(names):
        seen = ~np.isnan(t[:, source])
        n = int(seen.sum())
        row: dict[str, object] = {column.name: None for column in COLUMNS}
        row |= {"control": control, "source": name, "n": n}
        if n:
            low, middle, high = np.quantile(nu_error[seen, source], (0.025, 0.5, 0.975))
            row |= {"nu_error_low": low, "nu_error_median": middle, "nu_error_high": high}
            low, high = np.quantile(nu_reconstruction[seen, source], (0.025, 0.975))
            row |= {"nu_reconstruction_low": low, "nu_reconstruction_high": high}
            share = float((present[seen, source] <= config.false_discoveries).mean())
            row |= {"called_present": share, "called_present_se": float(np.sqrt(share * (1 - share) / n))}
            row["called_absent"] = float((absent[seen, source] <= config.false_discoveries).mean())
        rows.append(row)
    return rows
