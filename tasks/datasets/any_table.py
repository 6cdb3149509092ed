"""Any table beside scans of any format: CSV of series UID (or file name), centre in LPS mm, diameter, optional label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from artifacts.errors import InputError
from tasks.datasets import luna16
from tasks.datasets.raw import Entry, LookAtImage, RawDataset, grid_of
from tasks.datasets.splits import identity_of
from tasks.datasets.table import columns_of
from tasks.reading.found import FoundSeries

HEAD = 65536


def recognise(files: list[Path]) -> bool:
    return bool(_tables(files))


def gather(
    folder: Path,
    files: list[Path],
    series: list[FoundSeries],
    patients: Mapping[str, str],
    look: LookAtImage,
    table: Path | None = None,
) -> RawDataset:
    """``series``: every series of the folder; patients: series UID -> patient's ID. The table is the one given, or the only one.

    Raises InputError: no table with the needed columns, or several and none called annotations.csv.
    """
    named = luna16.tables_in(files)
    if table:
        named["annotations"] = table.read_bytes()
    elif "annotations" not in named:
        there = _tables(files)
        if len(there) != 1:
            what = "no CSV" if not there else f"{len(there)} CSV files"
            names = ", ".join(p.name for p in there) or None
            raise InputError(
                f"{what} in the folder with a series UID and a centre (seriesuid, coordX, coordY, coordZ, diameter_mm): "
                "name the table with --table",
                private=names,
            )
        named["annotations"] = there[0].read_bytes()
    raw = RawDataset("table", [], named)
    for found in series:
        if found.source_format != "dicom":
            if luna16.is_scan(found.files[0], folder):
                luna16.add_image(raw, found.files[0], look)
        elif found.eligible(partial=True):
            add_dicom(raw, found, patients.get(found.uid, ""))
    luna16.add_labels(raw, folder, files)
    return raw


def add_dicom(raw: RawDataset, found: FoundSeries, patient_id: str) -> None:
    places = tuple((s.sop_uid or "", s.position or (0.0, 0.0, 0.0)) for s in found.slices)
    identity = identity_of(patient_id or found.uid)
    raw.entries.append(Entry(found.uid, identity, found.n_slices, grid_of(found), slice_places=places))
    raw.series.setdefault(found.uid, found)


def _tables(files: list[Path]) -> list[Path]:
    """CSV files whose columns name a scan and a place."""
    found = []
    for path in files:
        if path.suffix.lower() in (".csv", ".tsv", ".txt"):
            with path.open("rb") as f:
                if {"uid", "x", "y", "z"} <= columns_of(f.read(HEAD)):
                    found.append(path)
    return found
