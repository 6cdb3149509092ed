"""Grouping finds what a slow, obvious program finds, and proposes the places where a lump is thick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.geometry import Geometry
from artifacts.heatmap import HeatMap
from artifacts.lumps import Lumps
from artifacts.lungmask import LungMask
from artifacts.volume import Series, Volume
from tasks.depth import depth_mm
from tasks.group import GroupParams, group
from tasks.outline import outline
from tests.tasks.scans import read_scan, stored_otherwise

TURNED = ((0.0, 0.6, 0.8), (0.0, 0.8, -0.6), (1.0, 0.0, 0.0))


def grouped(heat: np.ndarray, geometry: Geometry, lung: np.ndarray | None = None, **params) -> Lumps:
    mask = np.ones(heat.shape, np.uint8) if lung is None else lung
    volume = Volume(np.zeros(heat.shape, np.int16), geometry, Series("x"))
    return group(volume, LungMask(mask, geometry), HeatMap(heat, geometry), GroupParams(**params))


def ball(shape: tuple[int, int, int], spacing: tuple[float, float, float], center_mm, radius_mm: float) -> np.ndarray:
    away = [a * d - c for a, d, c in zip(np.indices(shape, sparse=True), spacing, center_mm, strict=True)]
    return sum(a * a for a in away) < radius_mm**2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.02, 0.3), st.sampled_from([0.3, 0.5, 0.7]))
def test_the_same_lumps_as_scipy(seed: int, share: float, threshold: float) -> None:
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    heat = np.where(rng.random((9, 14, 12)) < share, rng.integers(1, 256, (9, 14, 12)), 0).astype(np.uint8)
    geometry = Geometry(heat.shape, (2.5, 0.7, 0.8), (-3.0, 5.0, 90.0), TURNED)
    lumps = grouped(heat, geometry, threshold=threshold, min_volume_mm3=0).lumps
    labels, n = ndimage.label(heat > int(255 * threshold), np.ones((3, 3, 3)))
    assert len(lumps) == n
    index = np.arange(1, n + 1)
    centers = np.array(ndimage.center_of_mass(heat.astype(float), labels, index)).reshape(-1, 3)
    ours = np.array([x.center_zyx for x in lumps]).reshape(-1, 3)
    assert np.allclose(sorted(map(tuple, centers)), sorted(map(tuple, ours)))
    which = [int(np.argmin(np.abs(centers - c).sum(axis=1))) for c in ours]
    volumes = ndimage.sum_labels(np.ones(heat.shape), labels, index) * geometry.voxel_mm3
    assert np.allclose([x.volume_mm3 for x in lumps], volumes[which])
    assert np.allclose([x.peak_probability for x in lumps], ndimage.maximum(heat, labels, index)[which] / 255 if n else [])
    assert np.allclose([x.mean_probability for x in lumps], ndimage.mean(heat, labels, index)[which] / 255 if n else [])
    assert np.allclose([x.center_lps_mm for x in lumps], geometry.lps_mm_from_zyx(ours)) or not n
    peaks = [x.peak_probability for x in lumps]
    assert peaks == sorted(peaks, reverse=True)
    assert [x.id for x in lumps] == list(range(1, n + 1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.3, 0.97), st.tuples(*[st.floats(0.5, 3.0)] * 3))
def test_depth_is_the_distance_to_the_nearest_voxel_outside(seed: int, share: float, spacing) -> None:
    mask = np.zeros((9, 11, 10), dtype=bool)
    mask[1:-1, 1:-1, 1:-1] = np.random.default_rng(seed).random((7, 9, 8)) < share
    depth, dense = depth_mm(np.flatnonzero(mask), mask.shape, spacing)
    outside = np.argwhere(~mask)
    for place, ours in zip(np.argwhere(mask), depth, strict=True):
        gap = np.maximum(np.abs(outside - place) - 0.5, 0) * spacing
        assert ours == pytest.approx(np.sqrt((gap**2).sum(axis=1).min()), rel=1e-5)
    assert (dense.reshape(mask.shape)[~mask] == 0).all()


def test_a_ball_is_one_lump_with_one_candidate_and_its_own_size() -> None:
    geometry = Geometry((40, 80, 80), (2.0, 0.8, 0.8), (0.0, 0.0, 0.0))
    heat = np.where(ball(geometry.shape_zyx, geometry.spacing_zyx, (40, 32, 32), 8), 250, 0).astype(np.uint8)
    found = grouped(heat, geometry)
    (lump,), (candidate,) = found.lumps, found.candidates
    assert candidate.source == "center"
    assert candidate.center_lps_mm == pytest.approx((32, 32, 40), abs=0.1)
    assert candidate.radius_mm == pytest.approx(8, abs=1.2)
    assert lump.equivalent_diameter_mm == pytest.approx(16, rel=0.02)
    # a full ball's covariance is r^2 / 5, so four standard deviations are 4 / sqrt(5) of the radius
    assert (lump.short_axis_mm, lump.long_axis_mm) == pytest.approx((14.3, 14.3), rel=0.05)


def test_a_nodule_on_a_lump_along_the_pleura_is_proposed_though_the_centre_lies_elsewhere() -> None:
    geometry = Geometry((50, 120, 120), (2.0, 0.8, 0.8), (0.0, 0.0, 0.0))
    shell = ball(geometry.shape_zyx, geometry.spacing_zyx, (50, 48, 48), 44) & ~ball(
        geometry.shape_zyx, geometry.spacing_zyx, (50, 48, 48), 41
    )
    nodule = ball(geometry.shape_zyx, geometry.spacing_zyx, (50, 48, 10), 6)
    found = grouped(np.where(shell | nodule, 255, 0).astype(np.uint8), geometry)
    assert len(found.lumps) == 1
    away = [np.linalg.norm(np.subtract(c.center_lps_mm, (10, 48, 50))) for c in found.candidates]
    assert away[0] > 20  # the centre of mass
    assert min(away) < 3
    assert found.candidates[1].source == "peak"
    assert away[1] < 3  # peaks come thickest first


def test_two_nodules_in_one_lump_are_two_candidates() -> None:
    geometry = Geometry((40, 90, 90), (1.5, 0.7, 0.7), (0.0, 0.0, 0.0))
    places = [(30, 30, 18), (30, 30, 33)]
    heat = sum(ball(geometry.shape_zyx, geometry.spacing_zyx, p, 5) for p in places)
    heat = heat | ball(geometry.shape_zyx, geometry.spacing_zyx, (30, 30, 25.5), 3)
    found = grouped(np.where(heat, 200, 0).astype(np.uint8), geometry)
    assert len(found.lumps) == 1
    for z, y, x in places:
        assert min(np.linalg.norm(np.subtract(c.center_lps_mm, (x, y, z))) for c in found.candidates) < 1.5


def test_specks_are_dropped_and_a_small_nodule_is_not() -> None:
    geometry = Geometry((20, 60, 60), (2.5, 0.7, 0.7), (0.0, 0.0, 0.0))
    heat = np.where(ball(geometry.shape_zyx, geometry.spacing_zyx, (25, 20, 20), 2), 200, 0).astype(np.uint8)
    heat[4, 50, 50:53] = 255
    assert [round(x.center_lps_mm[0]) for x in grouped(heat, geometry).lumps] == [20]


@pytest.mark.parametrize("heat", [np.zeros((4, 5, 6)), np.full((4, 5, 6), 127)], ids=["nothing", "all at one half"])
def test_nothing_above_the_threshold_is_no_lump(heat: np.ndarray) -> None:
    found = grouped(heat.astype(np.uint8), Geometry(heat.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    assert (found.lumps, found.candidates) == ([], [])


def test_everything_suspicious_and_the_last_voxel_are_survived() -> None:
    geometry = Geometry((6, 7, 8), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    assert len(grouped(np.full((6, 7, 8), 255, np.uint8), geometry).lumps) == 1
    corner = np.zeros((6, 7, 8), np.uint8)
    corner[-1, -1, -1] = 255
    assert grouped(corner, geometry, min_volume_mm3=0).lumps[0].center_zyx == (5, 6, 7)


def test_distance_to_the_pleura_is_that_of_the_mask() -> None:
    geometry = Geometry((40, 80, 80), (1.5, 0.8, 0.8), (0.0, 0.0, 0.0))
    lung = ball(geometry.shape_zyx, geometry.spacing_zyx, (30, 32, 32), 25).astype(np.uint8)
    heat = np.where(ball(geometry.shape_zyx, geometry.spacing_zyx, (30, 32, 45), 3), 255, 0).astype(np.uint8)
    assert grouped(heat, geometry, lung).lumps[0].pleura_distance_mm == pytest.approx(12, abs=1.0)


def test_the_way_the_grid_is_stored_changes_no_place() -> None:
    geometry = Geometry((30, 60, 60), (2.0, 0.8, 0.8), (5.0, -7.0, 11.0))
    heat = np.where(ball(geometry.shape_zyx, geometry.spacing_zyx, (30, 20, 25), 6), 200, 0).astype(np.uint8)
    heat[ball(geometry.shape_zyx, geometry.spacing_zyx, (30, 35, 30), 4)] = 240
    turned, elsewhere = stored_otherwise(heat, geometry, (2, 0, 1), (True, False, True))
    before, after = grouped(heat, geometry), grouped(turned, elsewhere)
    for a, b in zip(before.lumps, after.lumps, strict=True):
        assert a.center_lps_mm == pytest.approx(b.center_lps_mm)
        assert (a.volume_mm3, a.long_axis_mm, a.short_axis_mm) == pytest.approx((b.volume_mm3, b.long_axis_mm, b.short_axis_mm))


@pytest.mark.data
def test_the_books_heat_map_gives_hundreds_of_candidates_and_the_lesion(data_dir: Path) -> None:
    volume = read_scan(data_dir / "ct/cptac-c3n-00247")
    mask = outline(volume)
    heat = np.load(data_dir / "reference/cptac-c3n-00247-heat.npz")["probability_u8"] * (mask.labels > 0)
    found = group(volume, mask, HeatMap(heat, volume.geometry))
    assert 500 < len(found.lumps) < 650
    assert 700 < len(found.candidates) < 950
    away = np.linalg.norm(np.array([c.center_lps_mm for c in found.candidates]) - (-83.4, -192.4, -195.0), axis=1)
    assert away.min() < 3
