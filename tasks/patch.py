"""patch: a scan's slices for training the segmenter: through its nodules, at dense places and anywhere in the lungs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.lungmask import LungMask
from artifacts.patches import ORIGINS, Patches
from artifacts.rows import Layout
from artifacts.volume import AIR_HU, Volume
from tasks.cut import bright_places
from tasks.stage import Params, stage
from tasks.training.masks import excluded_masks, nodule_masks, through
from tasks.training.truth import Truth


class PatchParams(Params):
    """Which patches of a scan are kept."""

    size: int = Field(
        80, ge=16, le=512, multiple_of=8, title="Size", description="Pixels a side", json_schema_extra={"unit": "pixels"}
    )
    context: int = Field(3, ge=0, le=10, title="Context", description="Slices above and below that the network sees")
    slices_a_nodule: int = Field(
        5, ge=1, le=100, title="Patches a nodule", description="Patches through each nodule, large or small"
    )
    positives: int = Field(
        100, ge=0, le=10_000, title="Most through nodules", description="Patches through nodules kept of a scan at most"
    )
    bright: int = Field(20, ge=0, le=1000, title="Bright places", description="Patches at dense places in the lungs, a scan")
    anywhere: int = Field(10, ge=0, le=1000, title="Anywhere", description="Patches anywhere in the lungs, a scan")
    consensus: float = Field(
        0.5, gt=0.0, le=1.0, title="Consensus", description="Share of the readers who drew a nodule that must agree on a voxel"
    )
    seed: int = Field(0, ge=0, le=2**31, title="Seed", description="Another seed, other places")
    layout: Layout = Field(
        "hdf5", title="File format", description="HDF5 with one chunk a patch, or Zarr shards; the same patches"
    )

    def most(self, nodules: int) -> int:
        return min(self.positives, nodules * self.slices_a_nodule) + self.bright + self.anywhere

    @property
    def bytes_a_patch(self) -> int:
        return self.size**2 * (2 * (2 * self.context + 1) + 2)


@stage("patch", version=3, params=PatchParams)
def patch(volume: Volume, lung_mask: LungMask, truth: Truth, params: PatchParams = PatchParams()) -> Patches:
    """Patches of one scan with masks of its nodules, as ``artifacts.patches`` tells. Without nodules: negatives alone."""
    rng = np.random.default_rng([params.seed, 1, *truth.scan.uid.encode()])
    labels, ignore = label_maps(volume, lung_mask, truth, params.consensus)
    inside = _through_nodules(rng, labels, truth, params)
    bright = _zyx(volume, bright_places(rng, volume, lung_mask, truth, params.bright, doubt_mm=0.0))
    anywhere = _anywhere(rng, lung_mask, params.anywhere)
    places = np.concatenate([[p for _, p in inside], bright, anywhere], axis=0) if inside else np.concatenate([bright, anywhere])
    nodule = [k for k, _ in inside] + [-1] * (len(bright) + len(anywhere))
    origin = ["nodule"] * len(inside) + ["bright"] * len(bright) + ["lung"] * len(anywhere)
    return patches_at(volume, labels, ignore, truth, places, nodule, origin, params)


def patches_at(
    volume: Volume,
    labels: NDArray[np.uint16],
    ignore: NDArray[np.uint8],
    truth: Truth,
    places_zyx: NDArray[np.int64],
    nodule: list[int],
    origin: list[str],
    params: PatchParams,
) -> Patches:
    """Patches around voxels ``[n, 3]``."""
    n, size = len(places_zyx), params.size
    hu = np.full((n, 2 * params.context + 1, size, size), AIR_HU, np.int16)
    masks, left_out = np.zeros((n, size, size), np.uint8), np.zeros((n, size, size), np.uint8)
    for k, (z, y, x) in enumerate(np.asarray(places_zyx).reshape(-1, 3)):
        planes = np.clip(np.arange(z - params.context, z + params.context + 1), 0, len(volume.hu) - 1)
        ys, xs = (_window(int(c), size, extent) for c, extent in zip((y, x), volume.hu.shape[1:], strict=True))
        here = (slice(0, ys.stop - ys.start), slice(0, xs.stop - xs.start))
        hu[k][:, *here] = volume.hu[planes][:, ys, xs]
        masks[k][here] = labels[z, ys, xs] > 0
        left_out[k][here] = ignore[z, ys, xs]
    scan = truth.scan
    return Patches(
        uid=scan.uid,
        patient=scan.patient,
        split=scan.split,
        fold=scan.fold,
        spacing_zyx_mm=volume.geometry.spacing_zyx,
        hu=hu,
        masks=masks,
        ignore=left_out,
        nodule=np.array(nodule, np.int32),
        origin=np.array([ORIGINS.index(o) for o in origin], np.uint8),
        centers_lps_mm=volume.geometry.lps_mm_from_zyx(places_zyx).reshape(-1, 3),
        layout=params.layout,
    )


def label_maps(
    volume: Volume, lung_mask: LungMask, truth: Truth, consensus: float
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """uint16 ``[z, y, x]``: 1 + the row of the nodule, 0 none; uint8: 1 in an excluded finding that is in no nodule."""
    labels, ignore = np.zeros(volume.hu.shape, np.uint16), np.zeros(volume.hu.shape, np.uint8)
    for nodule, (box, mask) in zip(truth.nodules, nodule_masks(volume, lung_mask, truth, consensus), strict=True):
        labels[box][mask] = nodule.row + 1
    for box, mask in excluded_masks(volume, truth):
        ignore[box][mask] = 1
    ignore[labels > 0] = 0
    return labels, ignore


def _through_nodules(
    rng: np.random.Generator, labels: NDArray[np.uint16], truth: Truth, params: PatchParams
) -> list[tuple[int, NDArray[np.int64]]]:
    """(row of the nodule, z y x): slices of each nodule, off its middle by chance, as many as may be kept."""
    from scipy.ndimage import find_objects

    found: list[tuple[int, NDArray[np.int64]]] = []
    boxes = dict(enumerate(find_objects(labels)))
    for nodule in truth.nodules:
        if box := boxes.get(nodule.row):  # none: another nodule covers it
            mask = labels[box] == nodule.row + 1
            places = through(rng, box, mask, params.slices_a_nodule, params.size // 3)
            found += [(nodule.row, place) for place in places]
    keep = np.sort(rng.permutation(len(found))[: params.positives])
    return [found[k] for k in keep]


def _anywhere(rng: np.random.Generator, lung_mask: LungMask, n: int) -> NDArray[np.int64]:
    lung = np.flatnonzero(lung_mask.labels)
    flat = rng.choice(lung, min(n, len(lung)), replace=False) if n and len(lung) else lung[:0]
    return np.stack(np.unravel_index(flat, lung_mask.labels.shape), axis=1).astype(np.int64)


def _zyx(volume: Volume, places_lps_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(volume.geometry.zyx_from_lps_mm(places_lps_mm)).astype(np.int64).reshape(-1, 3)


def _window(center: int, size: int, extent: int) -> slice:
    """``size`` pixels around ``center``, moved inside; all there are where the slice is smaller."""
    start = int(np.clip(center - size // 2, 0, max(extent - size, 0)))
    return slice(start, min(start + size, extent))
