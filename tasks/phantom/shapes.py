"""Signed distances: negative inside, positive outside, in millimetres. Points are arrays ``x, y, z`` that broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
Point = tuple[float, float, float]


def ellipsoid(x: Field, y: Field, z: Field, center: Point, radii: Point) -> Field:
    """Exact along rays from the centre, which is good enough for edges a voxel wide."""
    dx, dy, dz = x - center[0], y - center[1], z - center[2]
    f = np.sqrt((dx / radii[0]) ** 2 + (dy / radii[1]) ** 2 + (dz / radii[2]) ** 2)
    f = np.maximum(f, 1e-3)
    return np.sqrt(dx**2 + dy**2 + dz**2) * (1 - 1 / f) - 1e-3 * (f <= 1e-3) * min(radii)


def tube(x: Field, y: Field, z: Field, start: Point, end: Point, radius: float, end_radius: float | None = None) -> Field:
    """A straight tube with round ends, tapering from ``radius`` to ``end_radius``."""
    end_radius = radius if end_radius is None else end_radius
    ax, ay, az = (e - s for s, e in zip(start, end, strict=True))
    length2 = max(ax * ax + ay * ay + az * az, 1e-9)
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    t = np.clip((dx * ax + dy * ay + dz * az) / length2, 0, 1)
    distance = np.sqrt((dx - t * ax) ** 2 + (dy - t * ay) ** 2 + (dz - t * az) ** 2)
    return distance - (radius + t * (end_radius - radius))


def join(*distances: Field, blend_mm: float = 6.0) -> Field:
    """Union with rounded seams (polynomial smooth minimum)."""
    out = distances[0]
    for d in distances[1:]:
        h = np.maximum(blend_mm - np.abs(out - d), 0) / blend_mm
        out = np.minimum(out, d) - h * h * (blend_mm / 4)
    return out


def meet(*distances: Field, blend_mm: float = 5.0) -> Field:
    """Intersection with rounded edges."""
    return -join(*(-d for d in distances), blend_mm=blend_mm)


def inside(distance: Field, edge_mm: float) -> Field:
    """Share of a voxel that is inside, 0..1, for an edge that is ``edge_mm`` wide."""
    return np.clip(0.5 - distance / edge_mm, 0, 1)
