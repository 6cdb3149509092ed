"""Group: suspicious voxels to lumps, and in each lump the places where a nodule may be.

A lump's centre of mass alone loses nodules: where a lump runs along the pleura or into a vessel, it lies outside the nodule.
So each place where a lump is locally thickest is proposed beside it. What the segmenter overlooks a filter may find: blobs are
proposed as well, as many as the card of the nodule classifier says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.geometry import Geometry
from artifacts.heatmap import HeatMap
from artifacts.lumps import NO_LUMP, Candidate, Lump, Lumps
from artifacts.lungmask import LungMask
from artifacts.volume import Volume
from tasks.blobs import blobs
from tasks.components import Components, describe, find_components
from tasks.depth import depth_mm
from tasks.peaks import apart, thickest_first
from tasks.stage import Params, stage

USUAL_THRESHOLD = 0.5


class GroupParams(Params):
    """What makes a lump and a candidate."""

    threshold: float | None = Field(
        None,
        ge=0.01,
        le=0.99,
        title="Threshold",
        description="Voxels more probable than this are suspicious; empty: as the segmenter's card says (0.5 without one)",
    )
    min_volume_mm3: float = Field(
        10.0,
        ge=0.0,
        le=200.0,
        title="Smallest lump",
        description="Smaller lumps are dropped, mm3 (a 4 mm nodule has 34)",
        json_schema_extra={"unit": "mm3"},
    )
    peak_separation_mm: float = Field(
        6.0,
        ge=2.0,
        le=30.0,
        title="Peak separation",
        description="Thick places of a lump nearer than this are one, mm",
        json_schema_extra={"unit": "mm"},
    )
    peak_depth_mm: float = Field(
        1.0,
        ge=0.0,
        le=5.0,
        title="Peak depth",
        description="A thick place lies at least this far below the lump's surface, mm",
        json_schema_extra={"unit": "mm"},
    )
    duplicate_mm: float = Field(
        3.0,
        ge=0.0,
        le=5.0,
        title="Same place",
        description="A peak nearer than this to the lump's centre of mass is not proposed again, nor a blob this near to any, mm",
        json_schema_extra={"unit": "mm"},
    )
    blobs: int | None = Field(
        None,
        ge=0,
        le=2000,
        title="Blobs",
        description="Small round places proposed beside the lumps, at most; empty: as the nodule classifier's card says",
    )


@stage("group", version=2, params=GroupParams)
def group(volume: Volume, lung_mask: LungMask, heat_map: HeatMap, params: GroupParams = GroupParams()) -> Lumps:
    """Heat map uint8 ``[z, y, x]`` -> lumps (26-connected voxels above the threshold), most probable first, and candidates.

    Of each lump its centre of mass is proposed first, then its peaks, thickest first; then come the blobs (``tasks.blobs``), the
    clearest first, which belong to no lump.
    """
    geometry = heat_map.geometry
    threshold = USUAL_THRESHOLD if params.threshold is None else params.threshold
    # probabilities are stored as round(255 p): above one half means 128 and more
    found = find_components(heat_map.probability, int(255 * threshold), params.min_volume_mm3 / geometry.voxel_mm3)
    lumps, candidates = _of_lumps(found, lung_mask, heat_map, params) if found.count else ([], [])
    candidates += _blobs(volume, lung_mask, heat_map, candidates, params)
    return Lumps(lumps, candidates, geometry)


def _of_lumps(
    found: Components, lung_mask: LungMask, heat_map: HeatMap, params: GroupParams
) -> tuple[list[Lump], list[Candidate]]:
    geometry = heat_map.geometry
    lumps = describe(found, lung_mask, geometry)
    depth, dense = depth_mm(found.flat, found.shape, geometry.spacing_zyx)
    centers = np.array([lump.center_zyx for lump in lumps])
    center_depth = dense[found.flat_of(np.rint(centers).astype(np.intp))]
    peaks = _peaks(found, depth, dense, centers, geometry, params)
    return lumps, _candidates(found, lumps, center_depth, peaks, depth, heat_map)


def _blobs(
    volume: Volume, lung_mask: LungMask, heat_map: HeatMap, known: list[Candidate], params: GroupParams
) -> list[Candidate]:
    """Those that no candidate is near to."""
    zyx, radii = blobs(volume, lung_mask, params.blobs or 0)
    places = volume.geometry.lps_mm_from_zyx(zyx)
    there = np.array([c.center_lps_mm for c in known]).reshape(-1, 3)
    new = (np.linalg.norm(places[:, None] - there, axis=2) > params.duplicate_mm).all(axis=1)
    at = np.clip(np.rint(zyx).astype(int), 0, np.array(heat_map.probability.shape) - 1)
    heat = heat_map.probability[tuple(at.T)] / 255.0
    rows = zip(zyx[new].tolist(), places[new].tolist(), radii[new].tolist(), heat[new].tolist(), strict=True)
    return [Candidate(NO_LUMP, "blob", tuple(i), tuple(p), r, h) for i, p, r, h in rows]


def _peaks(
    found: Components,
    depth: NDArray[np.float32],
    dense: NDArray[np.float32],
    centers: NDArray[np.float64],
    geometry: Geometry,
    params: GroupParams,
) -> NDArray[np.intp]:
    """Positions in the list of voxels, thickest first; ``dense`` is overwritten."""
    places = thickest_first(found.flat, dense, found.shape)
    places = places[depth[places] >= params.peak_depth_mm]
    mm = found.zyx[places] @ geometry.matrix.T
    chosen = apart(mm, found.of[places], params.peak_separation_mm)
    off_center = np.linalg.norm(mm[chosen] - (centers @ geometry.matrix.T)[found.of[places[chosen]]], axis=1)
    return places[chosen[off_center > params.duplicate_mm]]


def _candidates(
    found: Components,
    lumps: list[Lump],
    center_depth: NDArray[np.float32],
    peaks: NDArray[np.intp],
    depth: NDArray[np.float32],
    heat_map: HeatMap,
) -> list[Candidate]:
    of_lump: list[list[Candidate]] = []
    for lump, radius in zip(lumps, center_depth, strict=True):
        at = tuple(round(v) for v in lump.center_zyx)
        probability = float(heat_map.probability[at]) / 255
        of_lump.append([Candidate(lump.id, "center", lump.center_zyx, lump.center_lps_mm, float(radius), probability)])
    lps = heat_map.geometry.lps_mm_from_zyx(found.zyx[peaks])
    for peak, place in zip(peaks, lps, strict=True):
        i = int(found.of[peak])
        zyx = tuple(float(v) for v in found.zyx[peak])
        row = (zyx, tuple(place.tolist()), float(depth[peak]), float(found.weight[peak]) / 255)
        of_lump[i].append(Candidate(i + 1, "peak", *row))  # type: ignore[arg-type]
    return [candidate for candidates in of_lump for candidate in candidates]
