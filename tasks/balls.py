"""Dilation, erosion and closing of masks by balls in millimetres, exact on uneven grids and fast for small balls."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry, Vector

Mask = NDArray[np.bool_]
_FAR = 30000  # squared distances are counted in units of radius^2 / _REACH; far + reach still fits 16 bits
_REACH = 10000


def dilate(mask: Mask, spacing_mm: tuple[float, float, float], radius_mm: float) -> Mask:
    """Every voxel whose centre lies within ``radius_mm`` of the centre of a voxel of ``mask``; nothing lies beyond the array.

    The squared Euclidean distance is separable (Felzenszwalb & Huttenlocher 2012): one pass of minima an axis, no farther
    than the ball reaches.
    """
    squared = np.multiply(~mask, np.uint16(_FAR), dtype=np.uint16)
    for axis, step in enumerate(spacing_mm):
        source = np.moveaxis(squared, axis, 0)
        nearest, farther = source.copy(), np.empty_like(source)
        for k in range(1, min(int(radius_mm / step + 1e-9), len(source) - 1) + 1):
            cost = np.uint16(min(round(_REACH * (k * step / radius_mm) ** 2), _REACH))
            np.add(source, cost, out=farther)
            np.minimum(nearest[k:], farther[:-k], out=nearest[k:])
            np.minimum(nearest[:-k], farther[k:], out=nearest[:-k])
        squared = np.moveaxis(nearest, 0, axis)
    return np.ascontiguousarray(squared <= _REACH)


def erode(mask: Mask, spacing_mm: tuple[float, float, float], radius_mm: float) -> Mask:
    """The voxels farther than ``radius_mm`` from every voxel outside; what lies beyond the array counts as inside."""
    return ~dilate(~mask, spacing_mm, radius_mm)


def close(mask: Mask, spacing_mm: tuple[float, float, float], radius_mm: float) -> Mask:
    """Fill what no ball outside the mask can reach. At the array's faces the mask is taken to go on as it ends."""
    pad = [(int(radius_mm / step) + 1,) * 2 for step in spacing_mm]
    wide = np.pad(mask, pad, mode="edge")
    closed = erode(dilate(wide, spacing_mm, radius_mm), spacing_mm, radius_mm)
    return closed[tuple(slice(a, -b) for a, b in pad)] | mask


def box_of(mask: Mask, margin: tuple[int, ...] = (0, 0, 0)) -> tuple[slice, ...]:
    """The bounding box of a mask that is not empty, wider by ``margin`` voxels on each side, within the array."""
    box = []
    for axis, more in enumerate(margin):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(max(0, int(used[0]) - more), min(mask.shape[axis], int(used[-1]) + 1 + more)))
    return tuple(box)


def filled(geometry: Geometry, balls: Iterable[tuple[Vector, float]]) -> Mask:
    """The voxels of a grid whose centres lie in one of the balls: centre LPS mm, radius mm."""
    mask = np.zeros(geometry.shape_zyx, dtype=bool)
    for center, radius_mm in balls:
        middle, reach = geometry.zyx_from_lps_mm(center), radius_mm * np.linalg.norm(geometry.inverse, axis=1)
        ends = zip(middle, reach, geometry.shape_zyx, strict=True)
        box = tuple(slice(max(int(m - r), 0), max(min(int(m + r) + 2, n), 0)) for m, r, n in ends)
        index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
        mask[box] |= np.linalg.norm(geometry.lps_mm_from_zyx(index) - np.array(center), axis=-1) <= radius_mm
    return mask


def touching(mask: Mask) -> Mask:
    """The voxels that share a face with a voxel of ``mask``."""
    out = np.zeros_like(mask)
    for axis in range(mask.ndim):
        o, m = np.moveaxis(out, axis, 0), np.moveaxis(mask, axis, 0)
        o[1:] |= m[:-1]
        o[:-1] |= m[1:]
    return out
