"""From a folder to a ``RawDataset``: which layout it has, which scans and tables are there. Reads headers, no pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from artifacts.errors import InputError
from tasks.datasets import any_table, lidc, luna16
from tasks.datasets.lidc_xml import read_xml
from tasks.datasets.raw import LookAtImage, LookAtXml, RawDataset, look_at_image
from tasks.reading.find import files_in, find_series
from tasks.reading.found import FoundSeries
from tasks.reading.quiet import quiet_pydicom

Layout = Literal["auto", "luna16", "lidc", "table"]
WAYS = {
    "luna16": "LUNA16 (subset0 … subset9 with .mhd files and annotations.csv)",
    "lidc": "LIDC-IDRI (DICOM with the radiologists' XML)",
    "table": "scans with a CSV of series UID, centre and diameter",
}


def find_dataset(
    folder: Path,
    layout: Layout = "auto",
    table: Path | None = None,
    *,
    look: LookAtImage = look_at_image,
    look_at_xml: LookAtXml = read_xml,
    series_in: Callable[[Path], list[FoundSeries]] = find_series,
) -> RawDataset:
    """The data set in ``folder``. Raises InputError where there is none, saying what one looks like.

    ``look``, ``look_at_xml`` and ``series_in`` read files, or remember what was in them.
    """
    if not folder.is_dir():
        raise InputError("there is no folder at the given path: give the folder of a data set", private=str(folder))
    if table and not table.is_file():
        raise InputError("there is no table at the given path", private=str(table))
    files = files_in(folder)
    chosen = layout if layout != "auto" else recognised(files, table)
    if chosen == "luna16":
        return luna16.gather(folder, files, look)
    series = series_in(folder)
    patients = {s.uid: patient_of(s) for s in series if s.source_format == "dicom"}
    if chosen == "lidc":
        return lidc.gather(files, series, patients, look_at_xml)
    return any_table.gather(folder, files, series, patients, look, table)


def recognised(files: list[Path], table: Path | None) -> str:
    if table:
        return "table"
    if luna16.recognise(files):
        return "luna16"
    if lidc.recognise(files):
        return "lidc"
    if any_table.recognise(files):
        return "table"
    raise InputError(f"the folder is no data set: it would hold {', or '.join(WAYS.values())}")


def patient_of(series: FoundSeries) -> str:
    """The patient's ID by the first header; empty where there is none. It stays in memory."""
    try:
        header = quiet_pydicom().dcmread(series.files[0], stop_before_pixels=True, specific_tags=["PatientID"])
        return str(header.get("PatientID", "")).strip()
    except Exception:  # what a broken header raises is not foreseeable; it is said where the scan is read
        return ""
