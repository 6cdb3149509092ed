"""A nodule's own outline: grown in Hounsfield units from a seed, on a fine local grid along the patient's axes.

The surface lies about halfway between the nodule and the lung around it, whatever the nodule's density; vessels are cut off by
an opening that scales with the nodule, the chest wall by the lung mask, closed over broad-based nodules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry
from artifacts.lungmask import LungMask
from artifacts.volume import Volume
from tasks.balls import Mask, box_of, dilate, erode

FIELDS_MM = ((12.0, 0.6), (26.0, 1.0), (60.0, 2.0))  # (reach, step) of the local grid; the next where the outline fills one
SOLID_HU = 40.0  # denser (calcium, contrast, metal) does not move the surface of the soft tissue around it
PARENCHYMA_HU = (-980.0, -600.0)
USUAL_LUNG_HU = -860.0
HALO_MM = (1.2, 2.2)
HALO_HU = 150.0  # above the lung: a part-solid nodule's ground glass
HALO_SHARE = 20  # percentile of the ring: all around, as ground glass is, and not here and there, as spicules are
FAINT_HU = 400.0  # less contrast than this: ground glass, smoothed more
NECK = 0.6  # of the nodule's greatest depth: what is thinner than twice this is a vessel, or the wall
LENGTH = 2.5  # nothing farther than this many times its greatest depth belongs to a nodule
LEAST_CONTRAST_HU = 60.0
SEED_MM = 3.0
WALL_CLOSE_MM = (20.0, 8.0, 5.0)  # close the lung locally; less, where the wall beside a nodule would come with it
WALL_MM, WALL_STEP_MM = 0.7, 2.0  # widen it a little; on a grid of this step
OWN_SURFACE = 0.5  # of a nodule's surface, at least, borders on something less dense; less: it is a piece of the wall
SMOOTH_MM = 0.45
LEVEL = 0.45  # of the way from lung to nodule: a little below the half, for blur shrinks a curved surface


@dataclass(frozen=True)
class Local:
    """A cube along the patient's axes, indexed [to the head, to the back, to the left]; step in millimetres.

    hu is smoothed for finding the surface, raw is not.
    """

    center_lps_mm: NDArray[np.float64]
    step: float
    raw: NDArray[np.float32]
    lung: Mask
    hu: NDArray[np.float32]

    @property
    def half(self) -> int:
        return self.raw.shape[0] // 2

    def lps_mm(self, place_zyx: NDArray[np.floating | np.integer]) -> NDArray[np.float64]:
        """Of (fractional) indices ``[..., 3]`` of the cube."""
        return self.center_lps_mm + (np.asarray(place_zyx)[..., ::-1] - self.half) * self.step

    def distance_mm(self, place_zyx: tuple[int, ...]) -> NDArray[np.float32]:
        """From each voxel of the cube to one of them."""
        away = [(np.arange(n, dtype=np.float32) - p) * self.step for n, p in zip(self.raw.shape, place_zyx, strict=True)]
        return np.sqrt(away[0][:, None, None] ** 2 + away[1][:, None] ** 2 + away[2] ** 2)


@dataclass(frozen=True)
class Outline:
    """``mask`` on ``local``; the surface lies where ``local.hu`` crosses ``surface_hu``, unless it was cut."""

    local: Local
    mask: Mask
    surface_hu: float

    @cached_property
    def volume_mm3(self) -> float:
        return float(np.count_nonzero(self.mask) * self.local.step**3)

    @cached_property
    def own_surface(self) -> float:
        """Share (0..1) of what is beside the outline that is less dense: the rest was cut, from the wall or from vessels."""
        step = self.local.step
        beside = self.local.hu[dilate(self.mask, (step,) * 3, step) & ~self.mask]
        return float(np.count_nonzero(beside <= self.surface_hu) / max(beside.size, 1))

    @property
    def mean_hu(self) -> float:
        return float(self.local.raw[self.mask].mean())

    @cached_property
    def center_lps_mm(self) -> NDArray[np.float64]:
        return self.local.lps_mm(np.argwhere(self.mask).mean(axis=0))

    def contains(self, lps_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the places ``[..., 3]`` lie in the outline."""
        local = self.local
        place = np.rint((lps_mm - local.center_lps_mm)[..., ::-1] / local.step).astype(np.intp) + local.half
        inside = ((place >= 0) & (place < len(self.mask))).all(axis=-1)
        at = np.clip(place, 0, len(self.mask) - 1)
        return inside & self.mask[at[..., 0], at[..., 1], at[..., 2]]

    def shared(self, other: Outline) -> float:
        """How much of the smaller of the two lies in both, 0..1."""
        small, large = sorted((self, other), key=lambda o: o.volume_mm3)
        return float(large.contains(small.local.lps_mm(np.argwhere(small.mask))).mean())

    def voxels(self, geometry: Geometry) -> tuple[tuple[slice, ...], Mask]:
        """A box of the scan, and which of its voxels have their centre in the outline."""
        places = geometry.zyx_from_lps_mm(self.local.lps_mm(np.argwhere(self.mask)))
        low = np.clip(np.floor(places.min(axis=0)).astype(int), 0, np.array(geometry.shape_zyx) - 1)
        high = np.clip(np.ceil(places.max(axis=0)).astype(int) + 1, low + 1, geometry.shape_zyx)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
        return box, self.contains(geometry.lps_mm_from_zyx(index))


