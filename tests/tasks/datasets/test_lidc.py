"""LIDC-IDRI's XML: outlines to masks, readings to nodules, consensus and malignancy; equal to LUNA16's tables on real scans."""

import numpy as np
import pytest

from artifacts.geometry import Geometry
from tasks.datasets import lidc
from tasks.datasets.dataset import DatasetParams, dataset
from tasks.datasets.find import find_dataset
from tasks.datasets.lidc_xml import read_xml
from tasks.datasets.raw import Entry, RawDataset
from tasks.datasets.splits import identity_of
from tasks.training.masks import drawn
from tasks.training.truth import truth_of
from tests.tasks.datasets.made import nodule, non_nodule, reading_xml, square, uid

GRID = Geometry((40, 100, 100), (2.0, 0.5, 0.5), (-10.0, -20.0, -100.0))
PLACES = tuple((f"1.2.{abs(z)}", (-10.0, -20.0, float(z))) for z in range(-100, -20, 2))


def made(tmp_path, sessions, **params):
    (tmp_path / "a.xml").write_bytes(reading_xml(uid(0), sessions))
    raw = RawDataset("lidc", [Entry(uid(0), identity_of("p"), 40, GRID, slice_places=PLACES)], {})
    scan = read_xml(tmp_path / "a.xml")
    raw.readings[scan.uid] = scan
    return dataset(raw, DatasetParams(**params))


def cube(x=50, y=40, half=4, malignancy=3, zs=(-60, -58, -56)):
    return nodule([(z, square(x, y, half), False) for z in zs], malignancy)


def test_an_outline_encloses_what_lies_inside_of_it_and_not_itself(tmp_path):
    found = made(tmp_path, [[cube(half=4)]] * 3)
    (n,) = found.nodules
    assert n.center_lps_mm == pytest.approx((15.0, 0.0, -58.0))
    voxels = 3 * 7 * 7
    assert n.diameter_mm == pytest.approx((6 * voxels * 0.5 * 0.5 * 2 / np.pi) ** (1 / 3))
    box, mask = drawn(truth_of(found, uid(0)).rings[0], GRID, 0.5)
    whole = np.zeros(GRID.shape_zyx, bool)
    whole[box] = mask
    want = np.zeros(GRID.shape_zyx, bool)
    want[20:23, 37:44, 47:54] = True
    np.testing.assert_array_equal(whole, want)


def test_a_hole_is_cut_out_and_its_own_ring_is_not(tmp_path):
    rings = [(z, square(50, 40, 8), False) for z in (-60, -58)] + [(-58, square(50, 40, 2), True)]
    found = made(tmp_path, [[nodule(rings)]] * 3)
    _box, mask = drawn(truth_of(found, uid(0)).rings[0], GRID, 0.5)
    assert mask.sum() == 2 * 15 * 15 - 3 * 3


def test_masks_follow_the_share_of_readers_that_agree(tmp_path):
    found = made(tmp_path, [[cube(half=3)], [cube(half=5)], [cube(half=7)], [cube(half=7)]])
    rings = truth_of(found, uid(0)).rings[0]
    sides = {share: round((drawn(rings, GRID, share)[1].sum() / 3) ** 0.5) for share in (0.25, 0.5, 0.75, 1.0)}
    assert sides == {0.25: 13, 0.5: 13, 0.75: 9, 1.0: 5}


