"""Outline and group against what scipy takes to group: label, then a weighted centre of mass; blobs against scipy's filters.

One volume of 300x512x512 voxels with a chest's air and about 1,900 lumps in its lungs; both sides see the same arrays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from artifacts.checkpoint import Blobs
from artifacts.geometry import Geometry
from artifacts.heatmap import HeatMap
from artifacts.lungmask import LungMask
from artifacts.volume import Series, Volume
from tasks.balls import box_of
from tasks.blobs import GRID_MM, LEAST_HU, SCALES_MM, WINDOW_HU, blobs
from tasks.group import group
from tasks.outline import outline

SHAPE = (300, 512, 512)
SPACING = (1.0, 0.7, 0.7)
LUMPS = 1900


def chest(seed: int = 0) -> tuple[Volume, HeatMap]:
    """An elliptic body with two lungs, noise, and a heat map of round blobs in the lungs."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    noise = rng.normal(0, 25, SHAPE[1:]).astype(np.int16)
    body = ((y - 256) / 190) ** 2 + ((x - 256) / 240) ** 2 < 1
    hu = np.where(body, np.int16(40), np.int16(-1000)) + noise
    lungs = np.zeros(SHAPE, dtype=bool)
    for middle in (146, 366):
        lungs |= ((z - 150) / 140) ** 2 + ((y - 256) / 140) ** 2 + ((x - middle) / 88) ** 2 < 1
    hu = np.where(lungs, np.int16(-860) + noise, hu).astype(np.int16)
    heat = np.zeros(SHAPE, dtype=np.uint8)
    inner = np.argwhere(lungs[::8, ::8, ::8]) * 8
    for cz, cy, cx in inner[rng.choice(len(inner), LUMPS, replace=False)]:
        r = rng.uniform(1.5, 5)
        box = tuple(slice(c - 6, c + 7) for c in (cz, cy, cx))
        dz, dy, dx = np.ogrid[-6:7, -6:7, -6:7]
        here = heat[box]
        ball = (dz**2 + dy**2 + dx**2 < r * r)[tuple(slice(0, n) for n in here.shape)]
        here[ball] = rng.integers(128, 256, np.count_nonzero(ball))
    heat[~lungs] = 0
    geometry = Geometry(SHAPE, SPACING, (0.0, 0.0, 0.0))
    return Volume(hu, geometry, Series("phantom")), HeatMap(heat, geometry)


def scipy_group(heat_map: HeatMap) -> int:
    from scipy import ndimage

    labels, n = ndimage.label(heat_map.probability > 127)
    ndimage.center_of_mass(heat_map.probability, labels, np.arange(1, n + 1))
    return int(n)


def scipy_blobs(volume: Volume, mask: LungMask) -> int:
    """Maxima in space and scale of the Laplacian of Gaussians, on the grid of ``tasks.blobs``: as scikit-image's blob_log."""
    from scipy import ndimage

    zoom = np.array(volume.geometry.spacing_zyx) / GRID_MM
    box = box_of(mask.labels > 0)
    hu = ndimage.zoom(np.clip(volume.hu[box], *WINDOW_HU).astype(np.float32), zoom, order=1)
    inside = ndimage.zoom((mask.labels[box] > 0).astype(np.uint8), zoom, order=0) > 0
    answers = np.stack([-(s**2) * ndimage.gaussian_laplace(hu, s) for s in SCALES_MM])
    return int(((answers == ndimage.maximum_filter(answers, 3)) & (answers > LEAST_HU) & inside).sum())


def best_of(n: int, *works: Callable[[], Any]) -> list[float]:
    """The best time of each, taken in turns, so that a busy machine is busy for all of them."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(n):
        for work, of in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            of.append(time.perf_counter() - start)
    return [min(of) for of in times]


def run(n: int = 5) -> list[dict[str, Any]]:
    """Rows of the table: what, ours_s, theirs_s, ratio, note, n."""
    volume, heat_map = chest()
    mask = outline(volume)
    lumps = group(volume, mask, heat_map)
    works = lambda: outline(volume), lambda: group(volume, mask, heat_map), lambda: scipy_group(heat_map)
    outlined, grouped, theirs = best_of(n, *works)
    shown = Blobs().shown
    clearest, logs = best_of(n, lambda: blobs(volume, mask, shown), lambda: scipy_blobs(volume, mask))
    return [
        {
            "what": f"outline + group, {'x'.join(map(str, SHAPE))}",
            "ours_s": outlined + grouped,
            "theirs_s": theirs,
            "ratio": theirs / (outlined + grouped),
            "reach": ">= 5x",
            "note": f"scipy label + weighted centre of mass alone; {len(lumps.lumps)} lumps, {len(lumps.candidates)} candidates; "
            f"outline {outlined:.2f} s, group {grouped:.2f} s",
            "n": n,
        },
        {
            "what": f"blobs, {'x'.join(map(str, SHAPE))}",
            "ours_s": clearest,
            "theirs_s": logs,
            "ratio": logs / clearest,
            "reach": "",
            "note": f"the {shown} clearest by the dot filter; theirs all maxima of scipy's Laplacian of Gaussians at its scales",
            "n": n,
        },
    ]


if __name__ == "__main__":
    for row in run():
        print("{what}: {ours_s:.2f} s against {theirs_s:.2f} s, {ratio:.1f}x, n={n}; {note}".format(**row))
