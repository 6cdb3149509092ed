"""Weights sets: list them, import the book's."""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table

from artifacts.checkpoint import ROLES, Role, read_checkpoint
from artifacts.errors import WeightsError
from artifacts.home import weights_folder, weights_sets
from flows.console import wide_console


def list_sets(as_json: bool) -> None:
    """Print every set's checkpoints: what they are, were trained on, and may be used for."""
    rows = []
    for name, folder in weights_sets().items():
        rows += [_row(name, folder, role) for role in ROLES]
    if as_json:
        names = ("name", "role", "architecture", "trained_on", "licence", "digest")
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=1))
        return
    table = Table("name", "role", "architecture", "trained on", "licence", "digest")
    for row in rows:
        table.add_row(*row)
    wide_console(markup=False).print(table)


def _row(name: str, folder: Path, role: Role) -> list[str]:
    try:
        c = read_checkpoint(folder, role)
    except WeightsError as e:
        return [name, role, "", str(e), "", "cannot be used"]
    return [name, role, c.card.architecture, str(c.card.training.get("data", "not stated")), c.card.licence, c.digest[:12]]


def import_set(name: str, segmenter: Path, nodule: Path, malignancy: Path, replace: bool) -> None:
    """Import the three published checkpoints as the set ``name``."""
    from tasks.import_weights import import_book, taken

    if name in weights_sets() and not replace:  # those that ship as well: a set of the same name would hide them
        raise taken(name)
    import_book(name, segmenter, nodule, malignancy, weights_folder(), replace=replace)
    print(f"imported '{name}': use it with `hounsfield screen PATH --weights {name}`")
