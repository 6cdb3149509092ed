"""Connected suspicious voxels as one flat list, described by sums over it: the volume is looked at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry
from artifacts.lumps import Lump
from artifacts.lungmask import LungMask
from tasks.pleura import pleura_distance_mm


@dataclass(frozen=True)
class Components:
    """The voxels of ``count`` components, one entry a voxel, in rising order of ``flat``.

    flat        index into a box of ``shape`` that is one voxel wider than the components on each side
    zyx         index ``[n, 3]`` into the volume
    weight      heat map there, 0..255
    of          which component: 0 … count-1, by falling peak, then falling volume, then first voxel
    """

    shape: tuple[int, int, int]
    corner_zyx: tuple[int, int, int]
    flat: NDArray[np.intp]
    zyx: NDArray[np.intp]
    weight: NDArray[np.uint8]
    of: NDArray[np.intp]
    count: int

    def sums(self, values: NDArray[Any] | None = None) -> NDArray[np.float64]:
        return np.bincount(self.of, weights=values, minlength=self.count).astype(np.float64)

    def flat_of(self, zyx: NDArray[np.intp]) -> NDArray[np.intp]:
        """Where voxels of the volume (inside the box) are in the box."""
        return np.ravel_multi_index(tuple((zyx - self.corner_zyx).T), self.shape)


def find_components(heat: NDArray[np.uint8], above: int, least_voxels: float) -> Components:
    """26-connected voxels of ``heat`` ``[z, y, x]`` greater than ``above``; components below ``least_voxels`` are dropped."""
    import cc3d

    everywhere = heat > above
    zyx = np.stack(np.unravel_index(np.flatnonzero(everywhere), heat.shape), axis=1)
    if not len(zyx):
        none = np.zeros(0, dtype=np.intp)
        return Components((1, 1, 1), (0, 0, 0), none, none.reshape(0, 3), none.astype(np.uint8), none, 0)
    corner = zyx.min(axis=0) - 1
    mask = np.pad(everywhere[tuple(slice(a + 1, b + 1) for a, b in zip(corner, zyx.max(axis=0), strict=True))], 1)
    flat = np.ravel_multi_index(tuple((zyx - corner).T), mask.shape)
    of = cc3d.connected_components(mask, connectivity=26).ravel()[flat].astype(np.intp) - 1
    kept = np.bincount(of) >= least_voxels
    chosen = kept[of]
    flat, zyx, of = flat[chosen], zyx[chosen], (np.cumsum(kept) - 1)[of[chosen]]
    weight = heat[tuple(zyx.T)]
    count = int(kept.sum())
    peak = np.zeros(count, dtype=np.uint8)
    np.maximum.at(peak, of, weight)
    order = np.lexsort((np.arange(count), -np.bincount(of, minlength=count), -peak.astype(int)))
    return Components(mask.shape, tuple(corner.tolist()), flat, zyx, weight, np.argsort(order)[of], count)  # type: ignore[arg-type]


def describe(found: Components, lung_mask: LungMask, geometry: Geometry) -> list[Lump]:
    """Every component's measures; all sums run over all components at once."""
    size, mass = found.sums(), found.sums(found.weight)
    center = np.stack([found.sums(found.weight * found.zyx[:, a]) for a in range(3)], axis=1) / mass[:, None]
    center_lps = geometry.lps_mm_from_zyx(center)
    axes = _axes_mm(found, size, geometry)
    volume = size * geometry.voxel_mm3
    peak = np.zeros(found.count, dtype=np.uint8)
    np.maximum.at(peak, found.of, found.weight)
    pleura = pleura_distance_mm(lung_mask, center)
    return [
        Lump(
            id=i + 1,
            center_zyx=tuple(center[i].tolist()),
            center_lps_mm=tuple(center_lps[i].tolist()),
            volume_mm3=float(volume[i]),
            long_axis_mm=float(axes[i, 2]),
            short_axis_mm=float(axes[i, 0]),
            equivalent_diameter_mm=float(np.cbrt(6 * volume[i] / np.pi)),
            peak_probability=float(peak[i]) / 255,
            mean_probability=float(mass[i] / size[i]) / 255,
            pleura_distance_mm=float(pleura[i]),
        )
        for i in range(found.count)
    ]


def _axes_mm(found: Components, size: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """``[count, 3]``, rising: 4 sqrt(eigenvalue) of the covariance of the space that the voxels fill."""
    middle = np.stack([found.sums(found.zyx[:, a]) for a in range(3)], axis=1) / size[:, None]
    off = found.zyx - middle[found.of]
    covariance = np.empty((found.count, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            covariance[:, a, b] = covariance[:, b, a] = found.sums(off[:, a] * off[:, b]) / size
    covariance += np.eye(3) / 12  # a voxel is a box, not a point
    mm = geometry.matrix @ covariance @ geometry.matrix.T
    return 4 * np.sqrt(np.maximum(np.linalg.eigvalsh(mm), 0))
