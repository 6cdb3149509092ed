"""Planes: axial, coronal and sagittal cuts through a grid, turned the way a radiologist looks at them.

Radiological convention: the patient's right is on the left of the picture; the front is up in axial cuts and on the left in
sagittal ones; the head is up in coronal and sagittal cuts. An oblique grid is cut along the axes nearest to the patient's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from artifacts.geometry import Geometry

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")

_X, _Y, _Z = 0, 1, 2  # patient axes: to the left, to the back, to the head
_LAYOUT: dict[Plane, tuple[int, int, int]] = {"axial": (_Z, _Y, _X), "coronal": (_Y, _Z, _X), "sagittal": (_X, _Z, _Y)}
_MINUS, _PLUS = "RAF", "LPH"  # what lies at the low and the high end of each patient axis


@dataclass(frozen=True)
class Cut:
    """One plane of a grid. ``index`` counts along the patient axis that the plane stands on: to the left, back or head."""

    geometry: Geometry
    plane: Plane
    index: int

    @classmethod
    def through(cls, geometry: Geometry, plane: Plane, zyx: ArrayLike) -> Cut:
        """The plane nearest to a (fractional) voxel position, kept inside the grid."""
        normal = _LAYOUT[plane][0]
        axis, sign = geometry.patient_axes[normal]
        n = geometry.shape_zyx[axis]
        index = min(max(int(np.floor(np.asarray(zyx, dtype=float)[axis] + 0.5)), 0), n - 1)
        return cls(geometry, plane, index if sign > 0 else n - 1 - index)

    @classmethod
    def at_share(cls, geometry: Geometry, plane: Plane, share: float) -> Cut:
        """0: the rightmost, front or lowest plane; 1: the leftmost, back or highest."""
        n = geometry.shape_zyx[geometry.patient_axes[_LAYOUT[plane][0]][0]]
        return cls(geometry, plane, min(max(round(share * (n - 1)), 0), n - 1))

    @cached_property
    def _axes(self) -> tuple[tuple[int, bool], tuple[int, bool], tuple[int, bool]]:
        """(array axis, whether it is walked backwards) along the normal, down the rows, along the columns."""
        found = []
        for role, patient in enumerate(_LAYOUT[self.plane]):
            axis, sign = self.geometry.patient_axes[patient]
            down_from_head = role == 1 and patient == _Z
            found.append((axis, (sign < 0) != down_from_head))
        return tuple(found)  # type: ignore[return-value]

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """``[row, column]`` of a ``[z, y, x]`` array on this grid, as seen; a view, nothing is copied."""
        (normal, back), (rows, rows_back), (columns, columns_back) = self._axes
        at = self.geometry.shape_zyx[normal] - 1 - self.index if back else self.index
        seen = np.moveaxis(array, (normal, rows, columns), (0, 1, 2))[at]
        return seen[:: -1 if rows_back else 1, :: -1 if columns_back else 1]

    def place(self, zyx: ArrayLike) -> tuple[float, float]:
        """(row, column) of a voxel position, projected on the plane."""
        position = np.asarray(zyx, dtype=float)
        (_, *both) = self._axes
        row, column = (self.geometry.shape_zyx[a] - 1 - position[a] if back else position[a] for a, back in both)
        return float(row), float(column)

    @property
    def shape(self) -> tuple[int, int]:
        (_, (rows, _), (columns, _)) = self._axes
        return self.geometry.shape_zyx[rows], self.geometry.shape_zyx[columns]

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Millimetres from row to row and from column to column."""
        (_, (rows, _), (columns, _)) = self._axes
        return self.geometry.spacing_zyx[rows], self.geometry.spacing_zyx[columns]

    @property
    def stands_on(self) -> int:
        """The array axis along the plane's normal."""
        return self._axes[0][0]

    @property
    def array_index(self) -> int:
        """The plane's index along the array axis that it stands on."""
        normal, back = self._axes[0]
        return self.geometry.shape_zyx[normal] - 1 - self.index if back else self.index

    @property
    def edges(self) -> tuple[str, str]:
        """The patient's directions at the left and at the right of the picture: R L, or A P."""
        columns = _LAYOUT[self.plane][2]
        return _MINUS[columns], _PLUS[columns]
