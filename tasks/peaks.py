"""The thickest places of lumps: maxima of the smoothed depth, some way apart."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]


def thickest_first(flat: Index, dense_depth: NDArray[np.float32], shape: tuple[int, int, int]) -> Index:
    """Positions in ``flat`` of the local maxima of the smoothed depth, thickest first.

    ``dense_depth`` is flat over ``shape`` and 0 outside the lumps, which touch no face of the array; it is smoothed by the
    mean over 27 voxels, and overwritten. A plateau counts as one maximum a voxel.
    """
    around = [z * shape[1] * shape[2] + y * shape[2] + x for z, y, x in product((-1, 0, 1), repeat=3) if (z, y, x) != (0, 0, 0)]
    smooth = dense_depth[flat]
    for step in around:
        smooth += dense_depth[flat + step]
    smooth /= len(around) + 1
    dense_depth[flat] = smooth
    left = np.arange(len(flat))
    for step in around:
        left = left[smooth[left] >= dense_depth[flat[left] + step]]
    return left[np.argsort(-smooth[left], kind="stable")]


def apart(places_mm: NDArray[np.float64], lump: Index, separation_mm: float) -> Index:
    """Of places in order of preference, those that no preferred place of the same lump lies within ``separation_mm`` of."""
    from scipy.spatial import cKDTree

    gone = np.zeros(len(places_mm), dtype=bool)
    if not len(places_mm):
        return np.flatnonzero(gone)
    near = cKDTree(places_mm).query_ball_point(places_mm, separation_mm)
    for i, others in enumerate(near):
        if not gone[i]:
            gone[[j for j in others if j > i and lump[j] == lump[i]]] = True
    return np.flatnonzero(~gone)
