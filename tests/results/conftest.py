"""The made-up workspace, once."""

from pathlib import Path

import pytest

from ontogeny.workspace import Workspace
from results.synthetic import fill_workspace, make_results


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a dictionary `made-up` and one result of every analysis; read only."""
    root: Path = tmp_path_factory.mktemp("made-up")
    fill_workspace(root, make_results())
    return Workspace(root)
