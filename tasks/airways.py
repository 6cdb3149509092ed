"""The trachea and the main bronchi, followed from the neck down until the front bursts into the lung."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.balls import Mask, dilate, touching

AIR_IN_AIRWAY_HU = -880  # block means: lung between the vessels stays above it, a lumen below
LUMEN_MM2 = (60.0, 900.0)  # an axial cut through a trachea, infants to tracheomegaly
LEAST_LENGTH_MM = 25.0
BURST = 2.5  # the front may cover this many times the trachea's cut: two bronchi at a slant, not a lung
WALL_MM = 2.0


def airways(hu: NDArray[np.float32], inside: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """``hu``, ``inside`` (the body) on a patient grid [to the head, to the back, to the left] -> lumen with its wall.

    Empty where no trachea is seen (a slab below the carina, a tube in a collapsed chest).
    """
    lumen = inside & (hu < AIR_IN_AIRWAY_HU)
    seed, cut_mm2 = _trachea(lumen, inside, spacing_mm)
    if not seed.any():
        return seed
    return dilate(_follow(seed, lumen, cut_mm2, spacing_mm), spacing_mm, WALL_MM + 0.5 * max(spacing_mm))


def _trachea(lumen: Mask, inside: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Mask, float]:
    """The highest chain of round cuts near the body's middle that is long enough, and its median cut in mm2."""
    import cc3d

    dz, dy, dx = spacing_mm
    chain: list[tuple[int, Mask]] = []
    for z in range(len(lumen) - 1, -1, -1):
        cut = _central_cut(lumen[z], inside[z], (dy, dx), cc3d, chain[-1][1] if chain else None)
        if cut is not None:
            chain.append((z, cut))
        elif chain and len(chain) * dz >= LEAST_LENGTH_MM:
            break
        else:
            chain = []
    seed = np.zeros_like(lumen)
    if len(chain) * dz < LEAST_LENGTH_MM:
        return seed, 0.0
    for z, cut in chain:
        seed[z] = cut
    return seed, float(np.median([cut.sum() for _, cut in chain]) * dy * dx)


def _central_cut(plane: Mask, body: Mask, spacing_mm: tuple[float, float], cc3d, above: Mask | None) -> Mask | None:
    """The component of this plane that looks like a trachea: overlaps the one above it, or is round and central."""
    dy, dx = spacing_mm
    labels, n = cc3d.connected_components(plane[None], connectivity=6, return_N=True)
    best, least = None, 0.6 if above is None else 0.35
    columns = np.flatnonzero(body.any(axis=0))
    areas = np.bincount(labels.ravel(), minlength=n + 1)[1:] * (dy * dx)
    for label in np.flatnonzero((areas >= LUMEN_MM2[0]) & (areas <= LUMEN_MM2[1])) + 1:
        cut, mm2 = labels[0] == label, areas[label - 1]
        if above is not None and not (cut & above).any():
            continue
        ys, xs = np.nonzero(cut)
        off_middle = abs(xs.mean() - (columns[0] + columns[-1]) / 2) / (columns[-1] - columns[0] + 1)
        across = np.hypot(np.ptp(ys) * dy + dy, np.ptp(xs) * dx + dx) / np.sqrt(2)
        roundness = mm2 / (np.pi / 4 * across**2)
        if off_middle < 0.15 and roundness > least:
            best, least = cut, roundness
    return best


def _follow(seed: Mask, lumen: Mask, cut_mm2: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Grow the seed through the lumen a voxel at a time; stop, and step back, when the front grows too wide."""
    dz, dy, dx = spacing_mm
    step_mm3 = cut_mm2 * min(spacing_mm)
    grown, history = seed.copy(), [seed]
    for _ in range(int(120 / min(spacing_mm))):
        front = touching(grown) & lumen & ~grown
        mm3 = np.count_nonzero(front) * dz * dy * dx
        if mm3 == 0:
            return grown
        if mm3 > BURST * step_mm3 + 20 * dz * dy * dx:
            return history[max(0, len(history) - 3)]
        grown = grown | front
        history.append(grown)
    return grown
