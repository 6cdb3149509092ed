"""What classifiers are trained on: crops at nodules, at bright places, and where the real line would have them look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artifacts.checkpoint import CropSpec
from artifacts.geometry import Geometry
from artifacts.lumps import Candidate, Lumps
from tasks.crop import CropParams, crop
from tasks.group import GroupParams, group
from tasks.nets import Network
from tasks.outline import outline
from tasks.phantom import Phantom
from tasks.segment import segment

DOUBT_MM = 4.0  # farther than its radius but not than this beyond it: neither the nodule nor surely something else


@dataclass
class Examples:
    """hu int16 ``[n, z, y, x]``; of which nodule, -1 none; and that nodule's malignancy, its risk, its diameter (0 for none)."""

    hu: NDArray[np.int16]
    nodule: NDArray[np.int32]
    malignant: NDArray[np.bool_]
    risk: NDArray[np.float32]
    diameter_mm: NDArray[np.float32]

    @property
    def is_nodule(self) -> NDArray[np.float32]:
        return (self.nodule >= 0).astype(np.float32)

    def keep(self, which: NDArray[np.bool_]) -> Examples:
        return Examples(*(getattr(self, f)[which] for f in ("hu", "nodule", "malignant", "risk", "diameter_mm")))


def concatenate(parts: list[Examples]) -> Examples:
    fields = ("hu", "nodule", "malignant", "risk", "diameter_mm")
    return Examples(*(np.concatenate([getattr(p, f) for p in parts]) for f in fields))


def proposed(phantom: Phantom, segmenter: Network, threshold: float = 0.1) -> NDArray[np.float64]:
    """``[n, 3]`` candidates (LPS mm) of the real stages, from a threshold lower than the line's: harder ones too."""
    lungs = outline(phantom.volume)
    heat = segment(phantom.volume, lungs, network=segmenter)
    lumps = group(phantom.volume, lungs, heat, GroupParams(threshold=threshold))
    return np.array([c.center_lps_mm for c in lumps.candidates], dtype=np.float64).reshape(-1, 3)


def jittered(rng: np.random.Generator, phantom: Phantom, times: int) -> NDArray[np.float64]:
    """Each nodule's centre ``times`` times, off by up to half its radius and 3 mm."""
    centers = np.array([n.center_lps_mm for n in phantom.nodules]).repeat(times, axis=0)
    off = np.minimum([n.diameter_mm / 4 for n in phantom.nodules], 3.0).repeat(times)
    return centers + rng.uniform(-1, 1, centers.shape) * off[:, None]


def bright_places(rng: np.random.Generator, phantom: Phantom, n: int) -> NDArray[np.float64]:
    """``[n, 3]`` (LPS mm) voxels of vessels, mimics and borders in the lungs, and some of nothing."""
    bright = (phantom.lung_labels > 0) & (phantom.volume.hu > -500) & (phantom.nodule_labels == 0)
    flat = rng.choice(np.flatnonzero(bright), n)
    return phantom.volume.geometry.lps_mm_from_zyx(np.stack(np.unravel_index(flat, bright.shape), axis=1))


def cut_examples(phantom: Phantom, centers_lps_mm: NDArray[np.float64], spec: CropSpec) -> Examples:
    """Crops at these places through the crop stage, each with its truth; places in doubt are left out."""
    nodules = phantom.nodules
    gaps = np.linalg.norm(centers_lps_mm[:, None] - np.array([n.center_lps_mm for n in nodules])[None], axis=2)
    beyond = gaps - np.array([n.diameter_mm / 2 for n in nodules])
    nearest = beyond.argmin(axis=1)
    margin = beyond[np.arange(len(beyond)), nearest]
    sure = (margin <= 0) | (margin > DOUBT_MM)
    nearest, margin, centers = nearest[sure], margin[sure], centers_lps_mm[sure]
    hit = margin <= 0
    table = np.array([(n.malignant, n.p_malignant, n.diameter_mm) for n in nodules])[nearest] * hit[:, None]
    crops = crop(phantom.volume, lumps_at(centers, phantom.volume.geometry), params=CropParams(spec=spec))
    nodule = np.where(hit, nearest, -1).astype(np.int32)
    return Examples(crops.hu, nodule, table[:, 0] > 0, table[:, 1].astype(np.float32), table[:, 2].astype(np.float32))


def lumps_at(centers_lps_mm: NDArray[np.float64], geometry: Geometry) -> Lumps:
    """Places as the crop stage wants them."""
    zyx = geometry.zyx_from_lps_mm(centers_lps_mm)
    rows = zip(zyx.tolist(), centers_lps_mm.tolist(), strict=True)
    return Lumps([], [Candidate(1, "center", tuple(i), tuple(p), 0.0, 1.0) for i, p in rows], geometry)
