"""Where a nodule goes, and drawing it there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.anatomy import Anatomy
from tasks.phantom.canvas import Canvas
from tasks.phantom.filling import fill
from tasks.phantom.nodules import NoduleSpec, PhantomNodule, Place, Shape, complete, directions, draw_shape, measure, risk, sample
from tasks.phantom.shapes import Field
from tasks.phantom.vessels import Tubes


def insert_all(
    rng: np.random.Generator,
    canvas: Canvas,
    anatomy: Anatomy,
    vessels: Tubes,
    specs: Sequence[NoduleSpec],
    labels: NDArray[np.uint8],
    taken: list[tuple[NDArray[np.float64], float]],
) -> list[PhantomNodule]:
    """Draw each nodule where it fits. Where none of 20 draws fits, it goes without (a very full lung)."""
    truth: list[PhantomNodule] = []
    for wish in specs:
        for _ in range(20):
            spec = complete(rng, wish, varied=anatomy.look.anywhere)
            shape = draw_shape(rng, spec, varied=anatomy.look.anywhere)
            center = find_place(rng, anatomy, vessels, shape, taken)
            if center is None:
                continue
            truth.append(insert_nodule(rng, canvas, anatomy, shape, center, labels, len(truth) + 1))
            taken.append((center, shape.reach_mm))
            break
    return truth


def find_place(
    rng: np.random.Generator, anatomy: Anatomy, vessels: Tubes, shape: Shape, taken: list[tuple[NDArray[np.float64], float]]
) -> NDArray[np.float64] | None:
    """A centre (x, y, z mm) that fits the wish and keeps clear of other nodules; None where there is no room."""
    r = float(shape.radii.mean())
    place: Place = shape.spec.place or "alone"
    points = _proposals(rng, anatomy, vessels, r, place)
    lung, mid = anatomy.at(anatomy.lung, points), anatomy.at(anatomy.mediastinum, points)
    cage = anatomy.at(anatomy.cage, points)
    if anatomy.look.anywhere:  # on any pleura, the diaphragm's and the mediastinum's too, and near the hilum
        deep = lung < -(shape.radii.max() * 1.1 + 1.5)
        good = (lung < -0.35 * r) & (lung > -0.9 * r) & (mid > 0.3 * r) if place == "pleural" else deep & (mid > r + 2)
    elif place == "pleural":  # on the ribs' side, well over half of it inside the lung
        good = (lung < -0.45 * r) & (lung > -0.8 * r) & (np.abs(cage - lung) < 2) & (mid > r + 15)
    else:
        good = (lung < -(shape.radii.max() * 1.2 + 2.5)) & (mid > r + 9)
    for center, gap in taken:
        good &= np.linalg.norm(points - center, axis=1) > gap + shape.reach_mm + 6
    if place == "alone":
        good &= _clearance(points, vessels) > r + 1.5
    hits = np.flatnonzero(good)
    return points[hits[0]] if len(hits) else None


def _proposals(rng: np.random.Generator, anatomy: Anatomy, vessels: Tubes, r: float, place: Place) -> NDArray[np.float64]:
    if place == "vessel":
        right = np.flatnonzero((vessels.end_radius > 0.8) & (vessels.end_radius < 2.2))
        picked = rng.choice(right, 4000)
        return vessels.end[picked] + directions(rng, 4000) * (0.85 * r + vessels.end_radius[picked])[:, None]
    z, y, x = anatomy.axes
    where = np.argwhere((anatomy.lung < 0) & (anatomy.lung > -r) if place == "pleural" else anatomy.lung < -r)
    picked = where[rng.integers(0, len(where), 4000)]
    points = np.stack([x[picked[:, 2]], y[picked[:, 1]], z[picked[:, 0]]], axis=1).astype(np.float64)
    return points + rng.uniform(-0.5, 0.5, points.shape) * (x[1] - x[0])


def _clearance(points: NDArray[np.float64], vessels: Tubes) -> NDArray[np.float64]:
    """Distance (mm) to the nearest vessel that is more than a twig."""
    from scipy.spatial import cKDTree

    big = vessels.keep(vessels.end_radius > 1.2)
    steps = np.linspace(0, 1, 5)[:, None, None]
    line = (big.start + steps * (big.end - big.start)).reshape(-1, 3)
    near, index = cKDTree(line).query(points)
    return near - np.tile(big.start_radius, 5)[index]


def insert_nodule(
    rng: np.random.Generator,
    canvas: Canvas,
    anatomy: Anatomy,
    shape: Shape,
    center: NDArray[np.float64],
    labels: NDArray[np.uint8],
    label: int,
) -> PhantomNodule:
    """Draw ``shape`` at ``center`` (x, y, z mm), mark its core in ``labels``, and say what it became."""
    spec = shape.spec
    cx, cy, cz = (float(v) for v in center)
    box = canvas.box(center - shape.reach_mm, center + shape.reach_mm)
    assert box is not None
    share = canvas.occupancy(box, lambda x, y, z: shape.distance(x - cx, y - cy, z - cz), 0.45)
    if anatomy.look.anywhere:
        fill(rng, canvas, anatomy.look, shape, center, box, share)
    else:
        canvas.paint(box, share, shape.tissue_hu(anatomy.look.lung_hu))
        if spec.kind == "part-solid":
            solid = canvas.occupancy(box, lambda x, y, z: shape.core_distance(x - cx, y - cy, z - cz, shape.core), 0.45)
            canvas.paint(box, solid, 25.0)

    def lung(x: Field, y: Field, z: Field) -> Field:
        points = np.stack([np.ravel(a) for a in np.broadcast_arrays(x + cx, y + cy, z + cz)], axis=1)
        return anatomy.at(anatomy.lung, points).reshape(np.broadcast_shapes(x.shape, y.shape, z.shape))

    core = canvas.occupancy(
        box, lambda x, y, z: np.maximum(shape.core_distance(x - cx, y - cy, z - cz), lung(x - cx, y - cy, z - cz)), 0.45
    )
    labels[box][core > 0.5] = label
    mask, step = sample(shape, lung)
    diameter, volume = measure(mask, step)
    middle = (np.argwhere(mask).mean(axis=0) - 0.5 * (mask.shape[0] - 1)) * step
    p = risk(spec, diameter, cz > 0.55 * anatomy.build.height)
    where = (cx + float(middle[2]), cy + float(middle[1]), cz + float(middle[0]))
    return PhantomNodule(
        where, diameter, volume, spec.kind or "solid", spec.margin or "smooth", spec.place or "alone", bool(rng.random() < p), p
    )
