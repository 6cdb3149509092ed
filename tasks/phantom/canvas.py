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
