"""What classifiers are trained on: crops at nodules, at bright places, and where the real line would have them look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from artifacts.checkpoint import CropSpec
from artifacts.examples import Examples
from artifacts.geometry import Geometry
from artifacts.lumps import Candidate, Lumps
from tasks.crop import CropParams, crop
from tasks.group import GroupParams, group
from tasks.nets import Network
from tasks.outline import outline
from tasks.phantom import Phantom, PhantomNodule
from tasks.segment import segment
from tasks.training.phantoms import TrainingSource

DOUBT_MM = 4.0  # farther than its radius but not than this beyond it: neither the nodule nor surely something else


def proposed(
    phantom: Phantom, segmenter: Network, threshold: float, blobs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``[n, 3]`` candidates (LPS mm) of the real stages, from a threshold lower than the line's: harder ones too; and blobs."""
    lungs = outline(phantom.volume)
    heat = segment(phantom.volume, lungs, network=segmenter)
    lumps = group(phantom.volume, lungs, heat, GroupParams(threshold=threshold, blobs=blobs))
    places = np.array([c.center_lps_mm for c in lumps.candidates], dtype=np.float64).reshape(-1, 3)
    return places[~lumps.is_blob], places[lumps.is_blob]


def jittered(rng: np.random.Generator, phantom: Phantom, times: int) -> NDArray[np.float64]:
    """Each nodule's centre ``times`` times, off by up to half its radius and 6 mm: of a large one, one side may be proposed."""
    centers = np.array([n.center_lps_mm for n in phantom.nodules]).reshape(-1, 3).repeat(times, axis=0)
    off = np.minimum([n.diameter_mm / 4 for n in phantom.nodules], 6.0).repeat(times)
    return centers + rng.uniform(-1, 1, centers.shape) * off[:, None]


def bright_places(rng: np.random.Generator, phantom: Phantom, n: int) -> NDArray[np.float64]:
    """``[n, 3]`` (LPS mm) voxels of vessels, mimics and borders in the lungs, and some of nothing."""
    bright = (phantom.lung_labels > 0) & (phantom.volume.hu > -500) & (phantom.nodule_labels == 0)
    flat = rng.choice(np.flatnonzero(bright), n)
    return phantom.volume.geometry.lps_mm_from_zyx(np.stack(np.unravel_index(flat, bright.shape), axis=1))


def mimic_places(phantom: Phantom) -> NDArray[np.float64]:
    """``[n, 3]`` (LPS mm) centres of scars, lymph nodes and plaques."""
    return np.array([m.center for m in phantom.mimics], dtype=np.float64).reshape(-1, 3)


def cut_examples(
    source: TrainingSource, centers_lps_mm: NDArray[np.float64], origin: NDArray[np.intp], spec: CropSpec
) -> Examples:
    """Crops at these places through the crop stage, each with its truth; places in doubt are left out."""
    phantom = source.phantom
    nodule, sure = which_nodule(phantom.nodules, centers_lps_mm)
    for doubtful, radius in phantom.doubtful:
        sure &= np.linalg.norm(centers_lps_mm - np.array(doubtful), axis=1) > radius + DOUBT_MM
    nodule, centers, origin = nodule[sure], centers_lps_mm[sure], origin[sure]
    hit = nodule >= 0
    rows = [(n.malignant, n.p_malignant, n.diameter_mm) for n in phantom.nodules]
    table = np.array([*rows, (-1, np.nan, 0.0)])[nodule]
    crops = crop(phantom.volume, lumps_at(centers, phantom.volume.geometry), params=CropParams(spec=spec))
    return Examples(
        uid=source.uid,
        patient=source.uid,
        split=source.split,
        fold=0,
        spec=spec,
        spacing_zyx_mm=crops.spacing_zyx_mm,
        hu=crops.hu,
        label=hit.astype(np.uint8),
        malignant=table[:, 0].astype(np.int8),
        nodule=nodule.astype(np.int32),
        origin=origin.astype(np.uint8),
        diameter_mm=table[:, 2].astype(np.float32),
        rating=np.full(len(hit), np.nan, np.float32),
        risk=table[:, 1].astype(np.float32),
        centers_lps_mm=centers,
        offset_zyx=crops.offset_zyx,
    )


def which_nodule(
    nodules: Sequence[PhantomNodule], places_lps_mm: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Of each place the nodule that it lies in (-1: none), and whether that is sure: not within ``DOUBT_MM`` of one."""
    if not nodules:
        return np.full(len(places_lps_mm), -1), np.ones(len(places_lps_mm), bool)
    gaps = np.linalg.norm(places_lps_mm[:, None] - np.array([n.center_lps_mm for n in nodules])[None], axis=2)
    beyond = gaps - np.array([n.diameter_mm / 2 for n in nodules])
    nearest = beyond.argmin(axis=1)
    margin = beyond[np.arange(len(beyond)), nearest]
    return np.where(margin <= 0, nearest, -1), (margin <= 0) | (margin > DOUBT_MM)


def lumps_at(centers_lps_mm: NDArray[np.float64], geometry: Geometry) -> Lumps:
    """Places as the crop stage wants them."""
    zyx = geometry.zyx_from_lps_mm(centers_lps_mm)
    rows = zip(zyx.tolist(), centers_lps_mm.tolist(), strict=True)
    return Lumps([], [Candidate(1, "center", tuple(i), tuple(p), 0.0, 1.0) for i, p in rows], geometry)
