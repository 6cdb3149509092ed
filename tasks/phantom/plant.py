"""Nodules planted into a real scan: real lungs, real noise, and a truth that is known.

What is planted is the contrast of a nodule against what was there: parenchyma is lifted to the nodule's density and keeps its own
noise, vessels inside it stay as bright as they are, and the border is as blurred as the scan's own edges (estimated from how its
noise hangs together, and from the thickness of its slices).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry, Vector
from artifacts.lungmask import LungMask
from artifacts.volume import SourceSlice, Volume
from tasks.phantom.canvas import Distance
from tasks.phantom.dicom import instance_uid, uid_of
from tasks.phantom.nodules import (
    SUBSOLID,
    NoduleSpec,
    PhantomNodule,
    Shape,
    complete,
    directions,
    draw_shape,
    draw_varied_specs,
    least_seen_mm,
    measure,
    risk,
    sample,
)
from tasks.phantom.shapes import inside

COARSE_MM, FINE_MM, TRIES = 2.0, 0.45, 60
VESSEL_HU = -550.0
Box = tuple[slice, slice, slice]


@dataclass
class Planted:
    """volume: a copy with the nodules, under a series UID of its own; nodules: the truth, LPS mm; labels: uint8 ``[z, y, x]``,
    0 or 1 + index into ``nodules``. Where there was no room, there are fewer than were asked for."""

    volume: Volume
    nodules: list[PhantomNodule]
    labels: NDArray[np.uint8]


def plant(
    volume: Volume,
    lung_mask: LungMask,
    seed: int,
    nodules: int | Sequence[NoduleSpec] | None = None,
    avoid: Sequence[tuple[Vector, float]] = (),
) -> Planted:
    """Plant nodules (how many or which; one to five by default) into a scan with known lungs.

    avoid: centres (LPS mm) and radii (mm) of what is in the scan already; nothing is planted within 8 mm of it. The same scan and
    seed give the same result. Any orientation; HU int16 ``[z, y, x]``.
    """
    rng = np.random.default_rng([0x91A7, seed])
    soil = Soil.of(volume, lung_mask)
    labels = np.zeros(volume.hu.shape, dtype=np.uint8)
    out = Planted(replace(volume, hu=volume.hu.copy(), qc=[*volume.qc]), [], labels)
    taken = [(np.array(center), radius + 2.0) for center, radius in avoid]
    for wish in _wishes(rng, nodules, soil.thickness_mm):
        spec = complete(rng, wish, varied=True, least_mm=least_seen_mm(soil.thickness_mm))
        shape = draw_shape(rng, spec, varied=True)
        center = soil.place(rng, shape, taken)
        if center is not None:
            out.nodules.append(_insert(rng, out, soil, shape, center))
            taken.append((center, shape.reach_mm))
    _rename(out.volume, uid_of("planted", volume.series.uid, seed, [n.center_lps_mm for n in out.nodules]))
    return out


def _wishes(rng: np.random.Generator, nodules: int | Sequence[NoduleSpec] | None, thickness_mm: float) -> list[NoduleSpec]:
    if isinstance(nodules, Sequence):
        return list(nodules)
    return draw_varied_specs(rng, int(rng.integers(1, 6)) if nodules is None else nodules, thickness_mm)


def _rename(volume: Volume, uid: str) -> None:
    """What was changed is another series, of images of its own."""
    slices = tuple(SourceSlice(instance_uid(uid, k + 1), k + 1, s.position_mm) for k, s in enumerate(volume.series.slices))
    volume.series = replace(volume.series, uid=uid, slices=slices)


@dataclass(frozen=True)
class Soil:
    """What planting needs of a scan: depth under the lungs' surface (mm) and HU on a coarse grid, blur, slice thickness."""

    geometry: Geometry
    hu: NDArray[np.int16]
    coarse: Geometry
    depth: NDArray[np.float32]
    coarse_hu: NDArray[np.float32]
    blur_mm: float
    thickness_mm: float

    @classmethod
    def of(cls, volume: Volume, lung_mask: LungMask) -> Soil:
        from scipy.ndimage import distance_transform_edt, uniform_filter

        g = volume.geometry
        step = tuple(max(1, round(COARSE_MM / s)) for s in g.spacing_zyx)
        some = tuple(slice(None, None, n) for n in step)
        coarse = g.coarser(step)  # type: ignore[arg-type]
        depth = distance_transform_edt(lung_mask.labels[some] > 0, sampling=coarse.spacing_zyx).astype(np.float32)
        smooth = uniform_filter(volume.hu[some].astype(np.float32), 2)
        return cls(g, volume.hu, coarse, depth, smooth, blur_of(volume, lung_mask), thickness_mm(volume))

    def distance(self, lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Signed distance (mm) from the lungs' surface at points ``[..., 3]``: negative inside; outside 1 mm, whatever it is."""
        from scipy.ndimage import map_coordinates

        at = np.moveaxis(self.coarse.zyx_from_lps_mm(lps_mm), -1, 0)
        return 0.5 * COARSE_MM - map_coordinates(self.depth, at, order=1, mode="nearest")

    def place(
        self, rng: np.random.Generator, shape: Shape, taken: Sequence[tuple[NDArray[np.float64], float]]
    ) -> NDArray[np.float64] | None:
        """A centre (LPS mm) that fits the wish and keeps clear of the rest; None where there is no room."""
        r, place = float(shape.radii.mean()), shape.spec.place
        deep = self.depth > shape.radii.max() * 1.15 + 1.5
        good = {
            "pleural": (self.depth > 0.35 * r) & (self.depth < 0.9 * r),
            "vessel": deep & (self.coarse_hu > -450) & (self.coarse_hu < 150),
        }.get(str(place), deep & (self.coarse_hu < -700))
        where = np.flatnonzero(good)
        if not len(where):
            return None
        index = np.stack(np.unravel_index(rng.choice(where, TRIES), good.shape), axis=1)
        points = self.coarse.lps_mm_from_zyx(index + rng.uniform(-0.5, 0.5, index.shape))
        if place == "vessel":
            points = points + directions(rng, TRIES) * 0.8 * r
        for p in points:
            if all(np.linalg.norm(p - c) > gap + shape.reach_mm + 6 for c, gap in taken) and self.fits(shape, p):
                return np.asarray(p)
        return None

    def fits(self, shape: Shape, center: NDArray[np.float64]) -> bool:
        """Mostly in the lung, wholly in the scan, and nothing else bright where nothing should be."""
        box = box_around(self.geometry, center, shape.reach_mm)
        offset = _offsets(self.geometry, box, center)
        core = shape.core_distance(*np.moveaxis(offset, -1, 0)) < 0
        at = self.geometry.zyx_from_lps_mm(center)
        if not core.any() or (at < 1).any() or (at > np.array(self.geometry.shape_zyx) - 2).any():
            return False
        lung = (self.distance(center + offset[core]) < 0).mean()
        bright = (self.hu[box][core] > VESSEL_HU).mean()
        return bool(
            {"alone": lung > 0.98 and bright < 0.08, "vessel": lung > 0.95 and 0.02 < bright < 0.4}.get(
                str(shape.spec.place), lung > 0.55
            )
        )


def thickness_mm(volume: Volume) -> float:
    """Of its slices, or the distance between them where that is larger."""
    return max(volume.series.slice_thickness_mm or 0.0, volume.geometry.spacing_zyx[0])


def blur_of(volume: Volume, lung_mask: LungMask) -> float:
    """Standard deviation (mm) of the in-plane point spread, from how alike neighbouring pixels of dark lung are.

    Gaussian-filtered white noise at a distance d correlates as exp(-d^2 / 4 sigma^2). Kept within 0.3-0.9 mm: sharp kernels have
    negative correlations, and texture of the lung adds to soft ones.
    """
    from scipy.ndimage import gaussian_filter

    middle = volume.hu[len(volume.hu) // 2 - 2 : len(volume.hu) // 2 + 3].astype(np.float32)
    lung = lung_mask.labels[len(volume.hu) // 2 - 2 : len(volume.hu) // 2 + 3] > 0
    dark = lung & (middle < -780)
    rest = middle - gaussian_filter(middle, (0, 2.5, 2.5))
    both = dark[..., 1:] & dark[..., :-1]
    if both.sum() < 500:
        return 0.6
    rho = float(np.corrcoef(rest[..., 1:][both], rest[..., :-1][both])[0, 1])
    sigma = volume.geometry.spacing_zyx[2] / (2 * np.sqrt(-np.log(np.clip(rho, 1e-3, 0.95))))
    return float(np.clip(sigma, 0.3, 0.9))


def box_around(geometry: Geometry, center_lps_mm: NDArray[np.float64], reach_mm: float) -> Box:
    """The voxels within ``reach_mm`` of a place, cut at the scan's faces."""
    middle = geometry.zyx_from_lps_mm(center_lps_mm)
    reach = reach_mm * np.linalg.norm(geometry.inverse, axis=1)
    ends = zip(middle, reach, geometry.shape_zyx, strict=True)
    return tuple(slice(max(int(m - r), 0), max(min(int(m + r) + 2, n), 1)) for m, r, n in ends)  # type: ignore[return-value]


def _offsets(geometry: Geometry, box: Box, center: NDArray[np.float64]) -> NDArray[np.float64]:
    """LPS mm ``[z, y, x, 3]`` from a place to the voxels of a box."""
    index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
    return geometry.lps_mm_from_zyx(index) - center


def _insert(rng: np.random.Generator, out: Planted, soil: Soil, shape: Shape, center: NDArray[np.float64]) -> PhantomNodule:
    """Blend ``shape`` into the volume, mark it in the labels, and say what it became."""
    spec, g = shape.spec, soil.geometry
    box = box_around(g, center, shape.reach_mm + 3 * soil.blur_mm)
    offset = _offsets(g, box, center)
    _blend(rng, out.volume.hu, soil, shape, box, offset)
    core = (shape.core_distance(*np.moveaxis(offset, -1, 0)) < 0) & (soil.distance(center + offset) < 0)
    out.labels[box][core] = len(out.nodules) + 1
    mask, step = sample(shape, lambda x, y, z: soil.distance(center + np.stack(np.broadcast_arrays(x, y, z), axis=-1)))
    diameter, volume = measure(mask, step)
    middle = (np.argwhere(mask).mean(axis=0) - 0.5 * (mask.shape[0] - 1)) * step
    x, y, z = (float(v) for v in center + middle[::-1])
    p = risk(spec, diameter, _upper(soil, z))
    kind, margin, place = spec.kind or "solid", spec.margin or "smooth", spec.place or "alone"
    return PhantomNodule((x, y, z), diameter, volume, kind, margin, place, bool(rng.random() < p), p)


def _upper(soil: Soil, z_mm: float) -> bool:
    """In the upper 45 % of the lungs' height, as phantoms have it."""
    ends = soil.coarse.lps_mm_from_zyx(np.argwhere(soil.depth > 0)[[0, -1]])[:, 2]
    return bool(z_mm > ends.min() + 0.55 * np.ptp(ends))


def _blend(
    rng: np.random.Generator, hu: NDArray[np.int16], soil: Soil, shape: Shape, box: Box, offset: NDArray[np.float64]
) -> None:
    from scipy.ndimage import gaussian_filter

    kind, spacing = shape.spec.kind, soil.geometry.spacing_zyx
    blur = [0.0, *(soil.blur_mm / s for s in spacing[1:])]
    was = hu[box].astype(np.float32)
    tissue = gaussian_filter(was, [0.6 / spacing[0], *(1.2 / s for s in spacing[1:])])  # what was there, without its noise
    uneven = gaussian_filter(rng.standard_normal(was.shape).astype(np.float32), [1.3 / s for s in spacing])
    uneven /= max(float(uneven.std()), 1e-6)
    faint = kind in SUBSOLID
    share = gaussian_filter(shares(soil, shape.distance, offset), blur)
    if faint:  # haze ends softly
        share = gaussian_filter(share, [rng.uniform(0.5, 1.2) / s for s in spacing])
    soft, inner = float(rng.uniform(-20, 60)), kind == "calcified" and rng.random() < 0.5
    lung = float(np.median(was[was < -700])) if (was < -700).any() else -850.0
    target = (soft if inner else shape.tissue_hu(lung)) + uneven * rng.uniform(15, 60 if faint else 35)
    now = was + share * np.maximum(target - tissue, 0)
    if kind == "part-solid" or inner:
        core = gaussian_filter(shares(soil, lambda x, y, z: shape.core_distance(x, y, z, shape.core), offset), blur)
        now += core * np.maximum((shape.hu if inner else soft) + 25 * uneven - np.maximum(target, tissue), 0)
        target = np.maximum(target, shape.hu if inner else soft)
    noise = float((was - tissue)[was < -780].std()) if (was < -780).sum() > 50 else 20.0
    now = np.minimum(now, np.maximum(was, target + 2.5 * noise))  # the rim of a vessel that was smoothed away is no peak
    hu[box] = np.clip(np.rint(now), -1024, 3071)


def shares(soil: Soil, distance: Distance, offset: NDArray[np.float64]) -> NDArray[np.float32]:
    """Of each voxel (its slice as thick as the scan's) how much lies inside; ``offset`` LPS mm ``[z, y, x, 3]``."""
    g = soil.geometry
    sizes = (soil.thickness_mm, *g.spacing_zyx[1:])
    fine = [(np.arange(n := max(1, int(np.ceil(s / FINE_MM)))) + 0.5) / n - 0.5 for s in sizes]
    rough = distance(*np.moveaxis(offset, -1, 0))
    share = (rough < 0).astype(np.float32)
    border = np.abs(rough) < 0.75 * np.linalg.norm(sizes) + 0.5  # distances along rays are up to half as long again as true ones
    steps = np.stack(np.meshgrid(*fine, indexing="ij"), axis=-1).reshape(-1, 3) @ (
        np.array(g.directions_zyx) * np.array(sizes)[:, None]
    )
    places = offset[border].astype(np.float32)
    total = np.zeros(len(places), dtype=np.float32)
    for step in steps.astype(np.float32):
        total += inside(distance(*(places + step).T), 0.5 * FINE_MM + 0.2)
    share[border] = total / np.float32(len(steps))
    return share
