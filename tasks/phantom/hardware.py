"""What doctors left in the chest: wires in the sternum, clips in the wall, catheters and leads in the great veins."""

from __future__ import annotations

import numpy as np

from tasks.phantom.anatomy import Anatomy
from tasks.phantom.canvas import Canvas, draw_tubes
from tasks.phantom.vessels import Tubes


def draw_hardware(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> None:
    """As many as the patient's look says."""
    s, build = anatomy.build.scale, anatomy.build
    for k in range(anatomy.look.metal):
        middle = np.array([rng.normal(0, 3), -(build.half_depth + 9), 75 * s + 22 * k])
        ends = np.array([[-8, 0, 0], [0, -3, rng.normal(0, 3)], [8, 0, 0]])
        _line(canvas, list(middle + ends), 0.6, 2800)
    for _ in range(anatomy.look.lines):
        vein = np.array([-25, -16, 0]) * s + rng.normal(0, 2, 3)
        ends = vein + np.array([[-30 * s, -10, 262 * s], [0, 0, 225 * s], [0, 0, 150 * s], [6, -8, 105 * s]])
        if rng.random() < 0.4:
            ends = np.vstack([ends, np.array([22, -55, 70]) * s])  # a lead into the right ventricle
        _line(canvas, list(ends), float(rng.uniform(0.7, 1.3)), float(rng.uniform(400, 2800)))


def _line(canvas: Canvas, points: list[np.ndarray], radius_mm: float, hu: float) -> None:
    radii = np.full(len(points) - 1, radius_mm)
    draw_tubes(
        canvas, Tubes(np.array(points[:-1], dtype=float), np.array(points[1:], dtype=float), radii, radii), hu, fineness_mm=0.5
    )
