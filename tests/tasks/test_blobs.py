"""Blobs lie where something small and round is, on a vessel as well, and in the same places however the scan is stored."""

from __future__ import annotations

import numpy as np
import pytest

import tasks.blobs
from artifacts.geometry import Geometry
from artifacts.heatmap import HeatMap
from artifacts.lumps import NO_LUMP
from artifacts.lungmask import LungMask
from artifacts.volume import Series, Volume
from tasks.blobs import _outer_eigenvalues, blobs
from tasks.group import GroupParams, group
from tests.tasks.scans import stored_otherwise

GRID = Geometry((36, 80, 84), (1.25, 0.7, 0.7), (-20.0, 30.0, -100.0))
ON_VESSEL = (27.5, 30.0, 21.0)  # z, y, x in mm from the first voxel
ALONE = (15.0, 14.0, 42.0)


def scan(noise: float = 25.0) -> tuple[np.ndarray, np.ndarray]:
    """Two balls of 5 mm, one of them beside the axis of a vessel of 4 mm; lungs all around, but for a border."""
    z, y, x = (n * d for n, d in zip(np.indices(GRID.shape_zyx), GRID.spacing_zyx, strict=True))
    solid = np.hypot(z - 25.0, y - 28.0) < 2.0
    for center in (ON_VESSEL, ALONE):
        solid |= sum((a - c) ** 2 for a, c in zip((z, y, x), center, strict=True)) < 2.5**2
    hu = np.where(solid, 40.0, -860.0) + np.random.default_rng(3).normal(0, noise, GRID.shape_zyx)
    lungs = np.zeros(GRID.shape_zyx, np.uint8)
    lungs[4:-4, 8:-8, 8:-8] = 1
    return hu.astype(np.int16), lungs


def found(hu: np.ndarray, lungs: np.ndarray, geometry: Geometry, most: int) -> np.ndarray:
    zyx, radii = blobs(Volume(hu, geometry, Series("x")), LungMask(lungs, geometry), most)
    assert len(zyx) == len(radii) <= most
    return geometry.lps_mm_from_zyx(zyx)


def place(center_mm: tuple[float, float, float]) -> np.ndarray:
    return GRID.lps_mm_from_zyx(np.divide(center_mm, GRID.spacing_zyx))


def test_balls_are_the_clearest_blobs_also_the_one_on_a_vessel() -> None:
    first = found(*scan(), GRID, 2)
    for center in (ON_VESSEL, ALONE):
        assert np.linalg.norm(first - place(center), axis=1).min() < 1.5
    many = found(*scan(), GRID, 50)
    np.testing.assert_array_equal(many[:2], first)
    apart = np.linalg.norm(many[:, None] - many, axis=2)[~np.eye(len(many), dtype=bool)]
    assert apart.min(initial=99.0) > tasks.blobs.APART_MM * 0.99


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), (True, False, True)), ((2, 0, 1), (False, True, False))])
def test_the_same_places_however_the_scan_is_stored(order, flips) -> None:
    hu, lungs = scan()
    turned, elsewhere = stored_otherwise(hu, GRID, order, flips)
    one, other = found(hu, lungs, GRID, 2), found(turned, stored_otherwise(lungs, GRID, order, flips)[0], elsewhere, 2)
    np.testing.assert_allclose(one, other, atol=0.05)


def test_outside_the_outline_there_is_none() -> None:
    hu, lungs = scan(noise=0.0)
    lungs[:, :, 40:] = 0
    assert np.linalg.norm(found(hu, lungs, GRID, 50) - place(ALONE), axis=1).min(initial=99.0) > 5
    assert len(found(hu, np.zeros_like(lungs), GRID, 50)) == 0
    assert len(found(hu, lungs, GRID, 0)) == 0
    assert len(found(np.full_like(hu, -860), scan()[1], GRID, 50)) == 0


@pytest.mark.parametrize("shape", [(1, 9, 9), (2, 2, 2), (3, 3, 3), (40, 1, 40)])
def test_scans_thinner_than_the_filter_are_survived(shape) -> None:
    hu = np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)
    found(hu, np.ones(shape, np.uint8), Geometry(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), 10)


def test_a_box_too_large_for_memory_is_searched_on_a_coarser_grid(monkeypatch) -> None:
    monkeypatch.setattr(tasks.blobs, "MOST_VOXELS", 20_000)
    first = found(*scan(noise=0.0), GRID, 2)
    assert min(np.linalg.norm(first - place(c), axis=1).min() for c in (ALONE, ON_VESSEL)) < 2.5


def test_eigenvalues_are_those_of_numpy() -> None:
    entries = np.random.default_rng(1).normal(0, 100, (6, 500)).astype(np.float32)
    entries[:, 0] = 0  # all three the same
    zz, yy, xx, zy, zx, yx = entries.astype(np.float64)
    true = np.linalg.eigvalsh(np.stack([zz, zy, zx, zy, yy, yx, zx, yx, xx], axis=1).reshape(-1, 3, 3))
    high, low = _outer_eigenvalues(entries)
    np.testing.assert_allclose(high, true[:, 2], atol=0.1)
    np.testing.assert_allclose(low, true[:, 0], atol=0.1)


def test_group_proposes_blobs_after_lumps_and_none_where_a_candidate_is() -> None:
    hu, lungs = scan()
    volume, mask = Volume(hu, GRID, Series("x")), LungMask(lungs, GRID)
    z, y, x = np.rint(np.divide(ALONE, GRID.spacing_zyx)).astype(int)
    heat = np.zeros(hu.shape, np.uint8)
    heat[z - 1 : z + 2, y - 2 : y + 3, x - 2 : x + 3] = 250
    without = group(volume, mask, HeatMap(heat, GRID))
    assert [c.source for c in without.candidates] == ["center"], "unasked, no classifier has to look at blobs"
    lump, *rest = group(volume, mask, HeatMap(heat, GRID), GroupParams(blobs=4)).candidates
    assert lump == without.candidates[0]
    assert {(c.source, c.lump_id) for c in rest} == {("blob", NO_LUMP)}
    places = np.array([c.center_lps_mm for c in rest])
    assert np.linalg.norm(places[0] - place(ON_VESSEL)) < 1.5
    assert np.linalg.norm(places - lump.center_lps_mm, axis=1).min() > 3
