"""What code makes an artifact, in a checkout and outside of one."""

import platform
import re
import shutil
from pathlib import Path

import pytest

from ontogeny import provenance
from ontogeny.provenance import git_commit, package_versions


def test_versions_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = package_versions()
    assert versions["python"] == platform.python_version() and {"ontogeny", "torch", "numpy"} <= set(versions)
    monkeypatch.setattr(provenance, "RECORDED_PACKAGES", ("numpy", "no-such-package"))
    assert list(package_versions()) == ["python", "numpy"]


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git")
def test_the_commit_of_a_checkout_and_none_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (found := git_commit()) is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", found)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert git_commit() is None
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert git_commit() is None
