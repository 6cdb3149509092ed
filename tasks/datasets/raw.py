"""A data set as it was found on a disk: which scans are there, and the tables beside them as bytes. Nothing understood yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from artifacts.errors import HounsfieldError
from artifacts.geometry import Geometry, Vector
from tasks.datasets.lidc_xml import ReadScan
from tasks.reading.eligibility import normal_of
from tasks.reading.found import FoundSeries
from tasks.reading.images import image_header, image_series


@dataclass(frozen=True)
class Entry:
    """One scan on disk. identity: a hash of the patient's ID (of the series UID where the format has none), never written.

    grid: where its voxels lie; None where the header does not say. official: the fold that the data set itself puts it in.
    slice_places: of DICOM, in order, for contours that name their slice.
    """

    uid: str
    identity: str
    slices: int
    grid: Geometry | None
    official: int | None = None
    slice_places: tuple[tuple[str, Vector], ...] = ()  # SOP instance UID, LPS mm of the first voxel

    @cached_property
    def places(self) -> dict[str, Vector]:
        return dict(self.slice_places)


@dataclass
class RawDataset:
    """What the ``dataset`` stage takes.

    layout    luna16, lidc or table
    tables    what it is -> its bytes: annotations, excluded, candidates, malignancy, scans
    readings  of LIDC-IDRI: series UID -> what its readers said
    names     file name (without suffix) -> uid, for tables that name scans by their files; in memory only
    problems  what was wrong so far, one line each, without paths
    series    uid -> the series' files; labels: uid -> its label map's; private: never in an artifact, nor in the digest
    """

    layout: str
    entries: list[Entry]
    tables: dict[str, bytes]
    readings: dict[str, ReadScan] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    series: dict[str, FoundSeries] = field(default_factory=dict)
    labels: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """32 hex digits: of the scans' identities and places and of every table's bytes; not of where they are kept."""
        h = hashlib.blake2b(self.layout.encode(), digest_size=16)
        for entry in sorted(self.entries, key=lambda e: e.uid):
            h.update(json.dumps(asdict(entry)).encode())
        for name, data in sorted(self.tables.items()):
            h.update(f"\0{name}\0{len(data)}\0".encode())
            h.update(data)
        for _, scan in sorted(self.readings.items()):
            h.update(scan.digest())
        h.update(json.dumps([sorted(self.names.items()), self.problems]).encode())
        return h.hexdigest()

    def open(self) -> RawDataset:
        return self


LookAtXml = Callable[[Path], ReadScan | None]  # None: not to be read
LookAtImage = Callable[[Path], tuple[FoundSeries, Geometry | None]]  # None: the header cannot be read


def look_at_image(path: Path) -> tuple[FoundSeries, Geometry | None]:
    """A file as a series, and where its voxels lie."""
    try:
        grid = image_header(path).geometry
    except (HounsfieldError, OSError):
        grid = None
    return image_series(path), grid


def grid_of(found: FoundSeries) -> Geometry | None:
    """Where the voxels of a DICOM series lie, by its headers."""
    slices = found.slices
    if len(slices) < 2 or not found.spacing:
        return None
    first = slices[0]
    normal = normal_of(first.orientation)  # type: ignore[arg-type]
    row, column = first.orientation[:3], first.orientation[3:]  # type: ignore[index]
    count = round(found.extent_mm / found.spacing[0]) if found.spacing[0] else len(slices)
    shape = (max(count, 1), found.rows, found.columns)
    try:
        return Geometry(shape, found.spacing, first.position, (tuple(map(float, normal)), column, row))  # type: ignore[arg-type]
    except ValueError:
        return None
