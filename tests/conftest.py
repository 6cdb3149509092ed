"""Where the real scans are, and small things every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def real_data() -> Path:
    return Path(os.environ.get("HOUNSFIELD_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scans; tests that need it carry the marker ``data``."""
    folder = real_data()
    if not (folder / "ct").is_dir():
        pytest.skip(f"the real scans are not here: set HOUNSFIELD_DATA (looked for {folder})")
    return folder


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Folders that pass for mount points, besides the root."""
    points: set[Path] = set()
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) in points or str(path) == "/")
    return points
