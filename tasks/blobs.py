"""Blobs: small bright round places in the lungs, told from vessels by their curvature alone; no network is asked.

A network that looks at slices overlooks nodules of a few millimetres on a vessel. A filter of the second derivatives sees them: a
blob is convex along all three axes, a vessel along two. It proposes far too many; a classifier that has learnt on blobs tells them.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry
from artifacts.lungmask import LungMask
from artifacts.volume import Volume
from tasks.peaks import apart

GRID_MM = 1.0
MOST_VOXELS = 250_000_000  # of the grid; a larger box gets coarser ones
SCALES_MM = (1.2, 1.7, 2.4)  # sigma: a ball of diameter d answers most at d / (2 sqrt 3), so 4 to 8 mm
WINDOW_HU = (-1000.0, 200.0)
BEYOND_MM = 1.0  # beyond the outline: nodules on the pleura
LEAST_HU = 60.0  # sigma^2 times the Laplacian; noise is below
APART_MM = 4.0


def blobs(volume: Volume, lung_mask: LungMask, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Up to ``most`` blobs in the outlined lungs, the clearest first: float64 ``[n, 3]`` z, y, x in voxels, and radii in mm.

    A blob is a maximum of the Laplacian of Gaussian (Lindeberg, 1998), at one of three scales, where all three eigenvalues of the
    Hessian are negative; it is the clearer the larger l3^2 / |l1|, l3 the one nearest to zero (Li, Sone and Doi, 2003).
    """
    grid = _Grid.of(volume, lung_mask)
    if grid is None or not most:
        return np.zeros((0, 3)), np.zeros(0)
    found = [_maxima(grid, sigma) for sigma in SCALES_MM]
    places, clear = np.concatenate([p for p, _ in found]), np.concatenate([c for _, c in found])
    radii = np.repeat(np.sqrt(3) * np.array(SCALES_MM), [len(c) for _, c in found])
    first = np.argsort(-clear, kind="stable")[: 20 * most]
    first = first[apart(places[first] * grid.step_mm, np.zeros(len(first), np.intp), APART_MM)][:most]
    return grid.zyx(places[first]), radii[first]


class _Grid:
    """The lungs' box at ``GRID_MM``: hu float32 ``[z, y, x]``, inside bool."""

    def __init__(
        self, hu: NDArray[np.float32], inside: NDArray[np.bool_], low: NDArray[np.int_], zoom: NDArray[np.float64], step: float
    ):
        self.hu, self.inside, self.low, self.zoom, self.step_mm = hu, inside, low, zoom, step

    @classmethod
    def of(cls, volume: Volume, lung_mask: LungMask) -> _Grid | None:
        import torch
        from scipy.ndimage import binary_dilation

        box = _box(lung_mask.labels > 0, volume.geometry)
        if box is None:
            return None
        spacing = np.array(volume.geometry.spacing_zyx)
        hu = np.clip(volume.hu[box], *WINDOW_HU).astype(np.float32)
        mm = np.array(hu.shape) * spacing
        step = max(GRID_MM, float(np.cbrt(mm.prod() / MOST_VOXELS)))
        shape = tuple(int(n) for n in np.maximum(np.rint(mm / step), 1))
        lungs = (lung_mask.labels[box] > 0).astype(np.float32)

        def resampled(a: NDArray[np.float32]) -> NDArray[np.float32]:
            made: NDArray[np.float32] = torch.nn.functional.interpolate(torch.from_numpy(a)[None, None], shape, mode="trilinear")[
                0, 0
            ].numpy()
            return made

        inside = binary_dilation(resampled(lungs) > 0.5, iterations=max(1, round(BEYOND_MM / step)))
        return cls(resampled(hu), inside, np.array([s.start for s in box]), np.array(shape) / hu.shape, step)

    def zyx(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Voxels of the scan."""
        return np.asarray((places + 0.5) / self.zoom - 0.5 + self.low)


def _box(lungs: NDArray[np.bool_], geometry: Geometry) -> tuple[slice, ...] | None:
    """Around the lungs, with room for the largest scale."""
    if not lungs.any():
        return None
    low, high = [], []
    for axis in range(3):
        along = np.flatnonzero(lungs.any(axis=tuple(a for a in range(3) if a != axis)))
        room = int(np.ceil(3 * SCALES_MM[-1] / geometry.spacing_zyx[axis]))
        low.append(max(0, int(along[0]) - room))
        high.append(min(lungs.shape[axis], int(along[-1]) + 1 + room))
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _maxima(grid: _Grid, sigma_mm: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Places ``[n, 3]`` on the grid and how clear they are."""
    from scipy.ndimage import gaussian_filter

    sigma = sigma_mm / grid.step_mm
    hu = gaussian_filter(grid.hu, sigma, mode="nearest", truncate=3.0)
    flat, strides = hu.ravel(), np.array(hu.strides) // hu.itemsize
    inner = np.zeros_like(grid.inside)
    inner[1:-1, 1:-1, 1:-1] = grid.inside[1:-1, 1:-1, 1:-1]
    at = np.flatnonzero(inner)
    second = []
    for step in strides:  # a blob is convex along every axis
        along = flat[at + step] + flat[at - step] - 2 * flat[at]
        convex = along < 0
        at, second = at[convex], [d[convex] for d in (*second, along)]
    mixed = [flat[at + a + b] + flat[at - a - b] - flat[at + a - b] - flat[at - a + b] for a, b in combinations(strides, 2)]
    weakest, strongest = _extreme_eigenvalues(sigma**2 * np.stack([*second, *(m / 4 for m in mixed)]))
    clear = np.where((weakest < 0) & (sigma**2 * sum(second) < -LEAST_HU), weakest**2 / -strongest, 0)
    dense = np.zeros_like(flat)
    dense[at] = clear
    for step in product((-1, 0, 1), repeat=3):
        around = int(np.array(step) @ strides)
        if around:
            kept = (clear > 0) & (clear >= dense[at + around])
            at, clear = at[kept], clear[kept]
    return np.stack(np.unravel_index(at, hu.shape), axis=1), clear


def _extreme_eigenvalues(hessian: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The highest and lowest eigenvalue of ``[zz, yy, xx, zy, zx, yx]`` (Smith, 1961)."""
    zz, yy, xx, zy, zx, yx = hessian
    mean = (zz + yy + xx) / 3
    a, b, c = zz - mean, yy - mean, xx - mean
    spread = np.sqrt((a * a + b * b + c * c + 2 * (zy * zy + zx * zx + yx * yx)) / 6)
    det = a * (b * c - yx * yx) - zy * (zy * c - yx * zx) + zx * (zy * yx - b * zx)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.arccos(np.clip(np.nan_to_num(det / (2 * spread**3)), -1, 1)) / 3
    return mean + 2 * spread * np.cos(angle), mean + 2 * spread * np.cos(angle + 2 * np.pi / 3)
