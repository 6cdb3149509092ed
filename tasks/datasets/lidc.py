"""LIDC-IDRI: DICOM with its radiologists' XML; readings of one nodule put together, true outlines kept.

Readings by different readers that lie closer than the sum of their radii are one nodule (Setio et al., Medical Image Analysis 42,
2017). A nodule of ``consensus`` readers and more counts; fewer, marks below 3 mm and marks of what is no nodule are excluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from artifacts.dataset import UNMEASURED, Nodule, Outlines, Ring
from artifacts.errors import InputError
from artifacts.geometry import Vector
from tasks.datasets.any_table import add_dicom
from tasks.datasets.lidc_xml import Contour, Reading, ReadScan, is_reading
from tasks.datasets.luna16 import Truth
from tasks.datasets.raw import Entry, LookAtXml, RawDataset
from tasks.datasets.table import Notes
from tasks.reading.found import FoundSeries
from tasks.training.masks import enclosed

if TYPE_CHECKING:
    from tasks.datasets.dataset import DatasetParams


def recognise(files: list[Path]) -> bool:
    return any(is_reading(f) for f in files if f.suffix.lower() == ".xml")


def gather(files: list[Path], series: Sequence[FoundSeries], patients: Mapping[str, str], look: LookAtXml) -> RawDataset:
    """Every CT series and every reading, wherever they lie. Raises InputError where there is no reading."""
    raw = RawDataset("lidc", [], {})
    broken = 0
    for path in (f for f in files if f.suffix.lower() == ".xml" and is_reading(f)):
        scan = look(path)
        if scan is None:
            broken += 1
        elif raw.readings.setdefault(scan.uid, scan).digest() != scan.digest():
            raw.problems.append(f"scan {scan.uid} has two readings (XML) that differ: the first is used")
    if broken:
        raw.problems.append(f"{broken} readings (XML) are damaged or name no series: left out")
    if not raw.readings:
        raise InputError("no radiologists' XML of LIDC-IDRI is in the folder: put the XML files anywhere below it")
    for found in series:
        if found.source_format == "dicom" and found.modality == "CT" and found.slices:
            add_dicom(raw, found, patients.get(found.uid, ""))
    return raw


def truth(raw: RawDataset, params: DatasetParams, notes: Notes) -> Truth:
    """Nodules of every scan that is read and on disk, excluded ones too, with what the readers drew around each."""
    nodules: list[Nodule] = []
    rings: list[tuple[int, Ring]] = []
    entries = {e.uid: e for e in raw.entries}
    for uid, scan in sorted(raw.readings.items()):
        for problem in scan.problems:
            notes.say(problem)
        if uid in entries:
            for nodule, drawn in nodules_of(scan, entries[uid], params):
                rings += [(len(nodules), ring) for ring in drawn]
                nodules.append(nodule)
    return Truth(nodules, named=set(raw.readings), outlines=Outlines.of_rings(rings))


@dataclass(frozen=True)
class Placed:
    """One reading in the patient: centre and diameter of the ball of its volume (0: a point), and its rings."""

    reading: Reading
    center_lps_mm: NDArray[np.float64]
    diameter_mm: float
    rings: tuple[Ring, ...]


def nodules_of(scan: ReadScan, entry: Entry, params: DatasetParams) -> list[tuple[Nodule, list[Ring]]]:
    """The scan's nodules, those that count first; row k of both kinds in the order of z."""
    placed = [place(r, entry) for r in scan.readings]
    found = [_nodule(scan.uid, group, params) for group in clustered([p for p in placed if p.reading.kind == "nodule"])]
    points = [p for p in placed if p.reading.kind != "nodule"]
    found += [(_point(scan.uid, p), []) for p in points]
    found.sort(key=lambda f: (f[0].excluded, f[0].center_lps_mm[::-1]))
    return [(_with_row(n, k), rings) for k, (n, rings) in enumerate(found)]


