"""Measure: what the classifiers call a nodule becomes findings, each with an outline, a size and a place of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.findings import Finding, Findings
from artifacts.lumps import NO_LUMP, Lumps
from artifacts.lungmask import LEFT, RIGHT, LungMask
from artifacts.scores import Scores
from artifacts.volume import Volume
from tasks.caliper import axial_axes_mm
from tasks.grow import Outline, grow
from tasks.pleura import pleura_distance_mm
from tasks.stage import Params, stage

SIDE_GRID_MM = 5.0
SAME_SHARE = 0.2  # of the smaller outline: what shares more is one nodule outlined twice
PROFILE_MM = 0.5


class MeasureParams(Params):
    """What is a finding, and which candidates are one."""

    min_probability: float | None = Field(
        None,
        ge=0.01,
        le=0.99,
        title="Least probability",
        description="Candidates less probable than this are no findings; empty: as the nodule network's card says",
    )
    merge_mm: float = Field(
        12.0,
        ge=0.0,
        le=40.0,
        title="Merge within",
        description="Candidates nearer than this to a more probable one are the same finding, unless lung lies between, mm",
        json_schema_extra={"unit": "mm"},
    )


@dataclass
class _Nodule:
    """One finding before it has a rank."""

    seed_lps_mm: NDArray[np.float64]
    p_nodule: float
    p_malignant: float | None
    outline: Outline
    lump_ids: set[int]

    def is_near(self, places_lps_mm: NDArray[np.float64], within_mm: float) -> bool:
        centers = np.stack([self.seed_lps_mm, self.outline.center_lps_mm])
        return bool(np.linalg.norm(centers[:, None] - places_lps_mm, axis=-1).min() < within_mm)


@stage("measure", version=5, params=MeasureParams)
def measure(
    volume: Volume,
    lung_mask: LungMask,
    lumps: Lumps,
    nodule_scores: Scores,
    malignancy_scores: Scores,
    params: MeasureParams = MeasureParams(),
) -> Findings:
    """Candidates (in ``lumps``) and what the classifiers say of each -> findings, most probable first, and their label map."""
    nodules = _nodules(volume, lung_mask, lumps, nodule_scores, malignancy_scores, params)
    centers = np.array([n.outline.center_lps_mm for n in nodules]).reshape(-1, 3)
    labels = _label_map(volume, nodules)
    sides = _sides(lung_mask, centers)
    pleura = pleura_distance_mm(lung_mask, volume.geometry.zyx_from_lps_mm(centers))
    findings = [
        _finding(volume, rank, nodule, side, float(distance))
        for rank, (nodule, side, distance) in enumerate(zip(nodules, sides, pleura, strict=True), start=1)
    ]
    return Findings(findings, labels, volume.geometry, nodule_scores.threshold, malignancy_scores.threshold)


def _nodules(
    volume: Volume, lung_mask: LungMask, lumps: Lumps, nodule: Scores, malignant: Scores, params: MeasureParams
) -> list[_Nodule]:
    """The most probable candidate first; a candidate in a nodule's outline, or one thing with it, belongs to it."""
    p = np.nan_to_num(nodule.probability, nan=-1.0).astype(np.float64)
    least = nodule.threshold if params.min_probability is None else params.min_probability
    chosen = np.flatnonzero(p > least)
    deepest = np.array([lumps.candidates[i].radius_mm for i in chosen])
    found: list[_Nodule] = []
    for i in chosen[np.lexsort((chosen, -deepest, -np.round(p[chosen], 4)))]:
        candidate = lumps.candidates[i]
        place = np.array(candidate.center_lps_mm)
        owner = next((n for n in found if n.outline.contains(place)), None)
        if owner is None:
            grade = float(malignant.probability[i])
            outline = grow(volume, lung_mask, place, candidate.radius_mm)
            new = _Nodule(place, float(p[i]), None if np.isnan(grade) else grade, outline, set())
            owner = next((n for n in found if _one_thing(volume, n, new, params.merge_mm, least)), None)
            if owner is None:
                owner = new
                found.append(owner)
        if candidate.lump_id != NO_LUMP:
            owner.lump_ids.add(candidate.lump_id)
        owner.p_nodule = max(owner.p_nodule, float(p[i]))
    return sorted(found, key=lambda n: -n.p_nodule)


