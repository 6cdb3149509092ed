"""What is inside a varied nodule: uneven tissue, a solid core, lime in the middle or throughout, now and then a bubble."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.canvas import Box, Canvas
from tasks.phantom.nodules import SUBSOLID, Shape, directions
from tasks.phantom.shapes import ellipsoid
from tasks.phantom.style import Look


def fill(
    rng: np.random.Generator,
    canvas: Canvas,
    look: Look,
    shape: Shape,
    center: NDArray[np.float64],
    box: Box,
    share: NDArray[np.float32],
) -> None:
    """Paint ``shape`` at ``center`` (x, y, z mm) into ``box``, of whose voxels ``share`` lies inside it."""
    from scipy.ndimage import gaussian_filter

    kind, spacing = shape.spec.kind, canvas.spacing
    uneven = gaussian_filter(rng.standard_normal(share.shape).astype(np.float32), [1.3 / s for s in spacing])
    uneven /= max(float(uneven.std()), 1e-6)
    faint = kind in SUBSOLID
    if faint:  # haze ends softly
        share = gaussian_filter(share, [rng.uniform(0.5, 1.4) / s for s in spacing])
    tissue = shape.tissue_hu(look.lung_hu)
    soft = float(rng.uniform(-20, 60))
    inner = kind == "calcified" and rng.random() < 0.5
    _mix(canvas, box, share, (soft if inner else tissue) + uneven * rng.uniform(15, 70 if faint else 40))
    if kind == "part-solid" or inner:
        cx, cy, cz = center + directions(rng, 1)[0] * rng.uniform(0, 0.3) * shape.radii.min() * (1 - shape.core)
        core = canvas.occupancy(box, lambda x, y, z: shape.core_distance(x - cx, y - cy, z - cz, shape.core), 0.45)
        _mix(canvas, box, core, (shape.hu if inner else soft) + 25 * uneven)
    if kind != "calcified" and shape.radii.mean() > 5 and rng.random() < 0.15:
        _bubble(rng, canvas, shape, center, box)


def _mix(canvas: Canvas, box: Box, share: NDArray[np.float32], hu: NDArray[np.float32]) -> None:
    view = canvas.hu[box]
    np.maximum(view, view + share * (hu - view), out=view)


def _bubble(rng: np.random.Generator, canvas: Canvas, shape: Shape, center: NDArray[np.float64], box: Box) -> None:
    """A cavity or a bronchus cut across, well inside."""
    r = float(shape.radii.min())
    at = tuple(center + directions(rng, 1)[0] * rng.uniform(0, 0.4) * r)
    radii = tuple(rng.uniform(0.12, 0.4, 3) * r)
    share = canvas.occupancy(box, lambda x, y, z: ellipsoid(x, y, z, at, radii), 0.45)
    canvas.paint(box, share, float(rng.uniform(-950, -600)), brighten=False)
