"""Dataset: from a folder to the Dataset artifact: layout recognised, scans found, tables read, patients shared out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.dataset import Dataset
from artifacts.private_index import PrivateIndex
from artifacts.store import Ref, Store
from flows.console import watcher
from flows.settle import without_paths
from tasks.datasets.dataset import DatasetParams, dataset
from tasks.datasets.find import Layout, find_dataset
from tasks.datasets.raw import RawDataset
from tasks.line import Line


@dataclass(frozen=True)
class Gathered:
    """ref of the Dataset, the same in memory, and where its scans are (private)."""

    ref: Ref
    dataset: Dataset
    raw: RawDataset


def gather(
    store: Store,
    index: PrivateIndex,
    folder: Path,
    params: DatasetParams = DatasetParams(),
    layout: Layout = "auto",
    table: Path | None = None,
) -> Gathered:
    """The data set in ``folder`` as an artifact, made only where it is not there. Raises InputError where there is none."""
    with without_paths():
        raw = find_dataset(folder, layout, table)
    line = Line(store, index.token(folder), params={"dataset": params}, watcher=watcher())
    try:
        ref = line(dataset, raw=raw)
    finally:
        watcher().close()
    return Gathered(ref, store.read(ref, Dataset), raw)


def show_dataset(found: Dataset, ref: Ref) -> None:
    """What is there, as tables on stdout."""
    from rich.table import Table

    from flows.console import wide_console

    console = wide_console()
    console.print(f"{ref}  {found.preview({}).headline}", highlight=False, soft_wrap=True)
    for title, rows in (("by split", found.by_split()), ("by fold", found.by_fold()), ("nodules by size", by_size(found))):
        table = Table(*map(str, rows[0]), title=title, title_justify="left") if rows else None
        for row in rows:
            table.add_row(*map(str, row.values()))  # type: ignore[union-attr]
        if table:
            console.print(table)
    console.print(f"split by {found.split_by.get('patient', 'patient')}", highlight=False)
    for problem in found.problems:
        console.print(f"! {problem}", highlight=False, markup=False, soft_wrap=True)


def by_size(found: Dataset) -> list[dict[str, Any]]:
    return [
        {
            "diameter, mm": f"{r['from_mm']:g} to {r['below_mm']:g}" if r["below_mm"] else f"from {r['from_mm']:g}",
            "nodules": r["nodules"],
        }
        for r in found.by_size()
    ]


def as_json(found: Dataset, ref: Ref) -> dict[str, Any]:
    """The same for machines."""
    return {
        "ref": str(ref),
        "layout": found.layout,
        **found.summary(),
        "splits": found.by_split(),
        "folds": found.by_fold(),
        "sizes": found.by_size(),
        "missing_uids": found.missing,
        "problems_said": found.problems,
        "split_by": found.split_by,
    }
