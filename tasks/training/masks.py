"""Masks of a scan's nodules: what readers drew, a label map that came with the scan, or grown around the annotation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from artifacts.dataset import Nodule, Ring
from artifacts.geometry import Geometry
from artifacts.lungmask import LungMask
from artifacts.volume import Volume
from tasks.grow import grow
from tasks.training.truth import UNMEASURED_MM, Truth

Box = tuple[slice, ...]
Mask = NDArray[np.bool_]
LIKELY = (0.6, 1.6)  # a grown outline's diameter over the annotated one; beyond that the annotation is right


def nodule_masks(volume: Volume, lung_mask: LungMask, truth: Truth, consensus: float) -> list[tuple[Box, Mask]]:
    """Of each nodule a box of the volume and which of its voxels are nodule; never empty.

    Of a label map, where one came with the scan. Where readers drew: voxels that at least the share ``consensus`` of them drew
    in. Else grown in Hounsfield units from the annotated centre, and a ball of the annotated diameter where what has grown is
    far from that size.
    """
    labelled = in_label_map(truth, volume.geometry) if truth.label_map else {}
    masks = []
    for nodule, rings in zip(truth.nodules, truth.rings, strict=True):
        if labelled:
            found = labelled.get(nodule.row)
        else:
            found = drawn(rings, volume.geometry, consensus) if rings else grown(volume, lung_mask, nodule)
        masks.append(found if found is not None and found[1].any() else ball(nodule, volume.geometry))
    return masks


def excluded_masks(volume: Volume, truth: Truth) -> list[tuple[Box, Mask]]:
    """Balls around the excluded findings."""
    return [ball(n, volume.geometry) for n in truth.excluded]


def in_label_map(truth: Truth, geometry: Geometry) -> dict[int, tuple[Box, Mask]]:
    """Row of a nodule -> its voxels in the scan's label map."""
    from scipy.ndimage import find_objects

    labels = truth.label_map.on(geometry) if truth.label_map else np.zeros(geometry.shape_zyx, np.uint16)
    boxes = find_objects(labels)
    return {k: (box, labels[box] == k + 1) for k, box in enumerate(boxes) if box is not None}


def grown(volume: Volume, lung_mask: LungMask, nodule: Nodule) -> tuple[Box, Mask] | None:
    """The outline that grows from the centre, within 0.75 diameters of it; None where its size is not the annotated one."""
    center = np.array(nodule.center_lps_mm)
    box, mask = grow(volume, lung_mask, center).voxels(volume.geometry)
    mask = mask & (_distance_mm(box, center, volume.geometry) <= 0.75 * nodule.diameter_mm)
    diameter = (6 * np.count_nonzero(mask) * volume.geometry.voxel_mm3 / np.pi) ** (1 / 3)
    return (box, mask) if LIKELY[0] <= diameter / nodule.diameter_mm <= LIKELY[1] else None


def ball(nodule: Nodule, geometry: Geometry) -> tuple[Box, Mask]:
    """Voxels whose centre lies within the radius, and the one nearest to the middle."""
    radius = (nodule.diameter_mm if nodule.diameter_mm > 0 else UNMEASURED_MM) / 2
    center = np.array(nodule.center_lps_mm)
    box = box_around(center, radius, geometry)
    away = _distance_mm(box, center, geometry)
    return box, away <= max(radius, float(away.min()))


def through(rng: np.random.Generator, box: Box, mask: Mask, n: int, jitter: int) -> NDArray[np.int64]:
    """``[n, 3]`` voxels (z, y, x): slices of a nodule, all before any again, off its middle by up to ``jitter`` pixels.

    As many through a small nodule as through a large one: what chance seldom shows is what networks miss.
    """
    z, y, x = (i + window.start for i, window in zip(np.nonzero(mask), box, strict=True))
    slices = np.resize(rng.permutation(np.unique(z)), n)
    middle = np.array([y.mean(), x.mean()]) + rng.integers(-jitter, jitter + 1, (n, 2))
    return np.column_stack([slices, np.rint(middle).astype(np.int64)])