def test_a_mask_follows_onto_a_grid_with_thinner_and_flipped_slices(tmp_path):
    found = made(tmp_path, [[cube()]] * 3)
    thin = Geometry((80, 100, 100), (1.0, 0.5, 0.5), (-10.0, -20.0, -21.0), ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    box, mask = drawn(truth_of(found, uid(0)).rings[0], thin, 0.5)
    assert mask.sum() * thin.voxel_mm3 == pytest.approx(3 * 7 * 7 * 0.5 * 0.5 * 2, rel=0.35)
    z = np.nonzero(mask.any(axis=(1, 2)))[0] + box[0].start
    assert thin.lps_mm_from_zyx([z.mean(), 0, 0])[2] == pytest.approx(-58, abs=0.5)


def test_readings_of_one_nodule_are_put_together_and_neighbours_are_not(tmp_path):
    far = cube(x=75, malignancy=5)
    found = made(tmp_path, [[cube(x=50 + k), far] for k in range(3)] + [[cube(x=49)]])
    counts = [(n.readers, n.excluded) for n in found.nodules]
    assert sorted(counts) == [(3, False), (4, False)]


def test_one_reader_never_counts_twice_for_a_nodule(tmp_path):
    twice = [cube(), cube(x=52)]
    found = made(tmp_path, [twice, [cube(x=51)]], consensus=1)
    assert sorted(n.readers for n in found.nodules) == [1, 2]


@pytest.mark.parametrize(("consensus", "count"), [(1, 3), (2, 2), (3, 1), (4, 0)])
def test_the_consensus_level_is_a_parameter_and_the_rest_is_excluded(tmp_path, consensus, count):
    a, b, c = cube(x=20), cube(x=50), cube(x=80)
    found = made(tmp_path, [[a, b, c], [b, c], [c], []], consensus=consensus)
    assert len(found.nodules_of(uid(0))) == count
    assert len(found.nodules_of(uid(0), excluded=True)) == 3 - count


@pytest.mark.parametrize(
    ("ratings", "malignant"), [((1, 2, 2), False), ((5, 4, 1), True), ((3, 3, 3), None), ((4, 4, 3, 2), None), ((2, 2, 3), False)]
)
def test_malignancy_is_the_median_rating_and_the_middle_is_left_out(tmp_path, ratings, malignant):
    (n,) = made(tmp_path, [[cube(malignancy=r)] for r in ratings]).nodules
    assert (n.malignant, n.rating) == (malignant, float(np.median(ratings)))


def test_marks_below_3_mm_and_of_no_nodule_are_excluded(tmp_path):
    small = nodule([(-60, [(30, 30)], False)], None)
    found = made(tmp_path, [[cube(), small, non_nodule(-70, 10, 10)], [cube()], [cube()]])
    assert len(found.nodules_of(uid(0))) == 1
    assert sorted((n.kind, n.diameter_mm) for n in found.nodules_of(uid(0), excluded=True)) == [
        ("below 3 mm", -1),
        ("no nodule", -1),
    ]


def test_a_slice_that_is_not_on_disk_is_placed_by_its_height(tmp_path):
    (n,) = made(tmp_path, [[cube(zs=(-61, -59, -57))]] * 3).nodules
    assert n.center_lps_mm == pytest.approx((15.0, 0.0, -59.0))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<LidcReadMessage>",
        reading_xml(uid(0), [[cube()]], more='<!DOCTYPE x [<!ENTITY a "aaaa">]>'),
        reading_xml("", [[cube()]]),
        reading_xml(uid(0), [[cube()]])[:400],
    ],
)
def test_a_damaged_or_hostile_file_is_no_reading(tmp_path, data):
    (tmp_path / "a.xml").write_bytes(data)
    assert read_xml(tmp_path / "a.xml") is None


def test_a_reading_that_makes_no_sense_is_told_and_the_others_count(tmp_path):
    bad = nodule([(-60, [(1, 1), ("x", 2)], False)])
    found = made(tmp_path, [[cube(), bad], [cube()], [cube()]])
    assert len(found.nodules) == 1
    assert any("1 readings of scan" in p for p in found.problems)


# -- real scans ----------------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_each_reading_is_measured_as_luna16_has_it(data_dir):
    """LUNA16 averaged the readings one after another, the last two first; so do these, and the rows of its table come out."""
    raw = find_dataset(data_dir / "ct" / "lidc-partial")
    entries = {e.uid: e for e in raw.entries}
    table = [line.split(",") for line in (data_dir / "tables/luna16/annotations.csv").read_text().splitlines()]
    compared = 0
    for scan_uid, scan in raw.readings.items():
        placed = [p for p in (lidc.place(r, entries[scan_uid]) for r in scan.readings) if p.reading.kind == "nodule"]
        theirs = np.array([[float(v) for v in row[1:]] for row in table if row[0] == scan_uid])
        for group in lidc.clustered(placed):
            if len(group) == 4:
                rows = [np.array([*p.center_lps_mm, p.diameter_mm]) for p in sorted(group, key=lambda p: -p.reading.reader)]
                ours = rows[0]
                for row in rows[1:]:
                    ours = (ours + row) / 2
                nearest = theirs[np.linalg.norm(theirs[:, :3] - ours[:3], axis=1).argmin()]
                np.testing.assert_allclose(ours, nearest, atol=0.15)
                compared += 1
    assert compared == 4


@pytest.mark.data
def test_the_real_pair_gives_its_two_nodules_with_their_masks(data_dir):
    found = dataset(find_dataset(data_dir / "ct" / "lidc-partial"))
    assert [s.slices for s in found.scans] == [11, 16]
    assert [(round(n.diameter_mm), n.rating, n.malignant, n.readers) for n in found.nodules if not n.excluded] == [
        (22, 4.5, True, 4),
        (23, 5.0, True, 4),
    ]
    assert any(p.startswith("nodules: 2 in 1 scans lie outside") for p in found.problems)  # in slices that were not kept
    assert all("LIDC-IDRI-00" not in str(vars(s)) for s in found.scans)
    for scan in found.scans:
        truth = truth_of(found, scan.uid)
        assert len({r.reader for r in truth.rings[0]}) == 4
