"""What is mistaken for a nodule: scars, pleural plaques, lymph nodes at the hilum, apical caps. (Vessels cross by themselves.)"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.anatomy import Anatomy
from tasks.phantom.canvas import Canvas, Distance
from tasks.phantom.shapes import Field, ellipsoid, tube

Spot = tuple[NDArray[np.float64], float]  # where (x, y, z mm) and how far from it a nodule may not be


def draw_mimics(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy, factor: float = 1.0) -> list[Spot]:
    """Draw them all; ``factor`` multiplies their numbers. Returns where they are."""
    spots: list[Spot] = []
    for draw, few, many in ((_scar, 2, 5), (_plaque, 2, 6), (_lymph_node, 3, 7)):
        for _ in range(round(factor * rng.integers(few, many))):
            spots.append(draw(rng, canvas, anatomy))
    return spots


def _draw(canvas: Canvas, center: NDArray[np.float64], reach: float, distance: Distance, hu: float) -> None:
    box = canvas.box(center - reach, center + reach)
    if box is not None:
        canvas.paint(box, canvas.occupancy(box, distance, 0.6), hu)


def _surface_point(rng: np.random.Generator, anatomy: Anatomy, depth: tuple[float, float]) -> NDArray[np.float64]:
    """A point whose depth under the ribs' pleura is between two values (mm)."""
    near = (anatomy.lung < -depth[0]) & (anatomy.lung > -depth[1]) & (np.abs(anatomy.cage - anatomy.lung) < 2)
    z, y, x = anatomy.axes
    k, j, i = rng.choice(np.argwhere(near))
    return np.array([x[i], y[j], z[k]], dtype=np.float64)


def _outward(anatomy: Anatomy, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vector towards the pleura."""
    steps = np.vstack([np.eye(3), -np.eye(3)]) * 4.0
    d = anatomy.at(anatomy.lung, point + steps)
    gradient = d[:3] - d[3:]
    return gradient / max(float(np.linalg.norm(gradient)), 1e-6)


def _scar(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Spot:
    """A thin band from the pleura inwards, 15-35 mm long and 1-2.4 mm thick."""
    center = _surface_point(rng, anatomy, (8, 14))
    out = _outward(anatomy, center)
    across = np.cross(out, rng.standard_normal(3))
    across /= np.linalg.norm(across)
    flat = np.cross(out, across)
    length, width, thick = rng.uniform(9, 17), rng.uniform(4, 10), rng.uniform(0.55, 1.2)
    bend = rng.uniform(-0.012, 0.012)

    def distance(x: Field, y: Field, z: Field) -> Field:
        dx, dy, dz = x - center[0], y - center[1], z - center[2]
        u, v, w = (dx * a[0] + dy * a[1] + dz * a[2] for a in (out, across, flat))
        w = w - bend * u * u
        return thick * (np.sqrt((u / length) ** 2 + (v / width) ** 2 + (w / thick) ** 2) - 1)

    _draw(canvas, center, length + 2, distance, rng.uniform(-250, 20))
    return center, length


def _plaque(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Spot:
    """A flat thickening of the pleura, 12-30 mm wide and 2-4 mm thick, sometimes calcified."""
    center = _surface_point(rng, anatomy, (0, 3))
    out = _outward(anatomy, center)
    width, thick = rng.uniform(6, 15), rng.uniform(1.8, 3.6)

    def distance(x: Field, y: Field, z: Field) -> Field:
        dx, dy, dz = x - center[0], y - center[1], z - center[2]
        u = dx * out[0] + dy * out[1] + dz * out[2]
        across = np.sqrt(np.maximum(dx * dx + dy * dy + dz * dz - u * u, 0))
        points = np.stack(np.broadcast_arrays(x, y, z), axis=-1).reshape(-1, 3)
        depth = -anatomy.at(anatomy.lung, points).reshape(across.shape)
        return depth - thick * np.sqrt(np.maximum(1 - (across / width) ** 2, 0)) + np.maximum(across - width, 0)

    _draw(canvas, center, width + 2, distance, rng.uniform(20, 60) if rng.random() < 0.6 else rng.uniform(200, 500))
    return center, width + 2


def _lymph_node(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Spot:
    """A soft bean of 8-15 mm against the hilum's vessels, half in the mediastinum."""
    s = anatomy.build.scale
    side = rng.choice([-1.0, 1.0])
    center = np.array([side * rng.uniform(30, 46), rng.uniform(-10, 25), rng.uniform(105, 160)]) * [s, s, s]
    for _ in range(20):  # drift to the mediastinum's surface
        center[0] -= side * float(np.clip(anatomy.at(anatomy.mediastinum, center[None])[0] - 1, -2, 2))
    radii = rng.uniform(3.5, 7.5, 3)
    _draw(canvas, center, 9, lambda x, y, z: ellipsoid(x, y, z, tuple(center), tuple(radii)), rng.uniform(20, 50))
    end = center + rng.normal(0, 6, 3)
    _draw(canvas, center, 18, lambda x, y, z: tube(x, y, z, tuple(center), tuple(end), 2.5, 1.5), 40)
    return center, 10
