"""What code makes an artifact: versions of packages, and the commit of a checkout."""

import contextlib
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

RECORDED_PACKAGES = ("ontogeny", "torch", "transformers", "tokenizers", "datasets", "safetensors", "numpy", "pyarrow")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a result."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with "+changes" where files differ; None outside one."""
    here = Path(__file__).resolve().parent
    if shutil.which("git") is None:
        return None
    head = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode != 0:
        return None
    status = subprocess.run(
        ["git", "-C", str(here), "status", "--porcelain", "--", "."], capture_output=True, text=True, check=False
    )
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")
