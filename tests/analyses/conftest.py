"""What tests of analyses of behaviours begin with."""

from pathlib import Path

import pytest

from analyses.tiny_behaviours import tiny_inputs
from ontogeny.analyses import AnalysisInputs


@pytest.fixture
def inputs(tmp_path: Path) -> AnalysisInputs:
    """Two tiny snapshots and a dictionary; pairs are written beside them."""
    return tiny_inputs(tmp_path)
