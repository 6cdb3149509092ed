"""What the voxels themselves tell: whether they are Hounsfield units, and whether the lungs go on beyond the scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLED = 40  # slices looked at
DARK_HU, LEAST_DARK = -500, 0.005
SOFT_HU, LEAST_SOFT = (-200, 300), 0.01
BRIGHT_HU, MOST_BRIGHT = 700, 0.15

BODY_HU = -400  # darker is air
AERATED_HU = (-930, -550)  # median of a piece of lung; gas in the bowel is darker
LUNG_CM2 = 10.0  # of lung on the last slice: the recess behind the diaphragm is less
COARSE_MM = 2.0


def why_not_hu(hu: NDArray[np.int16]) -> str | None:
    """None where a chest's air and soft tissue are where Hounsfield put them (-1000 and 0); else what is odd."""
    sample = hu[:: max(1, len(hu) // SAMPLED), ::4, ::4]
    low, high = int(sample.min()), int(sample.max())
    seen = f"values from {low} to {high}"
    if np.mean(sample < DARK_HU) < LEAST_DARK:
        return f"{seen}, hardly any as dark as air or lung"
    if np.mean(sample > BRIGHT_HU) > MOST_BRIGHT:
        return f"{seen}, far too many as bright as bone"
    if np.mean((sample > SOFT_HU[0]) & (sample < SOFT_HU[1])) < LEAST_SOFT:
        return f"{seen}, hardly any near water, where soft tissue is"
    return None


def lung_cm2(plane: NDArray[np.int16], spacing_yx: tuple[float, float]) -> float:
    """Square centimetres of aerated lung on one plane: holes in the body that are not as dark as gas alone."""
    from scipy.ndimage import binary_fill_holes, label, median

    sy, sx = (max(1, round(COARSE_MM / d)) for d in spacing_yx)
    coarse = plane[::sy, ::sx]
    tissue, _ = label(coarse > BODY_HU)
    sizes = np.bincount(tissue.ravel())
    if len(sizes) < 2:
        return 0.0
    body = tissue == 1 + sizes[1:].argmax()  # the table and the blankets are other pieces
    holes, n = label(binary_fill_holes(body) & ~body)
    if n == 0:
        return 0.0
    middle = median(coarse, holes, np.arange(1, n + 1))
    lung = (middle > AERATED_HU[0]) & (middle < AERATED_HU[1])
    return float(np.bincount(holes.ravel(), minlength=n + 1)[1:][lung].sum()) * sy * spacing_yx[0] * sx * spacing_yx[1] / 100
