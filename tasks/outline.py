"""Outline: where the lungs are. Air inside the body on a coarse grid, without airways, closed over nodules on the pleura."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.errors import NoLungs
from artifacts.lungmask import LEFT, RIGHT, LungMask
from artifacts.volume import Volume
from tasks.airways import airways
from tasks.balance import uneven_lungs
from tasks.balls import Mask, box_of, close, dilate
from tasks.islands import lung_islands
from tasks.patient_grid import CoarseGrid, patient_view
from tasks.sides import split_sides
from tasks.stage import Params, stage

ROOM_AIR_HU = -930  # block means; the room, the padding, and neither lung nor trachea wall


class OutlineParams(Params):
    """How the lungs are found."""

    air_below_hu: float = Field(
        -400,
        ge=-700,
        le=-200,
        title="Air below",
        description="HU; a block darker than this is air",
        json_schema_extra={"unit": "HU"},
    )
    coarse_mm: float = Field(
        3.0,
        ge=1.0,
        le=6.0,
        title="Coarse grid",
        description="Block size on which the lungs are sought",
        json_schema_extra={"unit": "mm"},
    )
    close_mm: float = Field(
        12.0,
        ge=0.0,
        le=25.0,
        title="Closing radius",
        description="Dents of the pleura narrower than a ball of this radius are taken in: nodules and vessels there",
        json_schema_extra={"unit": "mm"},
    )
    piece_ml: float = Field(
        15.0,
        ge=1.0,
        le=200.0,
        title="Smallest piece",
        description="Smaller islands of air are no lung",
        json_schema_extra={"unit": "ml"},
    )
    least_ml: float = Field(
        150.0, ge=10.0, le=1000.0, title="Least lung", description="With less lung than this the scan is refused",
        json_schema_extra={"unit": "ml"},
    )  # fmt: skip


@stage("outline", version=3, params=OutlineParams)
def outline(volume: Volume, params: OutlineParams = OutlineParams()) -> LungMask:
    """HU ``[z, y, x]``, any orientation -> labels on the same grid: 1 the patient's right lung, 2 the left, 0 elsewhere.

    Raises NoLungs where there is less lung than ``params.least_ml``.
    """
    grid = CoarseGrid.of(volume.geometry, params.coarse_mm)
    hu = grid.means(patient_view(volume.hu, volume.geometry))
    air = hu < params.air_below_hu
    body = _body(hu, params.air_below_hu)
    inside = _enclosed(body)
    room = _room(hu, air, grid)
    airway = airways(hu, inside & ~room, grid.spacing_mm)
    lungs = lung_islands(hu, air & inside & ~room & ~airway, room, grid, params.piece_ml)
    _refuse_without_lungs(np.count_nonzero(lungs) * grid.voxel_ml, params.least_ml)
    box = box_of(lungs, tuple(int(params.close_mm / d) + 1 for d in grid.spacing_mm))
    not_lung = (airway | room)[box]
    both = np.zeros((2, *lungs.shape), dtype=bool)
    right, left = split_sides(lungs[box], body[box], grid.spacing_mm)
    for side, lung, other in ((both[0], right, left), (both[1], left, right)):
        if lung.any():
            side[box] = _filled(close(lung, grid.spacing_mm, params.close_mm)) & ~not_lung & ~other
    both[1] &= ~both[0]
    labels = np.zeros(volume.geometry.shape_zyx, dtype=np.uint8)
    _paint(patient_view(labels, volume.geometry), both, grid)
    ends = np.array([(0, 0, 0), volume.hu.shape]) - [[0], [1]]
    lowest_mm = volume.geometry.lps_mm_from_zyx(ends)[:, 2].min()
    qc = uneven_lungs(both[0], both[1], grid.spacing_mm[0], grid.voxel_ml, float(lowest_mm))
    return LungMask(labels, volume.geometry, qc)


def _refuse_without_lungs(found_ml: float, least_ml: float) -> None:
    if found_ml < least_ml:
        raise NoLungs(
            f"no lungs in this scan: {found_ml:.0f} ml of lung found, at least {least_ml:.0f} ml needed; give a CT of the chest"
        )


def _body(hu: NDArray[np.float32], air_below_hu: float) -> Mask:
    """The largest thing that is not air, without the thin shells of table and clothes."""
    import cc3d

    tissue = hu >= air_below_hu
    core = ~dilate(~tissue, (1.0, 1.0, 1.0), 1.0)
    if not core.any():
        raise NoLungs("no body in this scan: it is air throughout; give a CT of the chest")
    labels, n = cc3d.connected_components(core, connectivity=6, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    sizes[0] = 0
    return dilate(labels == sizes.argmax(), (1.0, 1.0, 1.0), 1.0) & tissue


def _enclosed(body: Mask) -> Mask:
    """Voxels with body on all four sides in the axial plane; a side where the field of view cuts the body counts as body."""
    inside = np.ones(body.shape, dtype=bool)
    for axis in (1, 2):
        for way in (1, -1):
            seen = np.flip(body, axis) if way < 0 else body
            cut = np.take(seen, 0, axis=axis).any(axis=1)[:, None, None]
            covered = np.maximum.accumulate(seen, axis=axis) | cut
            inside &= np.flip(covered, axis) if way < 0 else covered
    return inside


def _room(hu: NDArray[np.float32], air: Mask, grid: CoarseGrid) -> Mask:
    """The air around the patient: in each axial plane what reaches a lateral border, and the blurred rim of it."""
    import cc3d

    empty = hu < ROOM_AIR_HU
    room = np.zeros_like(empty)
    for z, plane in enumerate(empty):
        labels = cc3d.connected_components(plane[None], connectivity=6)[0]
        touching = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        room[z] = np.isin(labels, touching[touching > 0])
    return dilate(room, grid.spacing_mm, 1.5 * max(grid.spacing_mm[1:])) & air


def _filled(mask: Mask) -> Mask:
    """Holes within axial planes, which vessels and nodules leave, belong to the lung."""
    import cc3d

    out = mask.copy()
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        around = cc3d.connected_components(np.pad(~mask[z], 1, constant_values=True)[None], connectivity=6)[0]
        out[z] |= (around != around[0, 0])[1:-1, 1:-1]
    return out


def _paint(fine: NDArray[np.uint8], both: Mask, grid: CoarseGrid) -> None:
    """Write 1 and 2 into ``fine`` (a patient view): the right and the left mask interpolated linearly and cut at one half."""
    along_z, along_y, along_x = (grid.weights(axis) for axis in range(3))
    for label, mask in zip((RIGHT, LEFT), both, strict=True):
        if not mask.any():
            continue
        used = box_of(mask)
        weights_y, weights_x = along_y[:, used[1]], along_x[:, used[2]]
        rows, columns = _span(weights_y), _span(weights_x)
        coarse = mask[:, used[1], used[2]].astype(np.float32)
        for z in np.flatnonzero(along_z[:, used[0]].any(axis=1)):
            near = np.flatnonzero(along_z[z])
            plane = np.tensordot(along_z[z, near], coarse[near], axes=1)
            inside = weights_y[rows] @ plane @ weights_x[columns].T >= 0.5
            target = fine[z, rows, columns]
            np.maximum(target, np.multiply(inside, np.uint8(label), dtype=np.uint8), out=target)


def _span(weights: NDArray[np.float32]) -> slice:
    """The fine indices that these blocks reach."""
    reached = np.flatnonzero(weights.any(axis=1))
    return slice(int(reached[0]), int(reached[-1]) + 1)
