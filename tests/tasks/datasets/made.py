"""Data sets in memory and readings as LIDC-IDRI writes them, for tests that need no pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from artifacts.geometry import Geometry
from tasks.datasets.raw import Entry, RawDataset
from tasks.datasets.splits import identity_of

GRID = Geometry((100, 256, 256), (2.0, 1.0, 1.0), (-128.0, -128.0, -200.0))  # z -200 .. -2
HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm"


def uid(k: int) -> str:
    return f"1.2.826.0.1.3680043.{100_000 + k}.1"


def table_of(rows: Iterable[str], header: str = HEADER, sep: str = ",") -> bytes:
    return ("\n".join([header, *rows]) + "\n").replace(",", sep).encode()


def raw(
    scans: int = 3, rows: Sequence[str] | None = None, layout: str = "luna16", patients: Sequence[str] = (), **tables: bytes
) -> RawDataset:
    """``scans`` scans on one grid; one nodule of 8 mm in each unless ``rows`` of annotations are given."""
    entries = [
        Entry(
            uid(k),
            identity_of(patients[k] if patients else uid(k)),
            GRID.shape_zyx[0],
            GRID,
            k % 10 if layout == "luna16" else None,
        )
        for k in range(scans)
    ]
    rows = [f"{uid(k)},10,20,-100,8" for k in range(scans)] if rows is None else rows
    return RawDataset(layout, entries, {"annotations": table_of(rows)} | tables)


def reading_xml(series: str, sessions: Sequence[Sequence[str]], more: str = "") -> bytes:
    """One file of the radiologists: per reader what ``nodule`` and ``non_nodule`` give."""
    body = "".join(f"<readingSession>{''.join(found)}</readingSession>" for found in sessions)
    header = f"<ResponseHeader><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>"
    return f'<?xml version="1.0"?>{more}<LidcReadMessage xmlns="http://www.nih.gov">{header}{body}</LidcReadMessage>'.encode()


def nodule(rings: Iterable[tuple[float, Sequence[tuple[float, float]], bool]], malignancy: int | None = 3) -> str:
    """rings: (z in mm, points (x, y), is it a hole)."""
    rois = "".join(
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>1.2.{abs(z)}</imageSOP_UID>"
        f"<inclusion>{'FALSE' if hole else 'TRUE'}</inclusion>"
        + "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
        + "</roi>"
        for z, points, hole in rings
    )
    rating = "" if malignancy is None else f"<characteristics><malignancy>{malignancy}</malignancy></characteristics>"
    return f"<unblindedReadNodule><noduleID>1</noduleID>{rating}{rois}</unblindedReadNodule>"


def non_nodule(z: float, x: float, y: float) -> str:
    locus = f"<locus><xCoord>{x}</xCoord><yCoord>{y}</yCoord></locus>"
    return f"<nonNodule><imageZposition>{z}</imageZposition><imageSOP_UID>1.2.9</imageSOP_UID>{locus}</nonNodule>"


def square(x: float, y: float, half: int) -> list[tuple[float, float]]:
    """The ring of pixels around a square of 2 half - 1 pixels a side."""
    side = range(-half, half)
    return (
        [(x + k, y - half) for k in side]
        + [(x + half, y + k) for k in side]
        + [(x - k, y + half) for k in side]
        + [(x - half, y - k) for k in side]
    )


def cube_xml(series: str) -> bytes:
    """Three readers who agree on one nodule of 9 x 9 pixels in three slices."""
    return reading_xml(series, [[nodule([(z, square(60, 60, 5), False) for z in (-60, -58, -56)])]] * 3)
