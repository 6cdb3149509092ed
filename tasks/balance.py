"""Where one lung is much smaller than the other: something takes its place, and nothing is looked for there."""

from __future__ import annotations

import numpy as np

from artifacts.volume import QCFinding
from tasks.balls import Mask

LEFT_TO_RIGHT = (0.5, 1.35)  # volumes at one level; sound lungs: 0.6 to 1 (the heart lies left)
LEVEL_MM = 40.0
BASE_SHARE = 0.25  # of the lungs' height: below, the diaphragm's domes differ
TIPS = 0.15  # of the largest plane: smaller ones are a lung's tip


def uneven_lungs(right: Mask, left: Mask, plane_mm: float, voxel_ml: float, lowest_mm: float = 0.0) -> list[QCFinding]:
    """Masks on a patient grid [to the head, to the back, to the left] -> a warning where the lungs differ too much, else nothing.

    ``lowest_mm``: where the first plane lies, LPS z.

    Looks at slabs of 40 mm above the lungs' base. A mass, consolidation, fluid, a collapsed or a missing lung do this; what is
    the same on both sides goes unnoticed.
    """
    areas = np.array([side.sum(axis=(1, 2)) for side in (right, left)], dtype=np.float64)
    planes = np.flatnonzero(areas.sum(axis=0) > TIPS * areas.sum(axis=0).max())
    base = planes[0] + int(BASE_SHARE * (planes[-1] - planes[0] + 1))
    above_base = areas[:, base : planes[-1] + 1]
    size = min(max(1, round(LEVEL_MM / plane_mm)), above_base.shape[1])
    slabs = np.array([np.convolve(side, np.ones(size), "valid") for side in above_base])
    ratio = slabs[1] / np.maximum(slabs[0], 1e-9)
    smallest, largest = float(ratio.min()), float(ratio.max())
    if smallest >= LEFT_TO_RIGHT[0] and largest <= LEFT_TO_RIGHT[1]:
        return []
    left_is_small = smallest < LEFT_TO_RIGHT[0]
    side, other, share = ("left", "right", smallest) if left_is_small else ("right", "left", 1 / largest)
    level = lowest_mm + plane_mm * (base + int(ratio.argmin() if left_is_small else ratio.argmax()) + (size - 1) / 2)
    ml = areas.sum(axis=1) * voxel_ml
    volumes = f"{ml[0]:.0f} ml right, {ml[1]:.0f} ml left"
    message = (
        f"around z {level:.0f} mm (LPS) the {side} lung has only {share:.0%} of the {other} one's size (in all {volumes}): look "
        "there; a mass, consolidation, fluid or a collapse may take its place, and nothing is sought outside the outlined lungs"
    )
    return [QCFinding("uneven-lungs", "warning", message)]
