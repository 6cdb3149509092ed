"""Two evaluations compared: paired draws, the same scans, and what makes them no pair."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from artifacts.errors import InputError
from tasks.evaluate import EvaluateParams, evaluate
from tasks.evaluation.compare import compare
from tests.tasks.evaluation.test_evaluate import scan


@pytest.fixture(scope="module")
def first():
    rng = np.random.default_rng(3)
    return evaluate([scan(k, rng) for k in range(40)], params=EvaluateParams(bootstraps=20, weights="one"))


def test_the_same_differs_in_nothing(first):
    found = compare(first, deepcopy(first), bootstraps=50)
    assert found.scans == 40
    assert all((r["difference"], r["low"], r["high"]) == (0, 0, 0) for r in found.rows)
    assert found.names == ("one (first)", "one (second)")


def test_a_better_one_is_better_beyond_chance(first):
    better = deepcopy(first)
    better.about["weights"] = "two"
    for n in better.nodules:
        n |= {"found": True, "lost_by": None, "mark": n["mark"] or 99, "p_nodule": 0.999}
    found = compare(first, better, bootstraps=200)
    rows = {r["measure"]: r for r in found.rows}
    for name in ("CPM", "sensitivity at 1 false a scan", "sensitivity at its threshold"):
        assert rows[name]["difference"] > 0
        assert rows[name]["low"] > 0
        assert rows[name]["second"] == pytest.approx(1)
        assert rows[name]["difference"] == pytest.approx(rows[name]["second"] - rows[name]["first"])
    assert rows["false a scan at its threshold"]["difference"] == 0
    assert found.preview().headline.startswith("two against one on 40 scans: CPM +")


def test_only_scans_of_both_count_and_the_rest_is_said(first):
    rng = np.random.default_rng(3)
    fewer = evaluate([scan(k, rng) for k in range(30)], params=EvaluateParams(bootstraps=20))
    found = compare(first, fewer, bootstraps=20)
    assert found.scans == 30
    assert found.said == ["10 scans that only the first evaluation has"]


def test_other_scans_or_other_nodules_are_no_pair(first):
    other = deepcopy(first)
    for row in [*other.scans, *other.nodules, *other.marks]:
        row["uid"] = "9" + row["uid"]
    with pytest.raises(InputError, match="no scan in common"):
        compare(first, other)
    moved = deepcopy(first)
    moved.nodules[0]["center_lps_mm"] = [1, 2, 3]
    with pytest.raises(InputError, match="different nodules"):
        compare(first, moved)
