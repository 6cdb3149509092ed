"""crop: the box around each candidate that the classifier's card asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from artifacts.checkpoint import CropSpec
from artifacts.crops import Crops, Layout
from artifacts.lumps import Lumps
from artifacts.volume import AIR_HU, Volume
from tasks.stage import Params, stage


class CropParams(Params):
    """The box is the classifier's."""

    spec: SkipJsonSchema[CropSpec | None] = Field(
        None, description="The box that the classifier's card asks for; none: a CropSpec()"
    )
    layout: Layout = Field("hdf5", title="Layout", description="File format of the crops; the bytes in it are the same")


@stage("crop", version=2, params=CropParams)
def crop(volume: Volume, lumps: Lumps, *, params: CropParams = CropParams()) -> Crops:
    """The candidates' boxes, in their order, int16 HU.

    A box of ``n`` voxels around a centre begins at ``round(centre - n / 2)``. Where it would leave the volume, ``shift`` moves
    it inside and ``pad`` fills it with air. Along an axis where the volume is smaller than the box, the centre stays in the
    middle and the rest is air: classifiers look at the middle.
    """
    spec, geometry = params.spec or CropSpec(), volume.geometry
    spacing = spec.spacing_zyx_mm or geometry.spacing_zyx
    zoom = np.array(spacing) / np.array(geometry.spacing_zyx)  # voxels of the volume a voxel of the crop
    size, extent = np.array(spec.shape_zyx), np.array(volume.hu.shape)
    centers = lumps.centers_zyx
    if spec.spacing_zyx_mm is None:
        first = np.rint(centers - size / 2)
    else:
        first = centers - (size // 2) * zoom
    if spec.border == "shift":
        room = extent - 1 - (size - 1) * zoom
        first = np.where(room >= 0, np.clip(first, 0, np.maximum(room, 0)), first)
    hu = np.full((len(centers), *spec.shape_zyx), AIR_HU, dtype=np.int16)
    for box, start in zip(hu, first, strict=True):
        if spec.spacing_zyx_mm is None:
            _copy(volume.hu, box, start.astype(int))
        else:
            _resample(volume.hu, box, start, zoom)
    offset = np.rint((centers - first) / zoom) if spec.spacing_zyx_mm else np.rint(centers) - first
    centers_lps_mm = geometry.lps_mm_from_zyx(centers)
    return Crops(hu, centers_lps_mm, offset.astype(np.int32), tuple(float(s) for s in spacing), params.layout)  # type: ignore[arg-type]


def _copy(hu: NDArray[np.int16], box: NDArray[np.int16], start: NDArray[np.int_]) -> None:
    """Fill ``box`` with the voxels from ``start`` on, as far as the volume has them."""
    low = np.maximum(start, 0)
    high = np.maximum(np.minimum(start + box.shape, hu.shape), low)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    box[target] = hu[source]


def _resample(hu: NDArray[np.int16], box: NDArray[np.int16], start: NDArray[np.float64], zoom: NDArray[np.float64]) -> None:
    """Fill ``box`` by linear interpolation at ``start + i * zoom``; outside the volume is air."""
    source, weights = [], []
    for axis in range(3):
        at = start[axis] + np.arange(box.shape[axis]) * zoom[axis]
        low, weight = _interpolation(at, hu.shape[axis])
        source.append(slice(low, low + weight.shape[1]))
        weights.append(weight)
    above_air = hu[tuple(source)].astype(np.float32) - AIR_HU  # so that what has no weight is air
    along_z, along_y, along_x = weights
    planes = np.tensordot(along_z, above_air, axes=1)
    box[...] = np.rint(along_y @ planes @ along_x.T) + AIR_HU


def _interpolation(at: NDArray[np.float64], extent: int) -> tuple[int, NDArray[np.float32]]:
    """First voxel needed, and the weights ``[len(at), voxels from there]`` of linear interpolation at ``at``.

    Half a voxel beyond the outermost centres still counts as inside; farther out all weights are 0.
    """
    inside = (at >= -0.5) & (at <= extent - 0.5)
    held = np.clip(at, 0, extent - 1)
    below = np.minimum(held.astype(int), max(extent - 2, 0))
    low, high = int(below.min()), int(min(below.max() + 2, extent))
    share = (held - below).astype(np.float32)
    weight = np.zeros((len(at), high - low), dtype=np.float32)
    rows = np.arange(len(at))
    weight[rows, below - low] = 1 - share
    weight[rows, np.minimum(below + 1, extent - 1) - low] += share
    weight[~inside] = 0
    return low, weight
