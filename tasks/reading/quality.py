"""What the voxels themselves tell: whether they are Hounsfield units, and whether the lungs go on beyond the scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLED = 40  # slices looked at
DARK_HU, LEAST_DARK = -500, 0.005
SOFT_HU, LEAST_SOFT = (-200, 300), 0.01
BRIGHT_HU, MOST_BRIGHT = 700, 0.15

BODY_HU = -400  # darker is air
AERATED_HU = (-950, -550)  # mean of a piece of lung; gas in the bowel and in the room is darker
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
    """Square centimetres of aerated lung on one plane: air inside the body that is not as dark as gas alone."""
    from scipy.ndimage import label

    sy, sx = (max(1, round(COARSE_MM / d)) for d in spacing_yx)
    coarse = plane[::sy, ::sx]
    labels, n = label(coarse < BODY_HU)
    if n == 0:
        return 0.0
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    means = np.bincount(labels.ravel(), weights=coarse.ravel().astype(np.float64), minlength=n + 1) / np.maximum(sizes, 1)
    lung = (means > AERATED_HU[0]) & (means < AERATED_HU[1])
    lung[0] = False
    lung[np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))] = False  # the room
    return float(sizes[lung].sum()) * sy * spacing_yx[0] * sx * spacing_yx[1] / 100
