"""Where voxels are in the patient.

Indices are ``(z, y, x)`` (the book's ``irc``), patient coordinates are LPS millimetres ``(x, y, z)`` as in DICOM. Integer
indices are voxel centres. Any orientation is allowed, oblique and flipped included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """A regular voxel grid in the patient.

    shape_zyx       number of voxels along z, y, x
    spacing_zyx     millimetres between voxel centres along z, y, x; all > 0
    origin_lps_mm   LPS position (x, y, z) of the centre of voxel (0, 0, 0)
    directions_zyx  three unit vectors in LPS: where one step along z, along y, along x goes
    """

    shape_zyx: tuple[int, int, int]
    spacing_zyx: Vector
    origin_lps_mm: Vector
    directions_zyx: tuple[Vector, Vector, Vector] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))

    def __post_init__(self) -> None:
        if min(self.shape_zyx) < 1 or not all(np.isfinite(self.spacing_zyx)) or min(self.spacing_zyx) <= 0:
            raise ValueError(f"a grid needs a positive shape and spacing, not {self.shape_zyx} and {self.spacing_zyx} mm")
        if not np.isfinite(self.origin_lps_mm).all() or abs(np.linalg.det(np.array(self.directions_zyx))) < 1e-3:
            raise ValueError("a grid needs a finite origin and three independent directions")

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """3x3: column k is the LPS step in millimetres of one index along axis k of (z, y, x)."""
        return (np.array(self.directions_zyx, dtype=np.float64) * np.array(self.spacing_zyx)[:, None]).T

    @cached_property
    def inverse(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)

    def lps_mm_from_zyx(self, zyx: ArrayLike) -> NDArray[np.float64]:
        """LPS millimetres (..., 3) of (possibly fractional) indices (..., 3)."""
        return np.asarray(zyx, dtype=np.float64) @ self.matrix.T + np.array(self.origin_lps_mm)

    def zyx_from_lps_mm(self, lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Fractional indices (..., 3) of LPS positions (..., 3)."""
        return (np.asarray(lps_mm, dtype=np.float64) - np.array(self.origin_lps_mm)) @ self.inverse.T

    @property
    def voxel_mm3(self) -> float:
        return float(abs(np.linalg.det(self.matrix)))

    @cached_property
    def patient_axes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """For patient x, y, z: (array axis that runs most along it, +1 or -1), each array axis used once."""
        weight = np.array(self.directions_zyx, dtype=np.float64)  # [array axis, patient axis]
        best = max(
            ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)),
            key=lambda order: sum(abs(weight[order[p], p]) for p in range(3)),
        )
        return tuple((best[p], 1 if weight[best[p], p] >= 0 else -1) for p in range(3))  # type: ignore[return-value]

    def coarser(self, step_zyx: tuple[int, int, int]) -> Geometry:
        """The grid of every ``step``-th voxel, starting with the first."""
        shape = tuple(-(-n // s) for n, s in zip(self.shape_zyx, step_zyx, strict=True))
        spacing = tuple(d * s for d, s in zip(self.spacing_zyx, step_zyx, strict=True))
        return Geometry(shape, spacing, self.origin_lps_mm, self.directions_zyx)  # type: ignore[arg-type]

    def to_dict(self) -> dict:
        return {
            "shape_zyx": list(self.shape_zyx),
            "spacing_zyx": list(self.spacing_zyx),
            "origin_lps_mm": list(self.origin_lps_mm),
            "directions_zyx": [list(d) for d in self.directions_zyx],
        }

    @classmethod
    def from_dict(cls, d: dict) -> Geometry:
        return cls(
            tuple(int(n) for n in d["shape_zyx"]),  # type: ignore[arg-type]
            tuple(float(v) for v in d["spacing_zyx"]),  # type: ignore[arg-type]
            tuple(float(v) for v in d["origin_lps_mm"]),  # type: ignore[arg-type]
            tuple(tuple(float(v) for v in row) for row in d["directions_zyx"]),  # type: ignore[arg-type]
        )
