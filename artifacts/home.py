"""Where Hounsfield keeps things on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from artifacts.checkpoint import ROLES, Checkpoint, Role, read_checkpoint
from artifacts.errors import WeightsError

SHIPPED_WEIGHTS = Path(__file__).parents[1] / "weights"


def home() -> Path:
    """``HOUNSFIELD_HOME``, or the user's data folder: store, private index, imported weights."""
    default = Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")) / "hounsfield"
    return Path(os.environ.get("HOUNSFIELD_HOME", default)).expanduser().absolute()


def store_folder() -> Path:
    return Path(os.environ.get("HOUNSFIELD_STORE", home() / "store")).expanduser()


def private_folder() -> Path:
    return home() / "private"


def make_private(folder: Path) -> None:
    """Make ``folder`` for its owner alone, and so the one it lies in: ``parents=True`` alone would leave that open to others."""
    for place in (folder.parent, folder):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)


def weights_folder() -> Path:
    """Where imported weights sets go."""
    return home() / "weights"


def weights_sets() -> dict[str, Path]:
    """Name -> folder of every weights set at hand; the user's own before those shipped."""
    found: dict[str, Path] = {}
    for place in (weights_folder(), SHIPPED_WEIGHTS):
        for folder in sorted(place.glob("*/")):
            if not folder.name.startswith(".") and any((folder / f"{role}.json").is_file() for role in ROLES):
                found.setdefault(folder.name, folder)
    return found


def find_weights(name: str) -> dict[Role, Checkpoint]:
    """The three checkpoints of the set ``name``; WeightsError names the sets there are."""
    sets = weights_sets()
    if name not in sets:
        there = ", ".join(sorted(sets)) or "none"
        raise WeightsError(f"no weights called '{name}': there are {there} (`hounsfield weights list`)")
    return {role: read_checkpoint(sets[name], role) for role in ROLES}
