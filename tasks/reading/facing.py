"""A scan turned to lie as the networks know it: planes to the head, rows to the back, columns to the left. No voxel changes.

How a patient lay and how a file stores its axes is chance; what is found must not depend on it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artifacts.geometry import Vector
from tasks.reading.raw import RawScan


def facing(scan: RawScan) -> RawScan:
    """``scan`` with its axes swapped and reversed until each runs most along the patient's; itself where they do."""
    row, column = np.array(scan.row_lps), np.array(scan.column_lps)
    if abs(row[1]) + abs(column[0]) > abs(row[0]) + abs(column[1]):  # the patient lay on a side
        y, x = scan.spacing_yx
        turned = replace(scan, hu=scan.hu.transpose(0, 2, 1), row_lps=scan.column_lps, column_lps=scan.row_lps, spacing_yx=(x, y))
        return facing(turned)
    hu, places, series = scan.hu, scan.places_lps_mm, scan.series
    (y, x), (_, rows, columns) = scan.spacing_yx, hu.shape
    if row[0] < 0:
        hu, places, row = hu[:, :, ::-1], places + (columns - 1) * x * row, -row
    if column[1] < 0:
        hu, places, column = hu[:, ::-1], places + (rows - 1) * y * column, -column
    if len(places) > 1 and places[-1, 2] < places[0, 2]:
        far = series.slices[-1].position_mm if series.slices else 0.0
        slices = tuple(replace(s, position_mm=round(far - s.position_mm, 6)) for s in reversed(series.slices))
        hu, places, series = hu[::-1], places[::-1], replace(series, slices=slices)
    if hu is scan.hu:
        return scan
    return replace(
        scan,
        hu=np.ascontiguousarray(hu),
        places_lps_mm=np.ascontiguousarray(places),
        row_lps=_vector(row),
        column_lps=_vector(column),
        series=series,
    )


def _vector(v: np.ndarray) -> Vector:
    x, y, z = (float(c) + 0.0 for c in v)  # no minus before a zero
    return x, y, z
