"""LIDC-IDRI's radiologists' XML: four readers' outlines and ratings of one scan.

Armato et al., Medical Physics 38 (2011). Coordinates are pixels of the slice that is named; an outline is the ring of pixels just
outside the nodule (of a hole: just outside the hole).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

MARK = b"LidcReadMessage"
HEAD = 4096
MOST_BYTES = 2**28


@dataclass(frozen=True)
class Contour:
    """One closed ring in one slice. points_xy float64 ``[m, 2]`` pixels; hole: what it encloses is not nodule."""

    sop_uid: str
    z_mm: float
    hole: bool
    points_xy: NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What one reader says of one place.

    kind: nodule (3 mm and more, outlined), small (below 3 mm: a point), none (no nodule).
    """

    reader: int
    kind: str
    malignancy: float | None
    contours: tuple[Contour, ...]


@dataclass(frozen=True)
class ReadScan:
    """All readings of one series; readers: how many looked at it."""

    uid: str
    readers: int
    readings: tuple[Reading, ...]
    problems: tuple[str, ...] = field(default=())

    def digest(self) -> bytes:
        h = hashlib.blake2b(f"{self.uid}{self.readers}{self.problems}".encode(), digest_size=16)
        for r in self.readings:
            h.update(f"{r.reader}{r.kind}{r.malignancy}".encode())
            for c in r.contours:
                h.update(f"{c.sop_uid}{c.z_mm}{c.hole}{len(c.points_xy)}".encode() + c.points_xy.tobytes())
        return h.digest()


def is_reading(path: Path) -> bool:
    """Whether an XML file is a reading of a CT, by its first bytes."""
    with path.open("rb") as f:
        return MARK in f.read(HEAD)


def read_xml(path: Path) -> ReadScan | None:
    """The readings in a file; None where it is no such file, or is damaged, or has entities (nobody's readings have)."""
    if path.stat().st_size > MOST_BYTES:
        return None
    data = path.read_bytes()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or MARK not in data[:HEAD]:
        return None
    try:
        return _scan(ElementTree.fromstring(data))
    except (ElementTree.ParseError, ValueError):
        return None


def _scan(root: Any) -> ReadScan | None:
    uid = next((e.text or "" for e in root.iter() if _tag(e).lower() == "seriesinstanceuid"), "").strip()
    if not uid:
        return None
    sessions = [e for e in root.iter() if _tag(e) == "readingSession"]
    readings: list[Reading] = []
    bad = 0
    for reader, session in enumerate(sessions):
        for element in session:
            if _tag(element) in ("unblindedReadNodule", "nonNodule"):
                try:
                    found = _nodule(element, reader) if _tag(element) == "unblindedReadNodule" else _no_nodule(element, reader)
                except (ValueError, TypeError):
                    bad += 1
                else:
                    readings += [found] if found else []
    problems = (f"{bad} readings of scan {uid} cannot be understood: left out",) if bad else ()
    return ReadScan(uid, len(sessions), tuple(readings), problems)


def _nodule(element: Any, reader: int) -> Reading | None:
    contours = tuple(c for c in (_contour(e) for e in element if _tag(e) == "roi") if c)
    if not contours:
        return None
    rating = next((_text(e) for c in element if _tag(c) == "characteristics" for e in c if _tag(e) == "malignancy"), "")
    outlined = any(len(c.points_xy) > 1 for c in contours)
    malignancy = float(rating) if rating and 1 <= float(rating) <= 5 else None
    return Reading(reader, "nodule" if outlined else "small", malignancy, contours)


def _contour(roi: Any) -> Contour | None:
    points = [(float(_child(e, "xCoord")), float(_child(e, "yCoord"))) for e in roi if _tag(e) == "edgeMap"]
    if not points:
        return None
    hole = _child(roi, "inclusion").upper() == "FALSE"
    return Contour(_child(roi, "imageSOP_UID"), float(_child(roi, "imageZposition")), hole, _finite(points))


def _no_nodule(element: Any, reader: int) -> Reading:
    locus = next(e for e in element if _tag(e) == "locus")
    point = _finite([(float(_child(locus, "xCoord")), float(_child(locus, "yCoord")))])
    contour = Contour(_child(element, "imageSOP_UID"), float(_child(element, "imageZposition")), False, point)
    return Reading(reader, "none", None, (contour,))


def _finite(points: list[tuple[float, float]]) -> NDArray[np.float64]:
    array = np.array(points, np.float64)
    if not np.isfinite(array).all() or np.abs(array).max() > 1e5:
        raise ValueError("a point out of all bounds")
    return array


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: Any) -> str:
    return (element.text or "").strip()


def _child(element: Any, name: str) -> str:
    return next((_text(e) for e in element if _tag(e) == name), "")