def box_around(center_lps_mm: NDArray[np.float64], radius_mm: float, geometry: Geometry) -> Box:
    """The voxels that may lie within ``radius_mm``, inside the volume; one at least along each axis."""
    middle = geometry.zyx_from_lps_mm(center_lps_mm)
    reach = radius_mm * np.linalg.norm(geometry.inverse, axis=1)
    shape = np.array(geometry.shape_zyx)
    low = np.clip(np.floor(middle - reach).astype(int), 0, shape - 1)
    high = np.clip(np.ceil(middle + reach).astype(int) + 1, low + 1, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _distance_mm(box: Box, center_lps_mm: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
    return np.linalg.norm(geometry.lps_mm_from_zyx(index) - center_lps_mm, axis=-1)


def drawn(rings: Sequence[Ring], geometry: Geometry, consensus: float) -> tuple[Box, Mask] | None:
    """Voxels that at least the share ``consensus`` of the readers drew in; None where no ring reaches the volume.

    A ring counts on the planes of the volume nearest to its own slice: up to half the distance between slices drawn.
    """
    points = geometry.zyx_from_lps_mm(np.concatenate([r.points_lps_mm for r in rings]))
    shape = np.array(geometry.shape_zyx)
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - 1, 0, shape)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 2, 0, shape)
    if (high <= low).any():
        return None
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    readers = sorted({r.reader for r in rings})
    votes = np.zeros(high - low, np.uint8)
    for reader in readers:
        votes += _of_reader([r for r in rings if r.reader == reader], geometry, box)
    return box, votes >= max(consensus * len(readers), 1e-9)


def _of_reader(rings: Sequence[Ring], geometry: Geometry, box: Box) -> Mask:
    """What one reader drew, in ``box``."""
    flat = [(geometry.zyx_from_lps_mm(r.points_lps_mm), r.hole) for r in rings]
    levels = np.array([float(p[:, 0].mean()) for p, _ in flat])
    apart = np.diff(np.unique(levels.round(3)))
    reach = max(float(apart.min()) / 2 if len(apart) else 0.5, 0.5) + 1e-6
    mask = np.zeros([s.stop - s.start for s in box], bool)
    for z in range(box[0].start, box[0].stop):
        away = np.abs(levels - z)
        if away.min() <= reach:
            nearest = levels[away.argmin()]
            for hole in (False, True):
                for (points, is_hole), level in zip(flat, levels, strict=True):
                    if is_hole == hole and abs(level - nearest) < 1e-3:
                        inside = enclosed(points[:, 1:], box[1], box[2])
                        mask[z - box[0].start] = mask[z - box[0].start] & ~inside if hole else mask[z - box[0].start] | inside
    return mask


def enclosed(ring_yx: NDArray[np.float64], ys: slice, xs: slice) -> Mask:
    """Pixels strictly inside a closed ring of pixel positions ``[m, 2]`` (y, x): the ring itself is outside.

    A ring of one point (LIDC-IDRI's mark of a nodule below 3 mm), or one that encloses no pixel, gives the pixels on it.
    """
    from PIL import Image, ImageDraw

    shape = (ys.stop - ys.start, xs.stop - xs.start)
    points = [(float(x) - xs.start, float(y) - ys.start) for y, x in ring_yx]
    filled, line = Image.new("1", shape[::-1]), Image.new("1", shape[::-1])
    if len(points) > 2:
        ImageDraw.Draw(filled).polygon(points, fill=1, outline=1)
    ImageDraw.Draw(line).line([*points, points[0]], fill=1) if len(points) > 1 else ImageDraw.Draw(line).point(points, fill=1)
    inside = np.asarray(filled) & ~np.asarray(line)
    return inside if inside.any() else np.asarray(line).copy()