def place(reading: Reading, entry: Entry) -> Placed:
    """A reading from pixels to LPS mm, measured by the pixels it encloses."""
    rings = tuple(Ring(reading.reader, c.hole, in_patient(c, entry).astype(np.float32)) for c in reading.contours)
    if reading.kind != "nodule":
        return Placed(reading, rings[0].points_lps_mm.mean(axis=0).astype(np.float64), 0.0, rings)
    levels = np.unique([round(c.z_mm, 3) for c in reading.contours])
    apart = float(np.median(np.diff(levels))) if len(levels) > 1 else 0.0
    grid = entry.grid
    thickness = apart or (grid.spacing_zyx[0] if grid else 1.0)
    pixel = grid.spacing_zyx[1] * grid.spacing_zyx[2] if grid else 1.0
    areas, centers = [], []
    for level in levels:
        mask, low = _enclosed([c for c in reading.contours if round(c.z_mm, 3) == level])
        y, x = np.nonzero(mask)
        middle = np.array([[x.mean() + low[0], y.mean() + low[1]]])
        here = next(c for c in reading.contours if round(c.z_mm, 3) == level)
        centers.append(in_patient(Contour(here.sop_uid, here.z_mm, False, middle), entry)[0])
        areas.append(len(x))
    weights = np.array(areas, np.float64)
    volume = float(weights.sum()) * pixel * thickness
    return Placed(reading, np.average(centers, axis=0, weights=weights), float((6 * volume / np.pi) ** (1 / 3)), rings)


def _enclosed(contours: Sequence[Contour]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Pixels inside the rings of one slice and not in its holes, and the first of them (x, y)."""
    points = np.concatenate([c.points_xy for c in contours])
    low, high = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int) + 1
    ys, xs = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), bool)
    for c in (c for c in contours if not c.hole):
        mask |= enclosed(c.points_xy[:, ::-1], ys, xs)
    whole = mask.copy()
    for c in (c for c in contours if c.hole):
        mask &= ~enclosed(c.points_xy[:, ::-1], ys, xs)
    return (mask if mask.any() else whole if whole.any() else np.ones_like(mask)), low


def in_patient(contour: Contour, entry: Entry) -> NDArray[np.float64]:
    """LPS mm ``[m, 3]`` of a contour's points: by the slice it names, or by its height where that slice is not on disk."""
    grid = entry.grid
    row, column = (np.array(grid.directions_zyx[k]) if grid else np.eye(3)[2 - k] for k in (2, 1))
    dy, dx = grid.spacing_zyx[1:] if grid else (1.0, 1.0)
    known = entry.places.get(contour.sop_uid)
    first = np.array(known if known else _at_height(entry, contour.z_mm))
    return first + contour.points_xy[:, :1] * dx * row + contour.points_xy[:, 1:] * dy * column


def _at_height(entry: Entry, z_mm: float) -> Vector:
    x, y, _ = entry.grid.origin_lps_mm if entry.grid else (0.0, 0.0, 0.0)
    return x, y, z_mm


def clustered(placed: Sequence[Placed]) -> list[list[Placed]]:
    """Readings of one nodule: of different readers, the nearest pairs first, closer than the sum of their radii."""
    group = {k: {k} for k in range(len(placed))}
    pairs = []
    for a in range(len(placed)):
        for b in range(a):
            reach = (placed[a].diameter_mm + placed[b].diameter_mm) / 2
            gap = float(np.linalg.norm(placed[a].center_lps_mm - placed[b].center_lps_mm))
            if gap < reach:
                pairs.append((gap / reach, b, a))
    for _, a, b in sorted(pairs):
        readers = [{placed[k].reading.reader for k in group[m]} for m in (a, b)]
        if group[a] is not group[b] and not readers[0] & readers[1]:
            merged = group[a] | group[b]
            group |= dict.fromkeys(merged, merged)
    once = {min(g): sorted(g) for g in group.values()}
    return [[placed[k] for k in members] for _, members in sorted(once.items())]


def _nodule(uid: str, group: Sequence[Placed], params: DatasetParams) -> tuple[Nodule, list[Ring]]:
    ratings = [p.reading.malignancy for p in group if p.reading.malignancy is not None]
    rating = float(np.median(ratings)) if ratings else None
    center = np.mean([p.center_lps_mm for p in group], axis=0)
    nodule = Nodule(
        uid=uid,
        center_lps_mm=tuple(map(float, center)),  # type: ignore[arg-type]
        diameter_mm=float(np.mean([p.diameter_mm for p in group])),
        malignant=params.grade(rating),
        rating=rating,
        readers=len(group),
        excluded=len(group) < params.consensus,
    )
    return nodule, [ring for p in group for ring in p.rings]


def _point(uid: str, placed: Placed) -> Nodule:
    """A mark without an outline: neither nodule nor background."""
    center = tuple(map(float, placed.center_lps_mm))
    kind = "below 3 mm" if placed.reading.kind == "small" else "no nodule"
    return Nodule(uid, center, UNMEASURED, readers=1, excluded=True, kind=kind)  # type: ignore[arg-type]


def _with_row(nodule: Nodule, row: int) -> Nodule:
    from dataclasses import replace

    return replace(nodule, row=row)
