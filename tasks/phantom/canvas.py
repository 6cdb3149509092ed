"""Drawing small things into a large volume: each in its own box, on finer points, averaged into voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.shapes import Field, inside, tube
from tasks.phantom.vessels import Tubes

Distance = Callable[[Field, Field, Field], Field]
Box = tuple[slice, slice, slice]
Axes = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Canvas:
    """hu: float32 ``[z, y, x]``; ``axes``: its z, y, x coordinates in mm, evenly spaced."""

    hu: NDArray[np.float32]
    axes: Axes

    @property
    def spacing(self) -> tuple[float, float, float]:
        return tuple(float(a[1] - a[0]) for a in self.axes)  # type: ignore[return-value]

    def box(self, low_xyz: NDArray[np.float64], high_xyz: NDArray[np.float64]) -> Box | None:
        """The voxels between two corners (mm); None where there are none."""
        out = []
        for axis, low, high in zip(self.axes, low_xyz[::-1], high_xyz[::-1], strict=True):
            step = axis[1] - axis[0]
            a, b = max(int((low - axis[0]) / step), 0), min(int((high - axis[0]) / step) + 2, len(axis))
            if a >= b:
                return None
            out.append(slice(a, b))
        return tuple(out)  # type: ignore[return-value]

    def occupancy(self, box: Box, distance: Distance, fineness_mm: float) -> NDArray[np.float32]:
        """Share of each voxel of ``box`` inside the shape, from points at most ``fineness_mm`` apart."""
        fine, parts = [], []
        for axis, window, step in zip(self.axes, box, self.spacing, strict=True):
            n = max(1, int(np.ceil(step / fineness_mm - 0.01)))
            offsets = (np.arange(n) + 0.5) / n - 0.5
            fine.append((axis[window][:, None] + offsets * step).ravel().astype(np.float32))
            parts.append(n)
        z, y, x = fine[0][:, None, None], fine[1][None, :, None], fine[2][None, None, :]
        edge = min(s / n for s, n in zip(self.spacing, parts, strict=True))
        share = np.broadcast_to(inside(distance(x, y, z), edge), tuple(len(f) for f in fine))
        shape = [n for axis, k in zip(fine, parts, strict=True) for n in (len(axis) // k, k)]
        return share.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)

    def paint(self, box: Box, share: NDArray[np.float32], hu: float, *, brighten: bool = True) -> None:
        """Mix ``hu`` in by ``share``; with ``brighten`` nothing becomes darker than it was."""
        view = self.hu[box]
        mixed = view + share * (np.float32(hu) - view)
        np.maximum(view, mixed, out=view) if brighten else np.copyto(view, mixed)


def draw_tubes(canvas: Canvas, tubes: Tubes, hu: float, *, brighten: bool = True, fineness_mm: float = 0.9) -> None:
    """Every segment of ``tubes`` (a ``Tubes``), in its own box."""
    for start, end, r0, r1 in zip(tubes.start, tubes.end, tubes.start_radius, tubes.end_radius, strict=True):
        reach = max(r0, r1) + 1.0
        box = canvas.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        if box is None:
            continue
        distance = partial(tube, start=tuple(start), end=tuple(end), radius=r0, end_radius=r1)
        share = canvas.occupancy(box, distance, fineness_mm)
        canvas.paint(box, share, hu, brighten=brighten)


def draw_threads(canvas: Canvas, tubes: Tubes, hu: float, *, step_mm: float = 0.25) -> None:
    """Tubes about as thin as a voxel or thinner, all at once: points along them, each with its share of the volume.

    Where ``draw_tubes`` asks every voxel how far it is from each tube, this adds up what lies in it: exact for vessels that no
    voxel resolves, and a hundred times faster.
    """
    length = np.linalg.norm(tubes.end - tubes.start, axis=1)
    count = np.maximum(np.ceil(length / step_mm).astype(int), 1)
    which = np.repeat(np.arange(len(tubes)), count)
    rank = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    t = ((rank + 0.5) / count[which])[:, None]
    radius = tubes.start_radius[which, None] * (1 - t) + tubes.end_radius[which, None] * t
    points = tubes.start[which] * (1 - t) + tubes.end[which] * t
    points += radius * _spiral(tubes, which, rank)
    volume = np.pi * radius[:, 0] ** 2 * (length / count)[which] / np.prod(canvas.spacing)
    at = np.stack([(points[:, 2 - k] - canvas.axes[k][0]) / canvas.spacing[k] for k in range(3)])
    inside_all = np.all((at >= 0) & (at < np.array(canvas.hu.shape)[:, None] - 1), axis=0)
    _deposit(canvas, at[:, inside_all], volume[inside_all], hu)


def _spiral(tubes: Tubes, which: NDArray[np.int_], rank: NDArray[np.int_]) -> NDArray[np.float64]:
    """Offsets ``[n, 3]`` that fill the unit disc across each tube evenly (golden angle)."""
    along = tubes.end - tubes.start
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    other = np.where(np.abs(along[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    u = np.cross(along, other)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(along, u)
    angle, r = 2.399963 * rank, np.sqrt((0.618034 * rank + 0.5) % 1.0)
    return (r * np.cos(angle))[:, None] * u[which] + (r * np.sin(angle))[:, None] * v[which]


def _deposit(canvas: Canvas, at: NDArray[np.float64], volume: NDArray[np.float64], hu: float) -> None:
    """Trilinear: each point's volume (in voxels) among its eight neighbours, which become so much ``hu``."""
    low = at.astype(int)
    part = at - low
    places, shares = [], []
    for corner in np.ndindex(2, 2, 2):
        c = np.array(corner)[:, None]
        places.append(np.ravel_multi_index(tuple(low + c), canvas.hu.shape))
        shares.append(volume * np.prod(np.where(c == 1, part, 1 - part), axis=0))
    voxel, back = np.unique(np.concatenate(places), return_inverse=True)
    share = np.minimum(np.bincount(back, weights=np.concatenate(shares)), 1.0).astype(np.float32)
    flat = canvas.hu.reshape(-1)
    was = flat[voxel]
    flat[voxel] = np.maximum(was, was + share * (np.float32(hu) - was))
