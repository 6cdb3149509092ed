"""Two screenings of one scan: each finding counts once, as what became of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from artifacts.comparison import Comparison
from artifacts.findings import Findings
from tasks.compare import CompareParams, compare, matched
from tests.artifacts.small_scans import chest, grid


@pytest.fixture(scope="module")
def inputs():
    return chest(grid((70, 60, 40), (3.0, 3.5, 5.0)))


def changed(findings, drop=(), **by_rank):
    """The same findings without some, and with others altered: ``r2={"p_nodule": 0.1}``."""
    kept = [replace(f, **by_rank.get(f"r{f.rank}", {})) for f in findings.findings if f.rank not in drop]
    return Findings(kept, findings.labels, findings.geometry)


def said(comparison):
    return {(c.before and c.before.rank, c.after and c.after.rank): c.what for c in comparison.changes}


def test_the_same_findings_are_the_same_whatever_their_order(inputs):
    found = inputs["findings"]
    turned = Findings(found.findings[::-1], found.labels, found.geometry)
    comparison = compare(inputs["volume"], found, turned)
    assert said(comparison) == {(1, 1): (), (2, 2): (), (3, 3): ()}
    assert comparison.summary() == {"appeared": 0, "vanished": 0, "moved": 0, "shifted": 0, "same": 3}
    assert comparison.preview(inputs | {"before": found, "after": found}).headline == "both found the same"


def test_appeared_vanished_moved_shifted(inputs):
    found = inputs["findings"]
    x, y, z = found.findings[0].center_lps_mm
    later = changed(found, drop=(3,), r1={"center_lps_mm": (x + 3, y, z)}, r2={"p_nodule": 0.7})
    assert said(compare(inputs["volume"], found, later)) == {(3, None): ("vanished",), (1, 1): ("moved",), (2, 2): ("shifted",)}
    assert said(compare(inputs["volume"], later, found))[(None, 3)] == ("appeared",)


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [(0.8, 0.84, ()), (0.8, 0.9, ("shifted",)), (0.49, 0.51, ("shifted",)), (0.1, 0.05, ()), (0.3, 0.2, ("shifted",))],
)
def test_a_probability_shifts_by_more_than_a_little_or_across_one_half(inputs, before, after, what):
    old, new = (changed(inputs["findings"], r1={"p_nodule": p}) for p in (before, after))
    assert said(compare(inputs["volume"], old, new))[(1, 1)] == what


def test_a_malignancy_that_was_not_asked_before_has_shifted(inputs):
    later = changed(inputs["findings"], r2={"p_malignant": 0.2})
    assert said(compare(inputs["volume"], inputs["findings"], later))[(2, 2)] == ("shifted",)


def test_each_finding_is_paired_once_and_the_pairs_lie_as_near_as_they_can(inputs):
    one = inputs["findings"].findings[0]
    at = lambda x: replace(one, center_lps_mm=(x, 0.0, 0.0), diameter_mm=4.0)  # noqa: E731
    assert sorted(matched([at(0), at(6)], [at(5), at(11)], 8.0)) == [(0, 0), (1, 1)]
    assert matched([at(0)], [at(8.1)], 8.0) == []
    assert matched([replace(at(0), diameter_mm=30.0)], [at(14)], 8.0) == [(0, 0)]  # inside the larger one
    assert matched([], [at(0)], 8.0) == []


def test_swapping_the_two_swaps_appeared_and_vanished(inputs):
    rng = np.random.default_rng(0)
    one = inputs["findings"].findings[0]
    sides = [
        Findings(
            [
                replace(one, rank=i + 1, center_lps_mm=tuple(rng.uniform(-30, 30, 3)), p_nodule=p)
                for i, p in enumerate(rng.random(n))
            ],
            inputs["findings"].labels,
            inputs["findings"].geometry,
        )
        for n in (12, 9)
    ]
    there = compare(inputs["volume"], *sides).summary()
    back = compare(inputs["volume"], *sides[::-1]).summary()
    assert (there["appeared"], there["vanished"]) == (back["vanished"], back["appeared"])
    assert {k: there[k] for k in ("moved", "shifted", "same")} == {k: back[k] for k in ("moved", "shifted", "same")}
    assert there["vanished"] - there["appeared"] == 3


def test_it_is_written_read_back_and_shown_with_pictures(inputs, tmp_path):
    later = changed(inputs["findings"], drop=(1,), r2={"p_nodule": 0.1})
    comparison = compare(inputs["volume"], inputs["findings"], later, CompareParams(differs=("group: params: threshold",)))
    comparison.write(tmp_path)
    assert Comparison.read(tmp_path) == comparison
    shown = comparison.preview(inputs | {"before": inputs["findings"], "after": later})
    assert shown.headline == "1 vanished, 1 shifted, 1 the same"
    assert shown.tables["Findings"][0]["p nodule"] == "> 0.99 → none"
    (picture,) = shown.pictures.values()
    assert picture[:2] == b"\xff\xd8"


def test_nothing_in_either(inputs):
    empty = changed(inputs["findings"], drop=(1, 2, 3))
    comparison = compare(inputs["volume"], empty, empty)
    assert comparison.changes == []
    assert comparison.preview(inputs | {"before": empty, "after": empty}).pictures == {}
