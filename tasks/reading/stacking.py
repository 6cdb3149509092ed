"""How slices stack: along their normal, what repeats, what is missing, how uneven, how far they lean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAME_PLACE_MM = 0.01
UNEVEN_SHARE, UNEVEN_MM = 0.02, 0.02  # of the step: headers round, tables are not exact
STRAIGHT_DEG = 0.05  # 0.3 mm over a chest
STRAIGHT_PIXELS = 0.1


@dataclass(frozen=True)
class Stack:
    """Slices against the line through the first along the normal.

    along_mm     ``[n]`` ascending distances from the first slice
    sideways_mm  ``[n, 2]`` shifts in the plane: down a column, along a row (y, x)
    normal       unit vector (LPS) from the first slice to the last
    """

    along_mm: NDArray[np.float64]
    sideways_mm: NDArray[np.float64]
    normal: NDArray[np.float64]

    @classmethod
    def of(cls, places_lps_mm: NDArray[np.float64], row: tuple[float, ...], column: tuple[float, ...]) -> Stack:
        steps = places_lps_mm - places_lps_mm[0]
        normal = np.cross(row, column)
        if steps[-1] @ normal < 0:
            normal = -normal
        return cls(steps @ normal, np.stack([steps @ np.array(column), steps @ np.array(row)], axis=1), normal)

    def repeated(self) -> NDArray[np.bool_]:
        """True for a slice that lies where the one before it lies."""
        return np.concatenate([[False], np.diff(self.along_mm) < SAME_PLACE_MM])

    def lean_deg(self) -> float:
        """Angle between the line through the slices' corners and the normal."""
        return float(np.degrees(np.arctan2(np.linalg.norm(self.sideways_mm[-1]), self.along_mm[-1])))

    def wobble_mm(self) -> float:
        """How far a slice's corner lies off the straight line through the first and the last."""
        line = self.along_mm[:, None] / self.along_mm[-1] * self.sideways_mm[-1]
        return float(np.abs(self.sideways_mm - line).max())

    def straight(self, spacing_yx: tuple[float, float]) -> bool:
        return self.lean_deg() <= STRAIGHT_DEG and self.wobble_mm() <= STRAIGHT_PIXELS * min(spacing_yx)


@dataclass(frozen=True)
class Levels:
    """Where slices lie on an even grid along the normal.

    step_mm   of the grid; count: its planes; at: ``[n]`` fractional plane of each slice
    even      every slice lies on a plane (planes without a slice are missing ones)
    missing   planes, from 0, that no slice lies on; widest: of them in one gap
    """

    step_mm: float
    count: int
    at: NDArray[np.float64]
    even: bool
    missing: tuple[int, ...]
    widest: int


def levels(along_mm: NDArray[np.float64]) -> Levels:
    """The even grid that fits ascending distances, at their median step."""
    steps = np.diff(along_mm)
    median = float(np.median(steps))
    skipped = np.maximum(np.rint(steps / median).astype(int) - 1, 0)
    plane = np.concatenate([[0], np.cumsum(skipped + 1)])
    step = float(along_mm[-1] / plane[-1])
    off = np.abs(along_mm - plane * step).max()
    if off <= max(UNEVEN_SHARE * step, UNEVEN_MM):
        missing = tuple(sorted(set(range(int(plane[-1]) + 1)) - set(plane.tolist())))
        return Levels(step, int(plane[-1]) + 1, plane.astype(np.float64), True, missing, int(skipped.max()))
    count = max(2, round(along_mm[-1] / median) + 1)
    step = float(along_mm[-1] / (count - 1))
    return Levels(step, count, along_mm / step, False, (), int(skipped.max()))
