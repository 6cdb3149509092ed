"""Weights sets for benchmarks: by name, by folder, or the published ones imported from the test data."""

from __future__ import annotations

import os
from pathlib import Path

from artifacts.checkpoint import ROLES, Checkpoint, Role, read_checkpoint
from artifacts.errors import WeightsError
from artifacts.home import weights_sets

DATA = Path(os.environ.get("HOUNSFIELD_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
BOOK = {"segmenter": "dlwpt/seg_*", "nodule": "dlwpt/cls_*", "malignancy": "gregorytomy/mal_*"}


def weights_at(name: str, work: Path) -> Path:
    """The folder of a weights set: a folder itself, a set at hand, or ``book``: imported into ``work`` where it is not."""
    if "/" in name or (Path(name) / "nodule.json").is_file():
        return Path(name)
    if name in (sets := weights_sets()):
        return sets[name]
    if name != "book":
        raise WeightsError(f"no weights called '{name}': there are {', '.join(sorted(sets))}, book, or a folder")
    if not (work / "book").is_dir():
        from tasks.import_weights import import_book

        found = {role: next((DATA / "weights").glob(pattern), DATA / "absent") for role, pattern in BOOK.items()}
        import_book("book", found["segmenter"], found["nodule"], found["malignancy"], work)
    return work / "book"


def checkpoints(folder: Path) -> dict[Role, Checkpoint]:
    return {role: read_checkpoint(folder, role) for role in ROLES}
