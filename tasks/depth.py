"""How deep each voxel of a sparse mask lies below the mask's surface, without touching the empty rest of the volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def depth_mm(
    flat: NDArray[np.intp], shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rising flat indices into ``shape`` (no voxel of which lies on a face of the array) -> depth of each, and the dense map.

    The depth is the distance in millimetres from a voxel's centre to the nearest box of a voxel outside. Squared distance is
    separable; each pass looks only as far along its axis as a voxel's depth so far allows.
    """
    row, plane = shape[2], shape[1] * shape[2]
    squared = np.zeros(shape[0] * plane, dtype=np.float32)
    squared[flat] = (_steps_to_run_end(flat) - np.float32(0.5)) ** 2 * spacing_mm[2] ** 2
    for stride, step in ((row, spacing_mm[1]), (plane, spacing_mm[0])):
        nearest = squared[flat]
        active, k = np.arange(len(flat)), 0
        while len(active):
            k += 1
            cost = np.float32(((k - 0.5) * step) ** 2)
            active = active[nearest[active] > cost]
            at = flat[active]
            here = np.minimum(squared[at - k * stride], squared[at + k * stride]) + cost
            nearest[active] = np.minimum(nearest[active], here)
        squared[flat] = nearest
    depth = np.sqrt(squared[flat])
    squared[flat] = depth
    return depth, squared


def _steps_to_run_end(flat: NDArray[np.intp]) -> NDArray[np.float32]:
    """How many steps along x each voxel is from the nearer first voxel outside its run."""
    new_run = np.flatnonzero(np.diff(flat, prepend=-2) != 1)
    length = np.diff(new_run, append=len(flat))
    place = np.arange(len(flat)) - np.repeat(new_run, length)
    return np.minimum(place + 1, np.repeat(length, length) - place).astype(np.float32)
