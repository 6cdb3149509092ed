"""Findings are measured on their own outlines, in the patient's millimetres, and merged where they are one nodule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts.findings import Findings
from artifacts.geometry import Geometry
from artifacts.lumps import NO_LUMP, Candidate, Lumps
from artifacts.lungmask import LungMask
from artifacts.scores import Scores
from artifacts.volume import Series, SourceSlice, Volume
from tasks.measure import MeasureParams, measure
from tasks.outline import outline
from tasks.phantom import NoduleSpec, make_phantom
from tests.tasks.scans import read_scan, stored_otherwise

LUNG_HU, SOFT_HU, GLASS_HU = -860.0, 30.0, -600.0


def scene(
    balls: list[tuple[tuple[float, float, float], float, float]],
    spacing=(2.0, 0.7, 0.7),
    noise: float = 20.0,
    wall_x: float | None = None,
) -> tuple[Volume, LungMask]:
    """Balls (LPS centre, radius in mm, HU) in a lung of 60 mm, sampled over each voxel; beyond ``wall_x`` is chest wall."""
    shape = tuple(int(60 / d) for d in spacing)
    fine = [(np.arange(n * 4) / 4 - 0.375) * d for n, d in zip(shape, spacing, strict=True)]
    z, y, x = fine[0][:, None, None], fine[1][:, None], fine[2]
    hu = np.full((len(fine[0]), len(fine[1]), len(fine[2])), LUNG_HU, dtype=np.float32)
    for (bx, by, bz), radius, value in balls:
        hu[(x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2 < radius**2] = value
    if wall_x is not None:
        hu[np.broadcast_to(x > wall_x, hu.shape)] = SOFT_HU
    hu = hu.reshape(shape[0], 4, shape[1], 4, shape[2], 4).mean(axis=(1, 3, 5))
    hu += np.random.default_rng(1).normal(0, noise, shape)
    geometry = Geometry(shape, spacing, (0.0, 0.0, 0.0))
    slices = tuple(SourceSlice(f"1.2.{k}", shape[0] - k, k * spacing[0]) for k in range(shape[0]))
    lung = np.ones(shape, dtype=np.uint8)
    if wall_x is not None:
        lung[:, :, round(wall_x / spacing[2]) :] = 0
    volume = Volume(hu.round().astype(np.int16), geometry, Series("x", slices=slices), nearest_slice=tuple(range(shape[0])))
    return volume, LungMask(lung, geometry)


def measured(volume: Volume, mask: LungMask, places, probabilities=None, lumps=None, radius: float = 2.0, **params) -> Findings:
    p = np.array(probabilities if probabilities is not None else [0.9] * len(places), dtype=np.float32)
    ids = lumps or range(1, len(places) + 1)
    candidates = [
        Candidate(i, "center", tuple(volume.geometry.zyx_from_lps_mm(c)), tuple(c), radius, 1.0)
        for i, c in zip(ids, places, strict=True)
    ]
    scores = Scores("nodule", p, np.ones(len(p), np.int32))
    grades = Scores("malignant", p / 2, np.ones(len(p), np.int32))
    return measure(volume, mask, Lumps([], candidates, volume.geometry), scores, grades, MeasureParams(**params))


@pytest.mark.parametrize("hu", [SOFT_HU, GLASS_HU, 600.0], ids=["solid", "ground-glass", "calcified"])
@pytest.mark.parametrize("diameter", [4.0, 6.0, 10.0, 16.0, 24.0])
@pytest.mark.parametrize("spacing", [(1.0, 0.6, 0.6), (2.5, 0.8, 0.8)], ids=["thin", "thick"])
def test_a_ball_has_its_diameter_and_volume(hu: float, diameter: float, spacing) -> None:
    volume, mask = scene([((30.2, 29.7, 30.9), diameter / 2, hu)], spacing)
    (found,) = measured(volume, mask, [(31, 29, 30.5)]).findings
    assert found.diameter_mm == pytest.approx(diameter, abs=1.0)
    assert found.center_lps_mm == pytest.approx((30.2, 29.7, 30.9), abs=0.6)
    if diameter >= 10:  # below, what a slice averages is a large part of the volume
        assert found.volume_mm3 == pytest.approx(np.pi / 6 * diameter**3, rel=0.3)
    if diameter >= 10 and hu < SOFT_HU + 1:
        assert found.mean_hu == pytest.approx(hu, abs=200)


def test_ground_glass_around_a_solid_core_counts() -> None:
    volume, mask = scene([((30, 30, 30), 8, GLASS_HU), ((30, 30, 30), 4, SOFT_HU)])
    (found,) = measured(volume, mask, [(30, 30, 30)]).findings
    assert found.diameter_mm == pytest.approx(16, abs=1.2)


def test_the_chest_wall_is_no_part_of_a_nodule_on_it() -> None:
    volume, mask = scene([((40, 30, 30), 6, SOFT_HU)], wall_x=43.0)
    (found,) = measured(volume, mask, [(39, 30, 30)]).findings
    assert found.diameter_mm == pytest.approx((12 + 9.5) / 2, abs=1.5)
    assert found.pleura_distance_mm < 6


def test_a_bulge_of_the_wall_is_no_part_of_a_nodule_on_its_side() -> None:
    bulge, nodule = (46, 30, 30), (32.5, 26, 30)
    volume, mask = scene([(bulge, 14, SOFT_HU), (nodule, 3, SOFT_HU)], spacing=(1.0, 0.7, 0.7), wall_x=43.0)
    z, y, x = np.indices(mask.labels.shape) * np.array([1.0, 0.7, 0.7])[:, None, None, None]
    mask.labels[(x - bulge[0]) ** 2 + (y - bulge[1]) ** 2 + (z - bulge[2]) ** 2 < 14**2] = 0
    (found,) = measured(volume, mask, [nodule]).findings
    assert found.diameter_mm == pytest.approx(6, abs=1.5)
    assert found.center_lps_mm == pytest.approx(nodule, abs=1.5)


def test_a_vessel_is_no_part_of_a_nodule_on_it() -> None:
    vessel = [((x, 30.0, 30.0), 1.5, SOFT_HU) for x in np.arange(0, 60, 0.7)]
    volume, mask = scene([((30, 30, 30), 5, SOFT_HU), *vessel], spacing=(1.5, 0.7, 0.7))
    (found,) = measured(volume, mask, [(30, 30, 30)]).findings
    assert found.diameter_mm == pytest.approx(10, abs=1.5)


@pytest.mark.parametrize(
    ("order", "flips"), [((0, 1, 2), (True, False, True)), ((2, 0, 1), (False, True, False)), ((1, 2, 0), (True,) * 3)]
)
def test_the_way_the_grid_is_stored_changes_no_measure(order, flips) -> None:
    volume, mask = scene([((30, 28, 31), 5, SOFT_HU), ((36, 28, 31), 3, SOFT_HU)])
    (before,) = measured(volume, mask, [(30, 28, 31)]).findings
    hu, geometry = stored_otherwise(volume.hu, volume.geometry, order, flips)
    labels, _ = stored_otherwise(mask.labels, volume.geometry, order, flips)
    turned = Volume(hu, geometry, volume.series)
    (after,) = measured(turned, LungMask(labels, geometry), [(30, 28, 31)]).findings
    assert after.center_lps_mm == pytest.approx(before.center_lps_mm, abs=0.01)
    for name in ("diameter_mm", "long_axis_mm", "short_axis_mm", "volume_mm3", "mean_hu"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=0.01)
    assert after.center_zyx == pytest.approx(tuple(geometry.zyx_from_lps_mm(before.center_lps_mm)), abs=0.01)


def test_candidates_of_one_nodule_are_one_finding() -> None:
    volume, mask = scene([((30, 30, 30), 14, SOFT_HU)])
    places = [(30, 30, 30), (36, 30, 30), (30, 43, 30), (17, 30, 30)]  # the last two lie beyond 12 mm, but within the outline
    found = measured(volume, mask, places, [0.8, 0.95, 0.7, 0.6], lumps=[3, 3, 1, 2])
    assert [(f.p_nodule, f.lump_ids) for f in found.findings] == [(pytest.approx(0.95), (1, 2, 3))]
    assert found.findings[0].center_lps_mm == pytest.approx((30, 30, 30), abs=1)
    assert found.findings[0].p_malignant == pytest.approx(0.475)


def test_two_nodules_of_one_lump_stay_two() -> None:
    volume, mask = scene([((22, 30, 30), 4, SOFT_HU), ((37, 30, 30), 4, SOFT_HU)])
    found = measured(volume, mask, [(22, 30, 30), (37, 30, 30), (29.5, 30, 30)], [0.9, 0.8, 0.3], lumps=[1, 1, 1])
    assert [f.p_nodule for f in found.findings] == pytest.approx([0.9, 0.8])
    assert [f.lump_ids for f in found.findings] == [(1,), (1,)]


@pytest.mark.parametrize("hu", [SOFT_HU, GLASS_HU], ids=["solid", "ground-glass"])
def test_two_nodules_side_by_side_with_lung_between_stay_two(hu: float) -> None:
    volume, mask = scene([((25, 30, 30), 3, hu), ((34, 30, 30), 3, hu)], spacing=(1.0, 0.7, 0.7))
    found = measured(volume, mask, [(25, 30, 30), (34, 30, 30), (29.5, 30, 30)], [0.99, 0.9, 0.7], lumps=[1, 2, 1])
    assert [f.p_nodule for f in found.findings] == pytest.approx([0.99, 0.9])
    assert [f.diameter_mm for f in found.findings] == pytest.approx([6, 6], abs=1.2)


def test_a_nodule_seen_from_beside_is_no_second_one() -> None:
    vessel = [((30.0, y, 30.0), 1.2, SOFT_HU) for y in np.arange(34, 50, 0.5)]
    volume, mask = scene([((30, 30, 30), 4, SOFT_HU), *vessel, ((21, 30, 30), 1.6, SOFT_HU)], spacing=(1.0, 0.7, 0.7))
    beside = [(30, 39, 30), (21, 30, 30), (30, 30, 39)]  # its vessel; something small and doubtful; empty lung
    found = measured(volume, mask, [(30, 30, 30), *beside], [0.99, 0.95, 0.6, 0.9])
    assert [f.p_nodule for f in found.findings] == pytest.approx([0.99])


def test_the_label_map_has_every_finding_under_its_rank() -> None:
    places = [(12.0, 12.0, 12.0), (45.0, 45.0, 45.0), (12.0, 45.0, 30.0)]
    volume, mask = scene([(places[0], 4, SOFT_HU), (places[1], 6, SOFT_HU), (places[2], 2.5, SOFT_HU)])
    found = measured(volume, mask, places, [0.7, 0.9, 0.8])
    assert found.labels.dtype == np.uint16
    assert [f.rank for f in found.findings] == [f.label for f in found.findings] == [1, 2, 3]
    assert [f.p_nodule for f in found.findings] == pytest.approx([0.9, 0.8, 0.7])
    for f in found.findings:
        mm3 = np.count_nonzero(found.labels == f.label) * volume.geometry.voxel_mm3
        assert mm3 == pytest.approx(f.volume_mm3, rel=0.3)
        assert np.argwhere(found.labels == f.label).mean(axis=0) == pytest.approx(f.center_zyx, abs=1)


def test_equally_probable_findings_keep_one_order() -> None:
    volume, mask = scene([((12, 12, 12), 4, SOFT_HU), ((45, 45, 45), 4, SOFT_HU)])
    orders = [[f.rank for f in measured(volume, mask, [(12, 12, 12), (45, 45, 45)], [1.0, 1.0]).findings] for _ in range(3)]
    assert orders == [[1, 2]] * 3


def test_the_slice_is_the_one_a_viewer_shows() -> None:
    volume, mask = scene([((30, 30, 20), 5, SOFT_HU)])
    (found,) = measured(volume, mask, [(30, 30, 20)]).findings
    assert found.slice_index == 10
    assert (found.slice_number, found.sop_instance_uid) == (len(volume.hu) - 10, "1.2.10")
    (found,) = measured(replace(volume, nearest_slice=()), mask, [(30, 30, 20)]).findings
    assert (found.slice_number, found.sop_instance_uid) == (None, None)


def test_sides_are_those_of_the_nearest_lung() -> None:
    places = [(10.0, 30.0, 30.0), (50.0, 30.0, 30.0)]
    volume, mask = scene([(p, 4, SOFT_HU) for p in places])
    labels = np.zeros_like(mask.labels)
    labels[:, :, :40], labels[:, :, 48:] = 1, 2
    found = measured(volume, LungMask(labels, mask.geometry), places, [0.9, 0.8])
    assert [f.side for f in found.findings] == ["right", "left"]


def test_nothing_probable_is_no_finding() -> None:
    volume, mask = scene([((30, 30, 30), 4, SOFT_HU)])
    for places, p in (([], []), ([(30, 30, 30)], [0.5]), ([(30, 30, 30)], [np.nan])):
        found = measured(volume, mask, places, p)
        assert found.findings == []
        assert found.labels.shape == volume.hu.shape
        assert not found.labels.any()


def test_a_candidate_in_empty_lung_or_at_the_corner_still_is_a_finding() -> None:
    volume, mask = scene([], noise=5)
    found = measured(volume, mask, [(30, 30, 30), (0, 0, 0)], [0.9, 0.8], radius=3.0)
    assert [np.count_nonzero(found.labels == k) > 0 for k in (1, 2)] == [True, True]
    assert found.findings[0].diameter_mm == pytest.approx(6, abs=1)


def test_a_finding_of_blobs_alone_is_of_no_lump() -> None:
    volume, mask = scene([((30, 30, 30), 5, SOFT_HU)])
    assert measured(volume, mask, [(30, 30, 30)], lumps=[NO_LUMP]).findings[0].lump_ids == ()
    assert measured(volume, mask, [(30, 30, 30), (31, 30, 30)], lumps=[NO_LUMP, 4]).findings[0].lump_ids == (4,)


def test_a_score_not_asked_for_is_none() -> None:
    volume, mask = scene([((30, 30, 30), 4, SOFT_HU)])
    candidate = Candidate(1, "center", tuple(volume.geometry.zyx_from_lps_mm((30, 30, 30))), (30.0, 30.0, 30.0), 2.0, 1.0)
    nodule = Scores("nodule", np.array([0.9], np.float32), np.ones(1, np.int32))
    unknown = Scores("malignant", np.array([np.nan], np.float32), np.zeros(1, np.int32))
    (found,) = measure(volume, mask, Lumps([], [candidate], volume.geometry), nodule, unknown).findings
    assert found.p_malignant is None


@pytest.mark.slow
def test_phantom_nodules_are_measured_to_a_millimetre() -> None:
    rng = np.random.default_rng(5)
    specs = [NoduleSpec(diameter_mm=float(d)) for d in rng.uniform(4, 20, 16)]
    phantom = make_phantom(901, nodules=specs, spacing_zyx=(2.0, 0.8, 0.8), shape_yx=(448, 448))
    mask = outline(phantom.volume)
    errors = []
    for nodule in phantom.nodules:
        place = tuple(np.array(nodule.center_lps_mm) + rng.uniform(-0.8, 0.8, 3))
        (found,) = measured(phantom.volume, mask, [place]).findings
        errors.append(found.diameter_mm - nodule.diameter_mm)
    assert len(errors) >= 12
    assert np.median(np.abs(errors)) < 0.8
    assert abs(np.median(errors)) < 0.5


@pytest.mark.data
def test_the_lesion_on_the_diaphragm_is_measured_without_it(data_dir: Path) -> None:
    volume = read_scan(data_dir / "ct/cptac-c3n-00247")
    (found,) = measured(volume, outline(volume), [(-83.4, -192.4, -195.0), (-88.0, -190.0, -199.0)]).findings
    assert np.linalg.norm(np.subtract(found.center_lps_mm, (-83.4, -192.4, -195.0))) < 3
    assert 18 < found.diameter_mm < 27
    assert found.side == "right"
    assert found.slice_index == 31
