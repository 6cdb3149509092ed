"""How far a place is from the border of the lungs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from artifacts.lungmask import LungMask

GRID_MM = 2.0  # the border is sampled on this grid: enough for a distance stated in millimetres


def pleura_distance_mm(lung_mask: LungMask, centers_zyx: ArrayLike) -> NDArray[np.float64]:
    """``[n, 3]`` fractional indices -> millimetres to the nearest place where lung ends, on either side of the border.

    Where the two lungs touch, and where the scan ends, lung does not end. NaN-free: a mask without border gives infinity.
    """
    from scipy.spatial import cKDTree

    centers = np.asarray(centers_zyx, dtype=np.float64).reshape(-1, 3)
    if not len(centers):
        return np.zeros(0)
    geometry = lung_mask.geometry
    step = np.array([max(1, round(GRID_MM / d)) for d in geometry.spacing_zyx])
    lung = lung_mask.labels[:: step[0], :: step[1], :: step[2]] > 0
    places = []
    for axis in range(3):
        along = np.moveaxis(lung, axis, 0)
        crossing = np.argwhere(np.moveaxis(along[1:] != along[:-1], 0, axis)).astype(np.float64)
        crossing[:, axis] += 0.5
        places.append(crossing)
    border_mm = np.concatenate(places) * step @ geometry.matrix.T
    if not len(border_mm):
        return np.full(len(centers), np.inf)
    return cKDTree(border_mm, balanced_tree=False).query(centers @ geometry.matrix.T)[0]
