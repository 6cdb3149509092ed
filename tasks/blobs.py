"""Blobs: small bright round places in the lungs, told from vessels by their curvature alone; no network is asked.

A network that looks at slices overlooks some nodules of a few millimetres. A filter of second derivatives sees most of them: a
blob falls off along all three axes, a vessel along two. It proposes far too many, which the nodule classifier is to tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from artifacts.lungmask import LungMask
from artifacts.volume import Volume
from tasks.balls import box_of
from tasks.peaks import apart

GRID_MM = 1.0
MOST_VOXELS = 250_000_000  # of the grid: a larger box gets coarser ones
SCALES_MM = (1.2, 1.7, 2.4)  # sigma: a ball answers most where its diameter is 2 sqrt(3) times that, so 4 to 8 mm
WINDOW_HU = (-1000, 200)  # whole numbers: clipping leaves int16 as it is
BEYOND_MM = 1.0  # the outline: nodules on the pleura
LEAST_HU = 60.0  # sigma^2 times the Laplacian; lower is noise
APART_MM = 4.0

Places = NDArray[np.float64]
Heights = NDArray[np.float32]


def blobs(volume: Volume, lung_mask: LungMask, most: int) -> tuple[Places, NDArray[np.float64]]:
    """Up to ``most`` blobs in the outlined lungs, the clearest first: ``[n, 3]`` z, y, x in voxels, and radii ``[n]`` in mm.

    Where no lung is outlined there is none. A box of more than ``MOST_VOXELS`` is searched on a coarser grid.

    Clear is where l3^2 / |l1| is high at one of three scales, l1 <= l2 <= l3 < 0 the eigenvalues of the Hessian (the dot filter
    of Li, Sone and Doi, Medical Physics 30, 2003): in a ball as high as its contrast, in a tube, where l3 is nearly 0, low.
    """
    grid = _grid(volume, lung_mask) if most else None
    if grid is None:
        return np.zeros((0, 3)), np.zeros(0)
    found = [_maxima(grid, sigma) for sigma in SCALES_MM]
    places, clear = (np.concatenate(each) for each in zip(*found, strict=True))
    radii = np.repeat(np.sqrt(3) * np.array(SCALES_MM), [len(c) for _, c in found])
    first = np.argsort(-clear, kind="stable")[: 20 * most]
    first = first[apart(places[first] * grid.step_mm, np.zeros(len(first), np.intp), APART_MM)][:most]
    return (places[first] + 0.5) / grid.zoom - 0.5 + grid.low, radii[first]


@dataclass(frozen=True)
class _Grid:
    """The lungs' box with cubic voxels: hu float32 and inside bool ``[z, y, x]``; low and zoom: where it lies in the scan."""

    hu: Heights
    inside: NDArray[np.bool_]
    step_mm: float
    low: NDArray[np.int_]
    zoom: NDArray[np.float64]


def _grid(volume: Volume, lung_mask: LungMask) -> _Grid | None:
    """None where no lung is outlined."""
    import torch
    from scipy.ndimage import binary_dilation
    from torch.nn.functional import interpolate

    lungs, spacing = lung_mask.labels > 0, np.array(volume.geometry.spacing_zyx)
    if not lungs.any():
        return None
    box = box_of(lungs, tuple(int(np.ceil(3 * SCALES_MM[-1] / d)) for d in spacing))
    extent = np.array([s.stop - s.start for s in box])
    mm = extent * spacing
    step = max(GRID_MM, float(np.cbrt(mm.prod() / MOST_VOXELS)))
    shape = tuple(int(n) for n in np.maximum(np.rint(mm / step), 1))

    def resampled(voxels: NDArray[np.float32]) -> Heights:
        return np.asarray(interpolate(torch.from_numpy(voxels)[None, None], shape, mode="trilinear")[0, 0].numpy())

    inside = binary_dilation(resampled(lungs[box].astype(np.float32)) > 0.5, iterations=max(1, round(BEYOND_MM / step)))
    hu = resampled(np.clip(volume.hu[box], *WINDOW_HU).astype(np.float32))
    return _Grid(hu, inside, step, np.array([s.start for s in box]), np.array(shape) / extent)


def _maxima(grid: _Grid, sigma_mm: float) -> tuple[NDArray[np.intp], Heights]:
    """Places ``[n, 3]`` on the grid, and how clear the blob in each is."""
    from scipy.ndimage import gaussian_filter

    sigma = sigma_mm / grid.step_mm
    hu = gaussian_filter(grid.hu, sigma, mode="nearest", truncate=3.0)
    flat, strides = hu.ravel(), np.array(hu.strides) // hu.itemsize
    inner = np.zeros_like(grid.inside)
    inner[1:-1, 1:-1, 1:-1] = grid.inside[1:-1, 1:-1, 1:-1]
    at = np.flatnonzero(inner)
    straight: list[Heights] = []
    for step in strides:  # most voxels fall out here
        second = flat[at + step] + flat[at - step] - 2 * flat[at]
        falls = second < 0
        at, straight = at[falls], [d[falls] for d in (*straight, second)]
    mixed = [(flat[at + a + b] + flat[at - a - b] - flat[at + a - b] - flat[at - a + b]) / 4 for a, b in combinations(strides, 2)]
    weakest, strongest = _outer_eigenvalues(np.float32(sigma**2) * np.stack([*straight, *mixed]))
    blob = (weakest < 0) & (-(sigma**2) * np.sum(straight, axis=0) > LEAST_HU)
    at, clear = at[blob], weakest[blob] ** 2 / -strongest[blob]
    dense = np.zeros_like(flat)
    dense[at] = clear
    for around in product((-1, 0, 1), repeat=3):
        highest = clear >= dense[at + int(np.array(around) @ strides)]
        at, clear = at[highest], clear[highest]
    return np.stack(np.unravel_index(at, hu.shape), axis=1), clear


def _outer_eigenvalues(hessian: Heights) -> tuple[Heights, Heights]:
    """Highest and lowest of each symmetric matrix ``[zz, yy, xx, zy, zx, yx]`` (Smith, Communications of the ACM, 1961)."""
    zz, yy, xx, zy, zx, yx = hessian
    mean = (zz + yy + xx) / 3
    a, b, c = zz - mean, yy - mean, xx - mean
    spread = np.sqrt((a * a + b * b + c * c + 2 * (zy * zy + zx * zx + yx * yx)) / 6)
    det = a * (b * c - yx * yx) - zy * (zy * c - yx * zx) + zx * (zy * yx - b * zx)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.arccos(np.clip(np.nan_to_num(det / (2 * spread**3)), -1, 1)) / 3
    return mean + 2 * spread * np.cos(angle), mean + 2 * spread * np.cos(angle + 2 * np.pi / 3)
