"""Label maps that come with a data set: which voxels are which nodule, in any image format, on any grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry
from tasks.reading.images import image_series
from tasks.reading.read import read_scan


@dataclass(frozen=True)
class LabelMap:
    """A file with its content's digest. A voxel's value is 1 + the row of its nodule in the table, 0 outside of all."""

    path: Path
    digest: str

    def on(self, grid: Geometry) -> NDArray[np.uint16]:
        """uint16 ``[z, y, x]`` on ``grid``: of each voxel the nearest label. Raises InputError where the file cannot be read."""
        raw = read_scan(image_series(self.path), labels=True)
        step = (raw.places_lps_mm[-1] - raw.places_lps_mm[0]) / max(len(raw.hu) - 1, 1)
        length = float(np.linalg.norm(step)) or 1.0
        directions = (tuple(step / length) if step.any() else (0.0, 0.0, 1.0), raw.column_lps, raw.row_lps)
        own = Geometry(raw.hu.shape, (length, *raw.spacing_yx), tuple(raw.places_lps_mm[0]), directions)  # type: ignore[arg-type]
        labels = np.maximum(raw.hu, 0).astype(np.uint16)
        same = own.shape_zyx == grid.shape_zyx and np.allclose(own.matrix, grid.matrix, atol=1e-3)
        if same and np.allclose(own.origin_lps_mm, grid.origin_lps_mm, atol=1e-2):
            return labels
        return _nearest(labels, own, grid)


def read_digest(path: Path) -> str:
    """Of the voxels and where they lie."""
    return read_scan(image_series(path), labels=True).digest()


def _nearest(labels: NDArray[np.uint16], own: Geometry, grid: Geometry) -> NDArray[np.uint16]:
    out = np.zeros(grid.shape_zyx, np.uint16)
    y, x = np.meshgrid(np.arange(grid.shape_zyx[1]), np.arange(grid.shape_zyx[2]), indexing="ij")
    for z in range(len(out)):
        places = grid.lps_mm_from_zyx(np.stack([np.full_like(y, z), y, x], axis=-1))
        at = np.rint(own.zyx_from_lps_mm(places)).astype(int)
        inside = ((at >= 0) & (at < labels.shape)).all(axis=-1)
        at = np.clip(at, 0, np.array(labels.shape) - 1)
        out[z] = np.where(inside, labels[at[..., 0], at[..., 1], at[..., 2]], 0)
    return out
