"""The estimates on disk between the two passes over them: no verdict before all latents are tested."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.latent_scaling.config import LatentScalingConfig
from ontogeny.analyses.latent_scaling.sums import iter_estimates, iter_sums
from ontogeny.workspace import disk_errors


class Spool:
    """Rows (latent, probe, source) of estimates in one Arrow file, read again as often as needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def write(cls, inputs: AnalysisInputs, config: LatentScalingConfig) -> "Spool":
        """Work out the estimates of every block of latents."""
        path = inputs.scratch / "estimates.arrow"
        with disk_errors(path):
            writer: pa.RecordBatchFileWriter | None = None
            for sums in iter_sums(inputs, config):
                for table in iter_estimates(sums, config):
                    writer = writer or pa.ipc.new_file(path, table.schema)
                    writer.write_table(table.combine_chunks())
            assert writer is not None, "a dictionary has latents"
            writer.close()
        return cls(path)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The rows, whole latents at a time."""
        with pa.memory_map(str(self.path)) as file:
            reader = pa.ipc.open_file(file)
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink()
