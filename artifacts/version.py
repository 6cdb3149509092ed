"""Which code made an artifact, with which libraries."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "scipy", "pydicom", "SimpleITK", "zarr", "h5py", "connected-components-3d", "prefect")


@cache
def code_version() -> str:
    """The installed version and, in a checkout, the commit."""
    number = version("hounsfield")
    try:
        command = ["git", "-C", str(Path(__file__).parents[1]), "describe", "--always", "--dirty", "--exclude=*"]
        commit = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return number
    return f"{number}+{commit}"


@cache
def software() -> dict[str, str]:
    """Versions of the libraries that touch the numbers."""
    import platform

    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
