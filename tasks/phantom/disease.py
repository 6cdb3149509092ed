"""Lungs that are not well: emphysema and patches of inflammation, as HU to add to the parenchyma on the coarse grid."""

from __future__ import annotations

import numpy as np

from tasks.phantom.shapes import Field
from tasks.phantom.style import Look


def emphysema(rng: np.random.Generator, lung: Field, height: Field, step_mm: float, look: Look) -> Field:
    """Holes of 5-15 mm nearly as dark as air, more of them in the upper lung. ``height``: 0 at the base, 1 at the apex."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(lung.shape).astype(np.float32), rng.uniform(1.6, 4.0) / step_mm)
    noise /= noise.std()
    share = look.emphysema * np.clip(0.4 + 0.9 * height, 0.2, 1.2)
    threshold = -np.sqrt(2) * _erfinv(2 * np.clip(share, 1e-3, 0.6) - 1)
    depth = np.clip(rng.uniform(0.6, 1.5) * (noise - threshold), 0, 1)
    return -depth * (look.lung_hu + rng.uniform(965, 995))


def _erfinv(value: Field) -> Field:
    from scipy.special import erfinv

    return np.asarray(erfinv(value))


def hazes(rng: np.random.Generator, lung: Field, step_mm: float, n: int) -> Field:
    """``n`` ill-defined patches of 25-70 mm, 50-320 HU denser than the lung around them."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(lung.shape).astype(np.float32), 5 / step_mm)
    noise /= noise.std()
    inside = np.argwhere(lung < -8)
    total = np.zeros(lung.shape, dtype=np.float32)
    grids = np.meshgrid(*(np.arange(k, dtype=np.float32) * step_mm for k in lung.shape), indexing="ij", sparse=True)
    for center in rng.choice(inside, n) * step_mm:
        radii = rng.uniform(14, 36, 3)
        d2 = sum(((g - c) / r) ** 2 for g, c, r in zip(grids, center, radii, strict=True))
        total += rng.uniform(50, 320) * np.exp(-d2) * np.clip(0.6 + 0.45 * noise, 0, 1.6)
    return total
