"""Which lung is which: two lungs told apart also where they touch, one lung alone put on its side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.balls import Mask, erode, touching

BALANCE = 0.2  # the smaller of two lungs that touch has at least this share of both
SEED_SHARE = 0.05  # of all that is left after erosion; crumbs seed nothing
EROSIONS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)  # in voxels
THIN = 2.0  # lungs that part after so little erosion touch in a thin line, which the seeds find; a broad contact is cut midway


def split_sides(lungs: Mask, body: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Mask, Mask]:
    """Lung voxels on a patient grid [to the head, to the back, to the left] -> right lung, left lung.

    The lungs are eroded until no piece bridges the body's middle; the seeds then grow back. A lung that
    cannot be parted is one lung.
    """
    middle = _middle(body, lungs)
    for voxels in EROSIONS:
        seeds, sizes, centers = _pieces(erode(lungs, spacing_mm, voxels * max(spacing_mm)) if voxels else lungs)
        if not _bridging(seeds, sizes, middle):
            break
    else:
        seeds, sizes, centers = _pieces(lungs)
    large = sizes >= SEED_SHARE * sizes.sum()
    right, left = (large & (centers < middle))[seeds], (large & (centers >= middle))[seeds]
    right, left = _grow_back(right, left, lungs, middle if voxels > THIN else None)
    rest, _, centers = _pieces(lungs & ~right & ~left)
    on_right = centers < middle
    on_right[0] = False
    right |= on_right[rest]
    return right, lungs & ~right


def _pieces(mask: Mask) -> tuple[NDArray[np.unsignedinteger], NDArray[np.intp], NDArray[np.float64]]:
    """Components, their sizes in voxels and mean columns; entry 0 stands for what is outside and has size 0."""
    import cc3d

    labels, n = cc3d.connected_components(mask, connectivity=6, return_N=True)
    inside = np.flatnonzero(labels)
    of = labels.ravel()[inside]
    sizes = np.bincount(of, minlength=n + 1)
    columns = np.bincount(of, weights=inside % mask.shape[2], minlength=n + 1)
    return labels, sizes, columns / np.maximum(sizes, 1)


def _middle(body: Mask, lungs: Mask) -> float:
    """The column of the body's middle, in the planes where there is lung."""
    columns = body[lungs.any(axis=(1, 2))].sum(axis=(0, 1))
    return float((columns * np.arange(len(columns))).sum() / max(columns.sum(), 1))


def _bridging(labels: NDArray[np.unsignedinteger], sizes: NDArray[np.intp], middle: float) -> bool:
    """Does one large piece lie on both sides of the middle, as two lungs that touch do?"""
    for label in np.flatnonzero(sizes > BALANCE * sizes.sum()):
        on_left = np.count_nonzero(labels[..., round(middle) :] == label) / sizes[label]
        if BALANCE < on_left < 1 - BALANCE:
            return True
    return False


def _grow_back(right: Mask, left: Mask, lungs: Mask, limit: float | None) -> tuple[Mask, Mask]:
    """Give every lung voxel to the seed that reaches it first; with a ``limit``, first what is on its side of that column."""
    columns = np.arange(lungs.shape[2])
    for on_right in ([] if limit is None else [columns < limit]) + [None]:
        free = lungs & ~right & ~left
        while free.any():
            to_right = touching(right) & free & (True if on_right is None else on_right)
            to_left = touching(left) & free & ~to_right & (True if on_right is None else ~on_right)
            if not (to_right.any() or to_left.any()):
                break
            right, left = right | to_right, left | to_left
            free &= ~(to_right | to_left)
    return right, left
