"""FROC by LUNA16's rule: the official numbers on a real submission, and a slow obvious version on small random ones."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import InputError
from tasks.evaluation.froc import FALSE, HIT, RATES, froc, match
from tasks.evaluation.marks import marks_of, nodules_of, read_nodules, read_scans, read_submission

# -- the official numbers ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(data_dir):
    return data_dir / "tables" / "froc-reference"


@pytest.fixture(scope="module")
def scored(reference):
    marks = read_submission(reference / "submission.csv")
    nodules = read_nodules(reference / "annotations.csv", reference / "annotations_excluded.csv")
    return froc(marks, nodules, read_scans(reference / "seriesuids.csv")[0])


@pytest.mark.data
def test_the_counts_are_the_official_ones(scored):
    assert (scored.tp, scored.fp, scored.fn, scored.ignored, scored.doubles) == (104, 986, 1, 358, 51)
    assert scored.scans == 88


@pytest.mark.data
def test_the_sensitivities_and_cpm_are_the_official_ones(scored, reference):
    official = np.loadtxt(reference / "official" / "froc_luna_submission_res18_focal_all.txt", delimiter=",")
    assert scored.sensitivities == pytest.approx(np.interp(RATES, official[:, 0], official[:, 1]), abs=1e-8)
    assert round(scored.cpm, 4) == 0.9088


@pytest.mark.data
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bootstrap_bounds_are_near_the_official_ones(reference, seed):
    path = reference / "official" / "froc_luna_submission_res18_focal_all_bootstrapping.csv"
    official = np.loadtxt(path, delimiter=",", skiprows=1)
    marks = read_submission(reference / "submission.csv")
    nodules = read_nodules(reference / "annotations.csv", reference / "annotations_excluded.csv")
    ours = froc(marks, nodules, read_scans(reference / "seriesuids.csv")[0], seed=seed)
    for bound, column in ((ours.low, 2), (ours.high, 3)):
        assert bound == pytest.approx(np.interp(RATES, official[:, 0], official[:, column]), abs=0.02)
    assert [ours.cpm_low, ours.cpm_high] == pytest.approx(np.percentile(ours.samples, [2.5, 97.5]))


@pytest.mark.data
def test_the_curve_is_the_official_one_at_every_rate(scored, reference):
    official = np.loadtxt(reference / "official" / "froc_luna_submission_res18_focal_all.txt", delimiter=",")
    rates = np.linspace(0.01, 11, 500)
    assert np.interp(rates, *scored.curve) == pytest.approx(np.interp(rates, official[:, 0], official[:, 1]), abs=1e-6)


@pytest.mark.data
def test_the_missed_nodule_is_the_official_one(reference):
    marks = read_submission(reference / "submission.csv")
    nodules = read_nodules(reference / "annotations.csv", reference / "annotations_excluded.csv")
    (missed,) = match(marks, nodules, read_scans(reference / "seriesuids.csv")[0]).missed
    with next((reference / "official").glob("nodulesWithoutCandidate*")).open() as f:
        uid, _, x, y, z, *_ = next(csv.reader(f))
    assert nodules.series[missed] == uid
    assert nodules.center_lps_mm[missed] == pytest.approx([float(x), float(y), float(z)])


# -- a slow obvious version --------------------------------------------------------------------------------------------------


def slow(scans, marks, nodules):
    """As LUNA16 describes it. ``marks``: (scan, x, p); ``nodules``: (scan, x, mm, excluded)."""
    tp, fp, ignored, doubles = [], [], 0, 0
    wanted = 0
    for scan in scans:
        left = sorted((m for m in marks if m[0] == scan), key=lambda m: -m[2])[:100]
        pool = list(range(len(left)))
        for _, x, mm, out in sorted((n for n in nodules if n[0] == scan), key=lambda n: n[3]):
            on = [i for i, m in enumerate(left) if abs(m[1] - x) < (10 if mm < 0 else mm) / 2]
            if out:
                ignored += sum(i in pool for i in on)
            else:
                wanted += 1
                if on:
                    tp.append(max(left[i][2] for i in on))
                    doubles += len(on) - 1
            pool = [i for i in pool if i not in on]
        fp += [left[i][2] for i in pool]
    points = [(0.0, 0.0)]
    for t in sorted({*tp, *fp}, reverse=True):
        points.append((sum(p >= t for p in fp) / len(scans), sum(p >= t for p in tp) / wanted if wanted else math.nan))
    rates = [np.interp(r, [p[0] for p in points], [p[1] for p in points]) if wanted else math.nan for r in RATES]
    return (len(tp), len(fp), wanted - len(tp), ignored, doubles), rates


SCANS = ["a", "b", "c"]
MARKS = st.lists(
    st.tuples(st.sampled_from([*SCANS, "z"]), st.integers(-12, 12), st.sampled_from([0.1, 0.3, 0.5, 0.9])), max_size=14
)
NODULES = st.lists(
    st.tuples(st.sampled_from([*SCANS, "z"]), st.integers(-12, 12), st.sampled_from([3, 6, 11]), st.booleans()), max_size=8
)


def fast(marks, nodules, **options):
    m = marks_of([s for s, _, _ in marks], [(x, 0, 0) for _, x, _ in marks], [p for *_, p in marks])
    n = nodules_of(
        [s for s, *_ in nodules], [(x, 0, 0) for _, x, _, _ in nodules], [d for _, _, d, _ in nodules], [o for *_, o in nodules]
    )
    return froc(m, n, SCANS, **options)


@settings(max_examples=120, deadline=None)
@given(MARKS, NODULES)
def test_it_is_what_the_slow_obvious_version_says(marks, nodules):
    ours = fast(marks, nodules, bootstraps=3)
    counts, rates = slow(SCANS, marks, nodules)
    assert (ours.tp, ours.fp, ours.fn, ours.ignored, ours.doubles) == counts
    assert ours.sensitivities == pytest.approx(rates, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(MARKS, NODULES, st.permutations(range(14)))
def test_the_order_of_marks_does_not_matter(marks, nodules, order):
    shuffled = [marks[i] for i in order if i < len(marks)]
    one, other = fast(marks, nodules, bootstraps=5), fast(shuffled, nodules, bootstraps=5)
    assert one.as_json() == other.as_json()


# -- its rules, one by one ---------------------------------------------------------------------------------------------------


def test_a_hit_lies_inside_the_radius_not_on_it():
    assert fast([("a", 3, 0.9)], [("a", 0, 6, False)]).tp == 0
    assert fast([("a", 2, 0.9)], [("a", 0, 6, False)]).tp == 1


def test_an_excluded_finding_without_a_diameter_counts_as_10_mm_wide():
    marks = marks_of(["a", "a"], [(4.9, 0, 0), (5, 0, 0)], [0.9, 0.8])
    score = froc(marks, nodules_of(["a"], [(0, 0, 0)], [-1], [True]), ["a"])
    assert (score.ignored, score.fp) == (1, 1)


def test_scans_without_nodules_count():
    one = fast([("a", 0, 0.5), ("b", 0, 0.9)], [("a", 0, 6, False)])
    assert one.sensitivities[RATES.index(0.25)] == pytest.approx(0.0), "a third of a false positive a scan comes first"
    assert one.sensitivities[-1] == 1


def test_at_most_100_marks_a_scan_count():
    marks = marks_of(["a"] * 150, [(50 + i, 0, 0) for i in range(150)], np.linspace(1, 0, 150))
    score = froc(marks, nodules_of([], [], [], []), ["a"])
    assert score.fp == 100
    assert "50 mark(s) beyond the 100" in score.said[0]


def test_without_any_nodule_there_is_no_sensitivity_and_json_says_null():
    score = fast([("a", 0, 0.5)], [])
    assert score.as_json()["cpm"] is None
    assert score.as_json()["sensitivities"] == [None] * 7


def test_without_any_mark_everything_is_missed():
    score = fast([], [("a", 0, 6, False)])
    assert (score.tp, score.fn, score.cpm) == (0, 1, 0.0)


def test_marks_and_nodules_of_other_scans_are_left_out_and_said():
    score = fast([("z", 0, 0.9)], [("z", 0, 6, False)])
    assert (score.fp, score.fn) == (0, 0)
    assert len(score.said) == 2


def test_no_scans_is_an_error():
    with pytest.raises(InputError, match="scan list is empty"):
        froc(marks_of([], [], []), nodules_of([], [], [], []), [])


def test_matched_says_what_became_of_each_mark():
    matched = match(
        marks_of(["a", "a"], [(0, 0, 0), (50, 0, 0)], [0.5, 0.4]), nodules_of(["a"], [(1, 0, 0)], [9], [False]), ["a"]
    )
    assert matched.role.tolist() == [HIT, FALSE]
    assert matched.nodule_of.tolist() == [0, -1]
