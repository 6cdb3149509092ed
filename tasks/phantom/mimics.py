"""What is mistaken for a nodule: scars, plaques, lymph nodes, and more in varied chests. (Vessels cross by themselves.)"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.anatomy import Anatomy
from tasks.phantom.canvas import Canvas, Distance
from tasks.phantom.shapes import Field, ellipsoid, tube


@dataclass(frozen=True)
class Mimic:
    """center: x, y, z mm; no nodule lies nearer to it than radius_mm."""

    kind: str
    center: NDArray[np.float64]
    radius_mm: float


def draw_mimics(
    rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy, factor: float = 1.0, *, varied: bool = False
) -> list[Mimic]:
    """Draw them all; ``factor`` multiplies their numbers. Returns where they are."""
    spots: list[Mimic] = []
    more = ((_spur, 0, 4), (_band, 0, 3), (_plug, 0, 4), (_cap, 0, 4), (_rib_end, 0, 3)) if varied else ()
    for draw, few, many in ((_scar, 2, 5), (_plaque, 2, 6), (_lymph_node, 3, 7), *more):
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


def _scar(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Mimic:
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
    return Mimic("scar", center, length)


def _plaque(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Mimic:
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
        plate = depth - thick * np.sqrt(np.maximum(1 - (across / width) ** 2, 0)) + np.maximum(across - width, 0)
        return np.maximum(plate, -1.5 - depth) if anatomy.look.anywhere else plate

    _draw(canvas, center, width + 2, distance, rng.uniform(20, 60) if rng.random() < 0.6 else rng.uniform(200, 500))
    return Mimic("plaque", center, width + 2)


def _lymph_node(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Mimic:
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
    return Mimic("lymph node", center, 10.0)


def _spur(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Mimic:
    """An osteophyte: a bony lump beside the spine that pushes the lung away."""
    build, side = anatomy.build, rng.choice([-1.0, 1.0])
    center = np.array([side * 40.0, build.spine_y - 4 + rng.uniform(-6, 8), rng.uniform(40, 0.8 * build.height)])
    for _ in range(25):
        center[0] -= side * float(np.clip(anatomy.at(anatomy.mediastinum, center[None])[0] - 0.5, -2, 2))
    radii = tuple(rng.uniform([3, 4, 3], [6, 8, 7]))
    at = tuple(center)
    _draw(canvas, center, 10, lambda x, y, z: ellipsoid(x, y, z, at, radii), rng.uniform(40, 90))
    _draw(canvas, center, 10, lambda x, y, z: ellipsoid(x, y, z, at, radii) + 1.5, rng.uniform(200, 700))
    return Mimic("osteophyte", center, 10.0)


def _band(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Mimic:
    """Plate-like atelectasis: flat, nearly level, 30-70 mm wide, over the diaphragm."""
    near = (anatomy.lung < -10) & (anatomy.axes[0][:, None, None] < 0.4 * anatomy.build.height)
    center = _one_of(rng, anatomy, near)
    normal = np.array([rng.normal(0, 0.35), rng.normal(0, 0.35), 1.0])
    normal /= np.linalg.norm(normal)
    wide, thick = rng.uniform(12, 30), rng.uniform(0.7, 2.0)

    def distance(x: Field, y: Field, z: Field) -> Field:
        dx, dy, dz = x - center[0], y - center[1], z - center[2]
        u = dx * normal[0] + dy * normal[1] + dz * normal[2]
        u = u - 2.5 * np.sin((dx + 0.6 * dy) / 11)
        across = np.sqrt(np.maximum(dx * dx + dy * dy + dz * dz - u * u, 0))
        return np.abs(u) - thick * np.clip(1.3 - across / wide, -1, 1)

    _draw(canvas, center, 1.2 * wide, distance, rng.uniform(-350, 20))
    return Mimic("atelectasis", center, 8.0)


def _plug(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Mimic:
    """A bronchus full of mucus: a short thick branching tube."""
    center = _one_of(rng, anatomy, (anatomy.lung < -10) & (anatomy.mediastinum > 15))
    way = center - np.array([np.sign(center[0]) * 40, 5, 130]) * anatomy.build.scale
    way /= np.linalg.norm(way)
    radius = rng.uniform(1.4, 3.2)
    for _ in range(int(rng.integers(2, 4))):
        end = center + (way + rng.normal(0, 0.35, 3)) * rng.uniform(8, 20)
        part = partial(tube, start=tuple(center), end=tuple(end), radius=radius, end_radius=0.6 * radius)
        _draw(canvas, center, 26, part, rng.uniform(-60, 40))
    return Mimic("mucus plug", center, 14.0)


def _cap(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Mimic:
    """Irregular thickening of the apical pleura."""
    near = (anatomy.lung < 0) & (anatomy.lung > -3) & (anatomy.axes[0][:, None, None] > 0.88 * anatomy.build.height)
    center = _one_of(rng, anatomy, near)
    radii, at = tuple(rng.uniform([5, 5, 2], [13, 13, 6])), tuple(center)
    _draw(canvas, center, 15, lambda x, y, z: ellipsoid(x, y, z, at, radii), rng.uniform(-120, 60))
    return Mimic("apical cap", center, max(radii) + 1)


def _rib_end(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> Mimic:
    """Where a rib meets its cartilage: a dense bump into the front of the lung."""
    front = anatomy.axes[1][None, :, None] < -0.35 * anatomy.build.half_depth
    center = _one_of(rng, anatomy, (np.abs(anatomy.lung) < 2) & (np.abs(anatomy.cage - anatomy.lung) < 2) & front)
    radii, at = tuple(rng.uniform(4, 8, 3)), tuple(center - 1.5 * _outward(anatomy, center) * -1)
    _draw(canvas, center, 12, lambda x, y, z: ellipsoid(x, y, z, at, radii), rng.uniform(60, 350))
    return Mimic("rib end", center, 9.0)


def _one_of(rng: np.random.Generator, anatomy: Anatomy, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A random grid point among those marked; anywhere in the lungs where none is."""
    z, y, x = anatomy.axes
    k, j, i = rng.choice(np.argwhere(where if where.any() else anatomy.lung < -5))
    return np.array([x[i], y[j], z[k]], dtype=np.float64)
