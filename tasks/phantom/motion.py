"""A heart that beats and a chest that breathes while the scanner turns: edges doubled near the heart and above the diaphragm."""

from __future__ import annotations

import numpy as np

from tasks.phantom.anatomy import Anatomy
from tasks.phantom.canvas import Canvas


def shake(rng: np.random.Generator, canvas: Canvas, anatomy: Anatomy) -> None:
    """In place. Ghosts lie on both sides, so that no nodule's centre moves."""
    if anatomy.look.heart_motion_mm > 0:
        _beat(canvas, anatomy, anatomy.look.heart_motion_mm, rng.uniform(0, 2 * np.pi))
    if anatomy.look.breathing_mm > 0:
        _breathe(canvas, anatomy.look.breathing_mm)


def _beat(canvas: Canvas, anatomy: Anatomy, mm: float, angle: float) -> None:
    """Averages slices with copies moved to either side, within some 30 mm of the heart."""
    from scipy.ndimage import shift

    s, (z, y, x) = anatomy.build.scale, canvas.axes
    move = mm * np.array([np.sin(angle) / canvas.spacing[1], np.cos(angle) / canvas.spacing[2]])
    box = canvas.box(np.array([-70, -110, 10]) * s, np.array([120, 60, 150]) * s)
    if box is None:
        return
    rows, columns = box[1:]
    d2 = ((y[rows, None] + 28 * s) / (64 * s)) ** 2 + ((x[None, columns] - 22 * s) / (76 * s)) ** 2
    for k in range(box[0].start, box[0].stop):
        share = np.clip(1.6 * np.exp(-0.5 * (d2 + ((z[k] - 78 * s) / (60 * s)) ** 2) ** 2) - 0.4, 0, 1).astype(np.float32)
        plane = canvas.hu[k, rows, columns]
        ghost = 0.5 * (shift(plane, move, order=1, mode="nearest") + shift(plane, -move, order=1, mode="nearest"))
        plane += 0.6 * share * (ghost - plane)


def _breathe(canvas: Canvas, mm: float) -> None:
    """Averages each slice of the lower lungs with those ``mm`` above and below it."""
    n = max(1, round(mm / canvas.spacing[0]))
    share = 0.5 * np.exp(-np.maximum(canvas.axes[0] - 20, 0) / 45).astype(np.float32)
    still = canvas.hu[: int(np.searchsorted(canvas.axes[0], 150)) + n].copy()
    for k in range(n, len(still) - n):
        canvas.hu[k] += share[k] * (0.5 * (still[k - n] + still[k + n]) - still[k])
