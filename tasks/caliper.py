"""A nodule's axes as a radiologist measures them: on axial planes, the longest and the one across it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.grow import Outline

ANGLES = np.deg2rad(np.arange(0, 180, 5))


def axial_axes_mm(outline: Outline) -> tuple[float, float]:
    """Longest axis and its perpendicular, on the plane where their mean is largest (Fleischner 2017, Lung-RADS 2022)."""
    best = (0.0, 0.0)
    for z in np.flatnonzero(outline.mask.any(axis=(1, 2))):
        rim = _rim(outline.mask[z], outline.local.hu[z], outline.surface_hu) * outline.local.step
        widths = np.ptp(rim @ np.stack([np.cos(ANGLES), np.sin(ANGLES)]), axis=0)
        long = int(np.argmax(widths))
        axes = (float(widths[long]), float(widths[(long + len(ANGLES) // 2) % len(ANGLES)]))
        best = max(best, axes, key=sum)
    return best


def _rim(mask: NDArray[np.bool_], hu: NDArray[np.float32], surface_hu: float) -> NDArray[np.float64]:
    """``[n, 2]`` places (y, x) where lines along y and x leave the mask: where HU cross the surface, else halfway."""
    inside = np.pad(mask, 1)
    value = np.pad(hu, 1, mode="edge").astype(np.float64)
    places = []
    for axis in range(2):
        i, v = np.moveaxis(inside, axis, 0), np.moveaxis(value, axis, 0)
        for near, far in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            leaving = i[near] & ~i[far]
            at = np.argwhere(leaving).astype(np.float64)
            a, b = v[near][leaving], v[far][leaving]
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where((a > surface_hu) & (b < surface_hu) & np.isfinite(surface_hu), (a - surface_hu) / (a - b), 0.5)
            at[:, 0] += share if near.start is None else 1 - share
            places.append(at if axis == 0 else at[:, ::-1])
    return np.concatenate(places)