def _one_thing(volume: Volume, known: _Nodule, new: _Nodule, merge_mm: float, least: float) -> bool:
    """Whether ``new`` is ``known`` seen from beside: their outlines overlap, or it is near and

    is much less probable (a classifier sees the nodule at the edge of its box), or nothing stands out of the lung there, or no
    lung lies between the two.
    """
    if known.outline.shared(new.outline) > SAME_SHARE:
        return True
    if not known.is_near(np.stack([new.seed_lps_mm, new.outline.center_lps_mm]), merge_mm):
        return False
    shadow = new.p_nodule < (known.p_nodule + least) / 2
    return shadow or not np.isfinite(new.outline.surface_hu) or not _lung_between(volume, known.outline, new.outline)


def _lung_between(volume: Volume, one: Outline, other: Outline) -> bool:
    """Whether HU fall below both surfaces somewhere on the straight line from centre to centre."""
    from scipy.ndimage import gaussian_filter1d, map_coordinates

    ends = one.center_lps_mm, other.center_lps_mm
    samples = max(2, int(np.linalg.norm(ends[1] - ends[0]) / PROFILE_MM))
    places = volume.geometry.zyx_from_lps_mm(np.linspace(*ends, samples))
    hu = map_coordinates(volume.hu, places.T, order=1, mode="nearest", output=np.float32)
    return bool(gaussian_filter1d(hu, 1.0).min() < min(one.surface_hu, other.surface_hu))


def _label_map(volume: Volume, nodules: list[_Nodule]) -> NDArray[np.uint16]:
    """uint16 ``[z, y, x]``; where outlines overlap the more probable wins, but every finding keeps one voxel."""
    labels = np.zeros(volume.hu.shape, dtype=np.uint16)
    boxes = {}
    for rank in range(len(nodules), 0, -1):
        boxes[rank], inside = nodules[rank - 1].outline.voxels(volume.geometry)
        labels[boxes[rank]][inside] = rank
    for rank, box in boxes.items():
        if not (labels[box] == rank).any():
            center = volume.geometry.zyx_from_lps_mm(nodules[rank - 1].outline.center_lps_mm)
            labels[tuple(np.clip(np.rint(center).astype(int), 0, np.array(labels.shape) - 1))] = rank
    return labels


def _sides(lung_mask: LungMask, centers_lps_mm: NDArray[np.float64]) -> list[Literal["right", "left"]]:
    """The lung each place is nearest to, on a grid of some millimetres."""
    from scipy.spatial import cKDTree

    step = tuple(max(1, round(SIDE_GRID_MM / d)) for d in lung_mask.geometry.spacing_zyx)
    coarse = lung_mask.labels[:: step[0], :: step[1], :: step[2]]
    away = []
    for label in (RIGHT, LEFT):
        places = lung_mask.geometry.lps_mm_from_zyx(np.argwhere(coarse == label) * step)
        none = np.full(len(centers_lps_mm), np.inf)
        away.append(cKDTree(places, balanced_tree=False).query(centers_lps_mm)[0] if len(places) and len(none) else none)
    return ["right" if right <= left else "left" for right, left in zip(*away, strict=True)]


def _finding(volume: Volume, rank: int, nodule: _Nodule, side: Literal["right", "left"], pleura_mm: float) -> Finding:
    outline = nodule.outline
    center_zyx = volume.geometry.zyx_from_lps_mm(outline.center_lps_mm)
    long_axis, short_axis = axial_axes_mm(outline)
    z = min(max(round(float(center_zyx[0])), 0), volume.hu.shape[0] - 1)
    source = volume.slice_of(z)
    return Finding(
        rank=rank,
        label=rank,
        center_lps_mm=tuple(outline.center_lps_mm.tolist()),
        center_zyx=tuple(center_zyx.tolist()),
        diameter_mm=(long_axis + short_axis) / 2,
        long_axis_mm=long_axis,
        short_axis_mm=short_axis,
        volume_mm3=outline.volume_mm3,
        mean_hu=outline.mean_hu,
        p_nodule=nodule.p_nodule,
        p_malignant=nodule.p_malignant,
        side=side,
        pleura_distance_mm=pleura_mm,
        slice_index=z,
        slice_number=source.instance_number if source else None,
        sop_instance_uid=source.sop_instance_uid if source else None,
        lump_ids=tuple(sorted(nodule.lump_ids)),
    )
