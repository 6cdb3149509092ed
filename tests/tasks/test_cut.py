"""Cutting: which places become crops and patches, and what truth they carry; masks from a label map, grown, or a ball."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from artifacts.dataset import DatasetScan, Nodule
from artifacts.examples import ORIGINS
from artifacts.geometry import Geometry
from artifacts.lumps import Candidate, Lumps
from artifacts.lungmask import LungMask
from artifacts.volume import Series, Volume
from tasks.cut import CutParams, cut
from tasks.mine import MineParams, mine
from tasks.patch import PatchParams, label_maps, patch
from tasks.training.labels import LabelMap
from tasks.training.masks import ball, nodule_masks
from tasks.training.truth import Truth
from tests.luna_folder import write_mhd

UID = "1.2.3.4.5.6.7.8.9.10.11"
GRID = Geometry((40, 96, 96), (2.0, 1.0, 1.0), (-48.0, -48.0, -40.0))
CENTERS = ((-10.0, 5.0, 3.0), (20.0, -15.0, -8.0))
DIAMETERS = (12.0, 7.0)


def scan(centers=CENTERS, diameters=DIAMETERS, excluded=(), candidates=(), labels=()):
    """Lung of -850 HU with balls of 30 HU, some dense spots, and its truth."""
    rng = np.random.default_rng(0)
    hu = np.full(GRID.shape_zyx, -850, np.int16) + rng.normal(0, 15, GRID.shape_zyx).astype(np.int16)
    index = np.stack(np.meshgrid(*map(np.arange, GRID.shape_zyx), indexing="ij"), axis=-1)
    places = GRID.lps_mm_from_zyx(index)
    for c, d in zip(centers, diameters, strict=True):
        hu[np.linalg.norm(places - c, axis=-1) <= d / 2] = 30
    hu[::8, ::16, ::16] = 50
    nodules = tuple(
        Nodule(UID, c, d, malignant=k == 0, rating=4.0 - 2 * k, row=k)
        for k, (c, d) in enumerate(zip(centers, diameters, strict=True))
    )
    table = (np.array(candidates, float).reshape(-1, 3), np.array(labels, np.int8))
    truth = Truth(DatasetScan(UID, "patient-1", "train", 4), nodules, tuple(excluded), ((),) * len(nodules), *table)
    return Volume(hu, GRID, Series(UID)), LungMask(np.ones(GRID.shape_zyx, np.uint8), GRID), truth


def named(examples):
    return np.array(ORIGINS)[examples.origin]


def test_each_nodule_on_and_off_its_centre_and_negatives_up_to_the_cap():
    made = cut(*scan(), CutParams(jittered=3, negatives=25))
    names = named(made)
    assert [int((names == o).sum()) for o in ORIGINS] == [2, 6, 0, 25, 0, 0]
    assert made.label.tolist() == [1] * 8 + [0] * 25
    assert made.nodule[:8].tolist() == [0, 1, 0, 0, 0, 1, 1, 1]
    assert made.malignant.tolist() == [1, 0, 1, 1, 1, 0, 0, 0] + [-1] * 25
    assert made.rating[:2].tolist() == [4.0, 2.0]
    assert (made.uid, made.patient, made.split, made.fold) == (UID, "patient-1", "train", 4)


@pytest.mark.parametrize("seed", range(5))
def test_jittered_places_stay_in_their_nodule_and_negatives_clear_of_all(seed):
    excluded = [Nodule(UID, (0.0, 30.0, 0.0), 10.0, excluded=True), Nodule(UID, (30.0, 30.0, 0.0), -1.0, excluded=True)]
    volume, lungs, truth = scan(excluded=excluded)
    made = cut(volume, lungs, truth, CutParams(jittered=20, negatives=200, seed=seed))
    gaps = np.linalg.norm(made.centers_lps_mm[:, None] - np.array(CENTERS), axis=2) - np.array(DIAMETERS) / 2
    assert (gaps[made.label == 1].min(axis=1) <= 0).all()
    assert (gaps[made.label == 0] > 4.0).all()
    away = np.linalg.norm(made.centers_lps_mm[made.label == 0][:, None] - [n.center_lps_mm for n in excluded], axis=2)
    assert (away > [5.0, 3.0]).all()


def test_candidates_count_by_where_they_lie():
    """In a nodule: positive, whatever mark of a reader lies there too; beside one, or in an excluded finding: left out."""
    excluded = [Nodule(UID, (0.0, 30.0, 0.0), 10.0, excluded=True), Nodule(UID, CENTERS[0], 13.0, excluded=True)]
    inside, beside, clear, in_excluded = CENTERS[0], (-10.0, 13.0, 3.0), (-30.0, -30.0, 10.0), (1.0, 30.0, 0.0)
    wrong = CENTERS[1]  # the table says that it is none
    made = cut(
        *scan(excluded=excluded, candidates=[inside, beside, clear, in_excluded, wrong], labels=[1, 1, 0, 0, 0]),
        CutParams(jittered=0, negatives=4, bright=0.5),
    )
    of_table = named(made) == "candidate"
    assert made.centers_lps_mm[of_table].tolist() == [list(inside), list(clear)]
    assert made.label[of_table].tolist() == [1, 0]


def test_few_candidates_are_made_up_for_and_many_are_capped():
    many = [(-30.0 + k % 7, -30.0 + k // 7, 20.0) for k in range(49)]
    made = cut(*scan(candidates=many, labels=[0] * 49), CutParams(jittered=0, negatives=20, bright=0.25))
    assert [(named(made) == o).sum() for o in ("candidate", "bright")] == [15, 5]
    made = cut(*scan(candidates=many[:3], labels=[0] * 3), CutParams(jittered=0, negatives=20, bright=0.25))
    assert [(named(made) == o).sum() for o in ("candidate", "bright")] == [3, 17]


def test_positives_are_capped_centres_first():
    made = cut(*scan(), CutParams(jittered=10, positives=5, negatives=0))
    assert [(named(made) == o).sum() for o in ("annotated", "jittered")] == [2, 3]


def test_the_same_truth_gives_the_same_crops_and_another_seed_others():
    one, two, other = (cut(*scan(), CutParams(seed=s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.hu, two.hu)
    assert not np.array_equal(one.centers_lps_mm, other.centers_lps_mm)


def test_a_scan_without_nodules_or_bright_places_gives_what_there_is():
    volume, lungs, truth = scan((), ())
    assert cut(volume, lungs, truth, CutParams(negatives=9)).label.tolist() == [0] * 9
    dark = replace(volume, hu=np.full_like(volume.hu, -900))
    assert len(cut(dark, lungs, truth, CutParams(negatives=9))) == 0
    made = patch(dark, lungs, truth, PatchParams(bright=5, anywhere=3, size=32))
    assert (len(made), np.asarray(made.masks).any()) == (3, False)


def test_proposals_of_a_segmenter_are_labelled_most_probable_first():
    volume, _, truth = scan()
    places = [((-30.0, -30.0, 10.0), 0.3), (CENTERS[1], 0.9), ((30.0, 30.0, 0.0), 0.6), ((20.0, -10.0, -8.0), 0.99)]
    lumps = Lumps([], [Candidate(1, "peak", tuple(GRID.zyx_from_lps_mm(p)), p, 2.0, q) for p, q in places], GRID)
    made = mine(volume, lumps, truth, MineParams())
    assert made.label.tolist() == [1, 0, 0]  # the last of the places lies beside a nodule: in doubt
    assert made.centers_lps_mm.tolist() == [list(CENTERS[1]), [30.0, 30.0, 0.0], [-30.0, -30.0, 10.0]]
    assert len(mine(volume, lumps, truth, MineParams(most=2))) == 2
    lumps.candidates.insert(0, Candidate(0, "blob", tuple(GRID.zyx_from_lps_mm((10.0, 0.0, 9.0))), (10.0, 0.0, 9.0), 2.0, 0.0))
    assert named(mine(volume, lumps, truth, MineParams(most=2))).tolist() == ["mined", "mined", "blob"]
    assert named(mine(volume, lumps, truth, MineParams(most=2, blobs=0))).tolist() == ["mined", "mined"]


# -- patches and masks -----------------------------------------------------------------------------------------------------------


def true_mask(k):
    index = np.stack(np.meshgrid(*map(np.arange, GRID.shape_zyx), indexing="ij"), axis=-1)
    return np.linalg.norm(GRID.lps_mm_from_zyx(index) - CENTERS[k], axis=-1) <= DIAMETERS[k] / 2


def test_patches_run_through_every_nodule_with_its_mask_and_its_neighbours_slices():
    volume, lungs, truth = scan()
    made = patch(volume, lungs, truth, PatchParams(size=48, context=2, slices_a_nodule=3, bright=4, anywhere=2))
    many = patch(volume, lungs, truth, PatchParams(size=48, context=2, slices_a_nodule=40, bright=0, anywhere=0))
    assert np.bincount(many.nodule).tolist() == [40, 40], "also where there are fewer slices"
    assert made.hu.shape == (12, 5, 48, 48)
    assert made.nodule.tolist() == [0, 0, 0, 1, 1, 1] + [-1] * 6
    assert np.asarray(made.masks)[:6].any(axis=(1, 2)).all()
    labels, _ = label_maps(volume, lungs, truth, 0.5)
    for k, center in enumerate(made.centers_lps_mm):
        z = round(float(GRID.zyx_from_lps_mm(center)[0]))
        assert any(np.array_equal(made.hu[k][2], volume.hu[z, y : y + 48, x : x + 48]) for y in range(49) for x in range(49))
        assert int(made.masks[k].sum()) <= int((labels[z] > 0).sum())


@pytest.mark.parametrize("k", [0, 1])
def test_masks_grow_to_the_nodule(k):
    volume, lungs, truth = scan()
    box, mask = nodule_masks(volume, lungs, truth, 0.5)[k]
    grown = np.zeros(GRID.shape_zyx, bool)
    grown[box] = mask
    true = true_mask(k)
    assert 2 * (grown & true).sum() / (grown.sum() + true.sum()) > 0.85


def test_where_nothing_of_the_annotated_size_grows_the_mask_is_a_ball():
    volume, lungs, truth = scan()
    empty = replace(volume, hu=np.full_like(volume.hu, -850))
    for (box, mask), nodule in zip(nodule_masks(empty, lungs, truth, 0.5), truth.nodules, strict=True):
        want_box, want = ball(nodule, GRID)
        assert box == want_box
        np.testing.assert_array_equal(mask, want)
        assert mask.sum() * GRID.voxel_mm3 == pytest.approx(np.pi / 6 * nodule.diameter_mm**3, rel=0.2)


def test_a_ball_smaller_than_a_voxel_is_one_voxel():
    box, mask = ball(Nodule(UID, (0.3, 0.4, 0.9), 0.2), GRID)
    assert mask.sum() == 1
    assert [int(s.start + i[0]) for s, i in zip(box, np.nonzero(mask), strict=True)] == [20, 48, 48]


@pytest.mark.parametrize("thinner", [False, True])
def test_a_label_map_beside_the_scan_is_the_truth(tmp_path, thinner):
    volume, lungs, truth = scan()
    labels = (true_mask(0) * 1 + true_mask(1) * 2).astype(np.int16)
    grid = Geometry((80, 96, 96), (1.0, 1.0, 1.0), (-48.0, -48.0, -40.5)) if thinner else GRID
    write_mhd(Volume(labels.repeat(2, axis=0) if thinner else labels, grid, Series(UID)), tmp_path / f"{UID}.mhd")
    truth = replace(truth, label_map=LabelMap(tmp_path / f"{UID}.mhd", "d"))
    made, ignore = label_maps(volume, lungs, truth, 0.5)
    np.testing.assert_array_equal(made, labels)
    assert not ignore.any()


def test_excluded_findings_are_ignored_but_for_what_is_nodule():
    volume, lungs, truth = scan(
        excluded=[Nodule(UID, CENTERS[0], 20.0, excluded=True), Nodule(UID, (30.0, 30.0, 0.0), -1.0, excluded=True)]
    )
    labels, ignore = label_maps(volume, lungs, truth, 0.5)
    assert not (ignore[labels > 0]).any()
    z, y, x = np.rint(GRID.zyx_from_lps_mm((30.0, 30.0, 0.0))).astype(int)
    assert ignore[z, y, x] == 1
    assert ignore.sum() > 500


def test_truth_for_crops_does_not_change_with_outlines_nor_for_patches_with_candidates(tmp_path):
    _, _, truth = scan(candidates=[(0, 0, 0)], labels=[0])
    with_map = replace(truth, label_map=LabelMap(tmp_path / "x.mhd", "d"))
    assert truth.digest != with_map.digest
    assert truth.for_crops().digest == with_map.for_crops().digest
    assert truth.for_patches().digest != with_map.for_patches().digest
    more = replace(truth, candidates_lps_mm=np.zeros((2, 3)), labels=np.zeros(2, np.int8))
    assert truth.for_patches().digest == more.for_patches().digest
    assert truth.for_crops().digest != more.for_crops().digest
