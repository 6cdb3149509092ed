"""Examples and patches made in memory: balls and rods on a noisy ground."""

from __future__ import annotations

import numpy as np

from artifacts.checkpoint import CropSpec
from artifacts.dataset import Split
from artifacts.examples import Examples
from artifacts.patches import Patches


def made_examples(
    seed: int, n: int = 24, split: Split = "train", *, size: int = 20, fold: int = 0, positive: float = 0.5, mined: bool = False
) -> Examples:
    """Nodules are balls, the others rods; large ones are malignant."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) < round(positive * n)).astype(np.uint8)
    radius = rng.uniform(2.5, 5, n)
    z, y, x = np.meshgrid(*[np.arange(size) - size / 2 + 0.5] * 3, indexing="ij")
    ball = [z**2 + y**2 + x**2 < r * r for r in radius]
    rod = [y**2 + x**2 < (r / 2) ** 2 for r in radius]
    hu = np.where([b if k else r for b, r, k in zip(ball, rod, label, strict=True)], 30, -850)
    hu = (hu + rng.normal(0, 40, hu.shape)).astype(np.int16)
    yes = label == 1
    return Examples(
        uid=f"scan-{seed}",
        patient=f"patient-{seed}",
        split=split,
        fold=fold,
        spec=CropSpec(shape_zyx=(size, size, size), spacing_zyx_mm=(1.0, 1.0, 1.0), border="pad"),
        spacing_zyx_mm=(1.0, 1.0, 1.0),
        hu=hu,
        label=label,
        malignant=np.where(yes, radius > 3.75, -1),
        nodule=np.where(yes, np.arange(n), -1),
        origin=np.where(yes, 0, 4 if mined else 3),
        diameter_mm=np.where(yes, 2 * radius, 0),
        rating=np.full(n, np.nan),
        risk=np.where(yes, (radius - 2.5) / 2.5, np.nan),
        centers_lps_mm=np.zeros((n, 3)),
        offset_zyx=np.full((n, 3), size // 2),
    )


def made_patches(seed: int, n: int = 24, split: Split = "train", *, size: int = 40, slices: int = 3, fold: int = 0) -> Patches:
    """Half of them with a bright disc to find, half with a line not to."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*[np.arange(size) - size / 2] * 2, indexing="ij")
    nodule = np.where(np.arange(n) < n // 2, np.arange(n), -1)
    at = rng.uniform(-6, 6, (n, 2, 1, 1))
    discs = (y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2 < rng.uniform(9, 30, (n, 1, 1))
    lines = np.abs(y - at[:, 0]) < 1.5
    yes = (nodule >= 0)[:, None, None]
    hu = np.where(np.where(yes, discs, lines), 20, -850)[:, None] + rng.normal(0, 40, (n, slices, size, size))
    return Patches(
        uid=f"scan-{seed}",
        patient=f"patient-{seed}",
        split=split,
        fold=fold,
        spacing_zyx_mm=(2.0, 0.7, 0.7),
        hu=hu.astype(np.int16),
        masks=(discs & yes).astype(np.uint8),
        ignore=np.zeros((n, size, size), np.uint8),
        nodule=nodule,
        origin=np.where(nodule >= 0, 0, 1),
        centers_lps_mm=np.zeros((n, 3)),
    )