def sample(
    volume: Volume,
    lung_mask: LungMask,
    center_lps_mm: NDArray[np.float64],
    reach_mm: float,
    step: float,
    close_mm: float = WALL_CLOSE_MM[0],
) -> Local:
    """HU and lung, closed by ``close_mm``, around a place; what lies beyond the scan is no lung."""
    from scipy.ndimage import gaussian_filter

    offset = _offsets(reach_mm, step)
    zyx = _places(volume.geometry, center_lps_mm, offset)
    raw = _trilinear(volume.hu, zyx)
    lung = _lung_and_nodules(lung_mask, center_lps_mm, offset, close_mm)
    for along, n in zip(zyx, volume.hu.shape, strict=True):
        if along.min() < -0.5 or along.max() > n - 0.5:
            lung &= (along >= -0.5) & (along <= n - 0.5)
    return Local(center_lps_mm, step, raw, lung, gaussian_filter(raw, max(SMOOTH_MM / step, 0.5)))


def _offsets(reach_mm: float, step: float) -> NDArray[np.float64]:
    half = int(np.ceil(reach_mm / step))
    return np.arange(-half, half + 1, dtype=np.float64) * step


def _places(geometry: Geometry, center_lps_mm: NDArray[np.float64], offset_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[3, n, n, n]``: the scan's indices (z, y, x) at all offsets along LPS z, y, x from a place."""
    z, y, x = ((offset_mm[:, None] * geometry.inverse[:, axis]).T for axis in (2, 1, 0))
    z += geometry.zyx_from_lps_mm(center_lps_mm)[:, None]
    return z[:, :, None, None] + y[:, None, :, None] + x[:, None, None, :]


def _trilinear(array: NDArray[Any], zyx: NDArray[np.float64]) -> NDArray[np.float32]:
    """``array`` at the indices ``[3, n, n, n]``; beyond its faces the last voxels go on."""
    from scipy.ndimage import map_coordinates

    corners, last = (
        zyx[:, :: zyx.shape[1] - 1, :: zyx.shape[2] - 1, :: zyx.shape[3] - 1].reshape(3, -1),
        np.array(array.shape) - 1,
    )
    low = np.clip(np.floor(corners.min(axis=1)).astype(int), 0, last)
    high = np.clip(np.ceil(corners.max(axis=1)).astype(int) + 1, low + 1, last + 1)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return map_coordinates(array[box].astype(np.float32), zyx - low[:, None, None, None], order=1, mode="nearest")


def _lung_and_nodules(
    lung_mask: LungMask, center_lps_mm: NDArray[np.float64], offset_mm: NDArray[np.float64], close_mm: float
) -> Mask:
    """The lung mask closed over broad-based nodules and a little wider; on a coarse grid, for the ball is large."""
    step = max(WALL_STEP_MM, float(offset_mm[-1]) / 20)
    wide = _offsets(float(offset_mm[-1]) + close_mm, step)
    lung = _trilinear(lung_mask.labels > 0, _places(lung_mask.geometry, center_lps_mm, wide)) >= 0.5
    if lung.any() and not lung.all():
        spacing = (step, step, step)
        lung = erode(dilate(lung, spacing, close_mm), spacing, close_mm - WALL_MM)
    between = np.maximum(1 - np.abs(offset_mm[:, None] - wide) / step, 0).astype(np.float32)  # linear interpolation
    fine = lung.astype(np.float32)
    for _ in range(3):  # the first axis, which goes to the back
        fine = np.tensordot(fine, between, axes=(0, 1))
    return fine >= 0.5


def grow(volume: Volume, lung_mask: LungMask, center_lps_mm: NDArray[np.float64], least_radius_mm: float = 1.5) -> Outline:
    """The outline of what is at ``center_lps_mm``; where nothing stands out of the lung, a ball of ``least_radius_mm``.

    Closed over a nodule at a bulge of the wall, the lung holds the bulge as well: an outline with little surface of its own is
    sought again with the lung closed less, and the one with the most is taken.
    """
    outline = _grow_closed(volume, lung_mask, center_lps_mm, WALL_CLOSE_MM[0])
    if outline is None:
        local = sample(volume, lung_mask, center_lps_mm, *FIELDS_MM[0])
        return Outline(local, local.distance_mm((local.half,) * 3) <= max(least_radius_mm, local.step), np.inf)
    if outline.own_surface >= OWN_SURFACE:
        return outline
    others = [_grow_closed(volume, lung_mask, center_lps_mm, close_mm) for close_mm in WALL_CLOSE_MM[1:]]
    return max([outline, *(o for o in others if o)], key=lambda o: o.own_surface)


def _grow_closed(volume: Volume, lung_mask: LungMask, center_lps_mm: NDArray[np.float64], close_mm: float) -> Outline | None:
    outline = None
    for reach, step in FIELDS_MM:
        found = _grow_in(sample(volume, lung_mask, center_lps_mm, reach, step, close_mm))
        outline = found or outline
        if found is None or not _fills(found):
            break
    return outline


def _fills(outline: Outline) -> bool:
    """Does the outline reach the end of its field?"""
    away = outline.local.distance_mm((outline.local.half,) * 3)[outline.mask]
    return bool(away.max() > (outline.local.half - 1.5) * outline.local.step)


def _grow_in(local: Local) -> Outline | None:
    """The outline within one field, or None where nothing denser than lung is found near the middle."""
    from scipy.ndimage import gaussian_filter

    background = _background_hu(local)
    seed = _seed(local)
    core = min(_core_hu(local, seed), SOLID_HU)
    if core < background + LEAST_CONTRAST_HU:
        return None
    if core - background < FAINT_HU:
        local = replace(local, hu=gaussian_filter(local.hu, 1.0 / local.step))
    outline = _cut_free(local, background + LEVEL * (core - background), seed)
    if outline is None:
        return None
    core = min(max(_inner_hu(outline), background + LEAST_CONTRAST_HU), SOLID_HU)
    outline = _cut_free(local, background + LEVEL * (core - background), seed) or outline
    halo = _halo_hu(outline)
    if halo - background > HALO_HU and core - background > FAINT_HU:
        return _cut_free(local, (halo + background) / 2, seed) or outline
    return outline


def _background_hu(local: Local) -> float:
    here = local.raw[local.lung]
    here = here[(here > PARENCHYMA_HU[0]) & (here < PARENCHYMA_HU[1])]
    return float(np.median(here)) if len(here) > 50 else USUAL_LUNG_HU


def _seed(local: Local) -> tuple[int, int, int]:
    """The densest place, smoothed over a nodule's core, within a few millimetres of the middle."""
    from scipy.ndimage import gaussian_filter

    half, reach = local.half, int(np.ceil(SEED_MM / local.step))
    box = (slice(half - reach - 3, half + reach + 4),) * 3
    score = gaussian_filter(local.raw[box], 1.2 / local.step) - 30 * local.distance_mm((half,) * 3)[box]
    score[(local.distance_mm((half,) * 3)[box] > SEED_MM)] = -np.inf
    inside = local.lung[box]
    if inside.any():
        score[~inside] = -np.inf
    at = np.unravel_index(int(np.argmax(score)), score.shape)
    return tuple(int(a) + half - reach - 3 for a in at)  # type: ignore[return-value]


def _core_hu(local: Local, seed: tuple[int, int, int]) -> float:
    return float(local.hu[local.distance_mm(seed) <= max(1.0, local.step)].mean())


def _cut_free(local: Local, surface_hu: float, seed: tuple[int, int, int]) -> Outline | None:
    """What is denser than ``surface_hu`` and belongs to the seed once all that is thin beside it is cut off."""
    import cc3d

    dense = (local.hu > surface_hu) & local.lung
    if not dense[seed]:
        return None
    labels = cc3d.connected_components(dense, connectivity=6)
    piece = labels == labels[seed]
    depth = _depth_mm(piece, local.step)
    top = _climb(depth, seed, int(np.ceil(SEED_MM / local.step)))
    thick = float(depth[top])
    cores = cc3d.connected_components(depth >= NECK * thick, connectivity=26)
    core = (cores == cores[top]) & (local.distance_mm(top) <= LENGTH * thick)
    mask = piece & dilate(core, (local.step,) * 3, NECK * thick + local.step)
    return Outline(local, mask, surface_hu)


def _depth_mm(mask: Mask, step: float) -> NDArray[np.float64]:
    """From each voxel of ``mask`` to its surface, 0 outside; what lies beyond the array is outside."""
    from scipy.ndimage import distance_transform_edt

    box = box_of(mask)
    depth = np.zeros(mask.shape)
    inner = distance_transform_edt(np.pad(mask[box], 1), sampling=step)[1:-1, 1:-1, 1:-1]
    depth[box] = np.maximum(inner - step / 2, 0)
    return depth


def _climb(depth: NDArray[np.floating], start: tuple[int, int, int], moves: int) -> tuple[int, int, int]:
    """The deepest neighbour, and its deepest neighbour, a few times."""
    at = start
    for _ in range(moves):
        box = tuple(slice(max(0, p - 1), p + 2) for p in at)
        best = np.unravel_index(int(np.argmax(depth[box])), depth[box].shape)
        there = tuple(int(b) + s.start for b, s in zip(best, box, strict=True))
        if depth[there] <= depth[at]:
            break
        at = there  # type: ignore[assignment]
    return at


def _inner_hu(outline: Outline) -> float:
    """Median HU of the deeper half of an outline."""
    depth = _depth_mm(outline.mask, outline.local.step)
    return float(np.median(outline.local.hu[depth >= 0.5 * depth.max()]))


def _halo_hu(outline: Outline) -> float:
    """Low HU in a ring 1.2 to 2.2 mm beside the outline, in the axial planes through its middle third."""
    mask, local = outline.mask, outline.local
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    third = len(planes) // 3
    middle = slice(planes[third], planes[len(planes) - third - 1] + 1)
    within = (np.inf, local.step, local.step)  # no step to another plane is short enough
    ring = dilate(mask[middle], within, HALO_MM[1]) & ~dilate(mask[middle], within, HALO_MM[0])
    here = local.hu[middle][ring & local.lung[middle]]
    return float(np.percentile(here, HALO_SHARE)) if len(here) > 20 else -np.inf
