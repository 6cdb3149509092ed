"""Splits: no patient ever crosses, a scan more moves nobody else, the same on every machine."""

from collections import defaultdict

import numpy as np
import pytest

from tasks.datasets.dataset import DatasetParams, dataset
from tasks.datasets.splits import SplitParams, identity_of, place
from tests.tasks.datasets.made import raw, uid


@pytest.mark.parametrize("seed", range(12))
def test_no_patient_crosses_splits_or_folds(seed):
    """Patients with one to six series, any shares, any number of folds, with and without a test fold, official folds or none."""
    rng = np.random.default_rng(seed)
    patients = [f"LIDC-IDRI-{k:04d}" for k in rng.integers(0, 40, 120)]
    folds = int(rng.integers(2, 12))
    shares = {"validation": float(rng.uniform(0, 0.45)), "test": float(rng.uniform(0, 0.45))}
    test_fold = int(rng.integers(-1, folds))
    params = DatasetParams(folds=folds, **shares, salt=str(seed), test_fold=test_fold)
    made = dataset(raw(120, layout=("luna16", "table")[seed % 2], patients=patients), params)
    where, folds_of = defaultdict(set), defaultdict(set)
    by_id = {uid(k): p for k, p in enumerate(patients)}
    for scan in made.scans:
        where[by_id[scan.uid]].add((scan.split, scan.patient))
        folds_of[by_id[scan.uid]].add(scan.fold)
        assert 0 <= scan.fold < folds
    assert len(where) > 30
    assert all(len(places) == 1 for places in where.values())
    assert all(len(places) == 1 for places in folds_of.values())
    assert len({s.patient for s in made.scans}) == len(where)  # and no two patients share a pseudonym


def test_a_scan_more_moves_nobody_else():
    before = {s.uid: (s.split, s.fold) for s in dataset(raw(50, layout="table")).scans}
    after = {s.uid: (s.split, s.fold) for s in dataset(raw(60, layout="table")).scans}
    assert before.items() <= after.items()


def test_the_split_is_the_same_for_ever():
    """Golden: whoever trained yesterday and tests today must not meet the same patient."""
    ids = [identity_of(f"1.2.{k}") for k in range(8)]
    assert [place(i, SplitParams()).split[:2] for i in ids] == ["tr", "tr", "tr", "va", "tr", "tr", "va", "tr"]
    assert [place(i, SplitParams()).fold for i in ids] == [2, 2, 3, 9, 1, 2, 3, 5]


def test_shares_come_out_as_asked():
    splits = [place(identity_of(str(k)), SplitParams(validation=0.2, test=0.3)).split for k in range(5000)]
    assert splits.count("validation") / 5000 == pytest.approx(0.2, abs=0.02)
    assert splits.count("test") / 5000 == pytest.approx(0.3, abs=0.02)


def test_the_subsets_of_luna16_are_its_folds():
    made = dataset(raw(10), DatasetParams(test_fold=3))
    assert {s.uid: s.fold for s in made.scans} == {uid(k): k for k in range(10)}
    assert [s.fold for s in made.in_split("test")] == [3]
    assert [s.fold for s in made.in_split("validation")] == [4]


def test_what_stood_for_the_patient_is_said_and_no_id_is_kept(tmp_path):
    known = dataset(raw(4, layout="table", patients=["Mustermann"] * 4))
    assert known.split_by["patient"] == "the patient's ID"
    assert "no patient is known" in dataset(raw(4)).split_by["patient"]
    known.write(tmp_path)
    assert all(
        b"Mustermann" not in f.read_bytes() and identity_of("Mustermann").encode() not in f.read_bytes()
        for f in tmp_path.iterdir()
    )


@pytest.mark.parametrize("bad", [{"validation": 0.6, "test": 0.5}, {"folds": 5, "test_fold": 5}, {"folds": 1}])
def test_splits_that_leave_nothing_to_train_on_are_refused(bad):
    with pytest.raises(ValueError, match=r"0\.95|below folds|greater than or equal to 2"):
        SplitParams(**bad)
