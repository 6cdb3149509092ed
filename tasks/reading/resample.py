"""Mending a stack: planes interpolated along the normal, leaning slices put straight. Linear, slice by slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from artifacts.volume import AIR_HU

ON_PLANE = 1e-3  # of a step: such a slice is copied, not interpolated


def onto_planes(hu: NDArray[np.int16], at: NDArray[np.float64], count: int) -> NDArray[np.int16]:
    """``[n, y, x]`` with slice k at plane ``at[k]`` (ascending) -> ``[count, y, x]``, linear between neighbours, rounded."""
    out = np.empty((count, *hu.shape[1:]), dtype=np.int16)
    for plane in range(count):
        above = int(np.clip(np.searchsorted(at, plane), 1, len(at) - 1))
        below = above - 1
        share = float(np.clip((plane - at[below]) / (at[above] - at[below]), 0, 1))
        if share <= ON_PLANE or share >= 1 - ON_PLANE:
            out[plane] = hu[below if share < 0.5 else above]
        else:
            out[plane] = np.rint(hu[below] * np.float32(1 - share) + hu[above] * np.float32(share))
    return out


def straightened(hu: NDArray[np.int16], shift_yx: NDArray[np.float64]) -> tuple[NDArray[np.int16], tuple[int, int]]:
    """Slices moved by ``shift_yx[k]`` pixels (y, x) onto one grid that holds them all; air where a slice does not reach.

    Returns the new array and how many pixels (y, x) its first voxel lies from the old one's (zero or negative).
    """
    low = np.floor(shift_yx.min(axis=0) + 1e-9).astype(int)
    grow = np.ceil(shift_yx.max(axis=0) - 1e-9).astype(int) - low
    out = np.empty((len(hu), hu.shape[1] + grow[0], hu.shape[2] + grow[1]), dtype=np.int16)
    for k in range(len(hu)):
        down, right = shift_yx[k] - low
        out[k] = np.rint(_moved(_moved(hu[k].astype(np.float32), float(down), int(grow[0])).T, float(right), int(grow[1])).T)
    return out, (int(low[0]), int(low[1]))


def straightened_shape(hu_shape: tuple[int, ...], shift_yx: NDArray[np.float64]) -> tuple[int, int, int]:
    """The shape that ``straightened`` would give."""
    grow = np.ceil(shift_yx.max(axis=0) - 1e-9).astype(int) - np.floor(shift_yx.min(axis=0) + 1e-9).astype(int)
    return hu_shape[0], hu_shape[1] + int(grow[0]), hu_shape[2] + int(grow[1])


def _moved(image: NDArray[np.float32], by: float, grow: int) -> NDArray[np.float32]:
    """Rows moved down by ``by`` >= 0 pixels into ``grow`` more rows; linear between two rows, air outside."""
    whole = int(np.floor(by + 1e-6))
    share = max(0.0, by - whole)
    out = np.full((image.shape[0] + grow, image.shape[1]), AIR_HU, dtype=np.float32)
    out[whole : whole + len(image)] = image
    if share > ON_PLANE:
        beside = np.full_like(out, AIR_HU)
        beside[whole + 1 : whole + 1 + len(image)] = image
        out = out * np.float32(1 - share) + beside * np.float32(share)
    return out
