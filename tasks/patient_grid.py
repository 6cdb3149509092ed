"""A coarse copy of a volume whose axes run along the patient, whatever way the scan was stored, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry

T = TypeVar("T", bound=np.generic)


def patient_view(array: NDArray[T], geometry: Geometry) -> NDArray[T]:
    """The same voxels, without copying, indexed along the patient: [to the head, to the back, to the left]."""
    (x, sx), (y, sy), (z, sz) = geometry.patient_axes
    return array.transpose(z, y, x)[::sz, ::sy, ::sx]


def patient_spacing(geometry: Geometry) -> tuple[float, float, float]:
    """Millimetres between voxel centres along the axes of ``patient_view``."""
    (x, _), (y, _), (z, _) = geometry.patient_axes
    return geometry.spacing_zyx[z], geometry.spacing_zyx[y], geometry.spacing_zyx[x]


@dataclass(frozen=True)
class CoarseGrid:
    """Blocks of ``step`` voxels along each axis of the patient view; the last block of an axis may stick out."""

    fine_shape: tuple[int, int, int]
    step: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, geometry: Geometry, target_mm: float) -> CoarseGrid:
        (x, _), (y, _), (z, _) = geometry.patient_axes
        fine = patient_spacing(geometry)
        shape = tuple(geometry.shape_zyx[a] for a in (z, y, x))
        step = tuple(min(max(1, round(target_mm / d)), n) for d, n in zip(fine, shape, strict=True))
        spacing = tuple(d * s for d, s in zip(fine, step, strict=True))
        return cls(shape, step, spacing)  # type: ignore[arg-type]

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm) / 1000)

    def means(self, fine: NDArray[np.int16]) -> NDArray[np.float32]:
        """The mean of four voxels (two along each in-plane axis) of the middle plane of each block: quiet enough, and quick."""
        planes, rows, columns = (self._samples(axis, 2 if axis else 1) for axis in range(3))
        total = np.zeros(tuple(len(s[0]) for s in (planes, rows, columns)), dtype=np.int32)
        for i, plane in enumerate(planes[0]):
            for r in rows:
                lines = fine[plane][r]
                for c in columns:
                    total[i] += lines[:, c]
        return total.astype(np.float32) / np.float32(len(rows) * len(columns))

    def _samples(self, axis: int, count: int) -> list[NDArray[np.intp]]:
        n, step = self.fine_shape[axis], self.step[axis]
        places = {(step - 1) // 2} if count == 1 else {(step - 1) // 4, step - 1 - (step - 1) // 4}
        return [np.minimum(np.arange(0, n, step) + p, n - 1) for p in sorted(places)]

    def weights(self, axis: int) -> NDArray[np.float32]:
        """``[fine, coarse]``: linear interpolation between the middles of blocks along one axis, constant beyond the ends."""
        n, step = self.fine_shape[axis], self.step[axis]
        blocks = -(-n // step)
        place = np.clip((np.arange(n) - (step - 1) / 2) / step, 0, blocks - 1)
        low = np.minimum(place.astype(np.intp), max(blocks - 2, 0))
        matrix = np.zeros((n, blocks), dtype=np.float32)
        matrix[np.arange(n), low] = 1
        if blocks > 1:
            matrix[np.arange(n), low] -= (place - low).astype(np.float32)
            matrix[np.arange(n), low + 1] = (place - low).astype(np.float32)
        return matrix
