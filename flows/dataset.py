"""Dataset: from a folder to the Dataset artifact: layout recognised, scans found, tables read, patients shared out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from artifacts.dataset import Dataset
from artifacts.errors import HounsfieldError
from artifacts.private_index import PrivateIndex, signature
from artifacts.store import Ref, Store
from flows.console import watcher
from flows.settle import without_paths
from tasks.datasets.dataset import DatasetParams, dataset
from tasks.datasets.find import Layout, find_dataset
from tasks.datasets.lidc_xml import read_xml
from tasks.datasets.raw import RawDataset, look_at_image
from tasks.line import Line
from tasks.reading.found import FoundSeries
from tasks.reading.header_index import HeaderIndex
from tasks.reading.images import image_files, image_suffix
from tasks.reading.read import READER
from tasks.training.labels import LabelMap, read_digest
from tasks.training.truth import Truth, truth_of

LOOKS = 1  # rises whenever the same file would be seen otherwise


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
    headers = HeaderIndex(index.folder / "headers", index.token)
    with without_paths():
        raw = find_dataset(
            folder,
            layout,
            table,
            look=partial(remembered, index, look_at_image),
            look_at_xml=partial(remembered, index, read_xml),
            series_in=partial(series_in, headers),
        )
    line = Line(store, index.token(folder), params={"dataset": params}, watcher=watcher())
    try:
        ref = line(dataset, raw=raw)
    finally:
        watcher().close()
    return Gathered(ref, store.read(ref, Dataset), raw)


def series_in(headers: HeaderIndex, folder: Path) -> list[FoundSeries]:
    """Every series below ``folder``; only files that are new or changed are opened."""
    return [headers.found(seen) for seen in headers.look([folder]).seen.values() if seen.kind == "series"]


def known_of(found: Gathered, uid: str, index: PrivateIndex) -> Truth:
    """What the data set says of a scan, with the label map that lies beside it, where one does."""
    truth, path = truth_of(found.dataset, uid), found.raw.labels.get(uid)
    if path is None:
        return truth
    with without_paths():
        return replace(truth, label_map=LabelMap(path, remembered(index, read_digest, path)))


Seen = TypeVar("Seen")


def remembered(index: PrivateIndex, look: Callable[[Path], Seen], path: Path) -> Seen:
    """What ``look`` sees in a file, from memory where nobody touched it (an image's voxels included)."""
    try:
        files = image_files(path) if image_suffix(path) else (path,)
        mark = signature(files, path.parent, f"{READER}/{look.__name__}/{LOOKS}")
    except (OSError, HounsfieldError):  # nothing to remember it by
        return look(path)
    known = index.header(mark)
    if known is None:
        known = look(path)
        index.remember_header(mark, known)
    return known


def show_dataset(gathered: Gathered) -> None:
    """What is there, as tables on stdout."""
    from rich.table import Table

    from flows.console import wide_console

    found, ref, console = gathered.dataset, gathered.ref, wide_console(markup=False)
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


def described(gathered: Gathered) -> dict[str, Any]:
    """The same for machines."""
    found, ref = gathered.dataset, gathered.ref
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
