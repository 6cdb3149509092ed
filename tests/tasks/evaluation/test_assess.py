"""Assess: every nodule and every finding of a scan accounted for, and each loss put down to the stage that lost it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from artifacts.assessment import Assessment
from artifacts.dataset import Nodule
from artifacts.findings import Findings
from artifacts.heatmap import HeatMap
from artifacts.lumps import Lumps
from artifacts.lungmask import LungMask
from artifacts.scores import Scores
from tasks.assess import AssessParams, assess
from tasks.evaluation.reference import Reference
from tests.artifacts.small_scans import ball, chest, grid

GRID = grid((96, 80, 72), (2.0, 2.0, 2.0))
FIRST, SECOND, THIRD = (-50.0, -10.0, 12.0), (40.0, 15.0, -10.0), (-40.0, 18.0, -8.0)  # of p 0.998, 0.8 and 0.4
ELSEWHERE = (50.0, -5.0, 14.0)


@pytest.fixture(scope="module")
def screened():
    """Three findings, each with its candidate, in two lungs."""
    made = chest(GRID)
    return made | {"nodule_scores": Scores("nodule", np.array([0.998, 0.8, 0.4], np.float32), np.ones(3, np.int32))}


def reference(*nodules, **options):
    rows = [Nodule("1.2.3", center, mm, row=k, **more) for k, (center, mm, more) in enumerate(nodules)]
    return Reference("1.2.3", "somebody", tuple(rows), **options)


def assessed(screened, *nodules, params=AssessParams(), **options):
    given = {k: v for k, v in screened.items() if k != "crops"}
    return assess(**given, reference=reference(*nodules, **options), params=params)


def without(screened, which):
    """The same scan where the finding numbered ``which`` and its candidate were never made."""
    f, lumps, s = screened["findings"], screened["lumps"], screened["nodule_scores"]
    keep = [k for k in range(3) if k != which]
    return screened | {
        "findings": Findings([f.findings[k] for k in keep], f.labels, f.geometry),
        "lumps": Lumps(lumps.lumps, [lumps.candidates[k] for k in keep], lumps.geometry),
        "nodule_scores": Scores("nodule", s.probability[keep], s.flips[keep]),
    }


def test_a_nodule_with_a_finding_on_it_is_found(screened):
    a = assessed(screened, (FIRST, 18.0, {"malignant": True}))
    (n,) = a.nodules
    assert a.found(n)
    assert (n.mark, n.lost_by, n.p_nodule, n.p_malignant) == (1, None, 0.998, 0.93)
    assert n.offset_mm == pytest.approx(0)
    assert [m.role for m in a.marks] == ["hit", "false", "false"]
    assert a.marks[0].nodule == 0
    assert a.elsewhere.tolist() == pytest.approx([0.8, 0.4])


def test_a_finding_below_the_threshold_is_no_find_but_marks_it(screened):
    a = assessed(screened, (THIRD, 10.0, {}))
    assert a.nodules[0].mark == 3
    assert a.nodules[0].lost_by is None
    assert not a.found(a.nodules[0])
    assert a.found(a.nodules[0], threshold=0.3)


def test_findings_on_excluded_places_are_neither_hits_nor_false(screened):
    a = assessed(screened, (SECOND, -1.0, {"excluded": True}))
    assert [m.role for m in a.marks] == ["false", "ignored", "false"]
    assert a.nodules[0].lost_by is None
    assert a.summary()["nodules"] == 0


def test_lost_by_the_outline(screened):
    mask = screened["lung_mask"]
    cut = LungMask(np.where(ball(GRID, FIRST, 20), 0, mask.labels).astype(np.uint8), GRID)
    a = assessed(without(screened, 0) | {"lung_mask": cut}, (FIRST, 18.0, {}))
    assert a.nodules[0].lost_by == "outline"
    assert a.nodules[0].p_nodule is None


def test_lost_by_the_outline_where_it_lies_outside_of_the_scan(screened):
    assert assessed(screened, ((900.0, 0.0, 0.0), 10.0, {})).nodules[0].lost_by == "outline"


def test_lost_by_segment(screened):
    assert assessed(screened, (ELSEWHERE, 8.0, {})).nodules[0].lost_by == "segment"


def test_lost_by_group(screened):
    a = assessed(without(screened, 0), (FIRST, 18.0, {}))
    assert a.nodules[0].lost_by == "group", "it is suspicious, and nobody proposed it"


@pytest.mark.parametrize(("p", "stage"), [(0.005, "classify"), (0.3, "classify"), (0.9, "measure")])
def test_lost_by_classify_or_by_measure(screened, p, stage):
    scores = screened["nodule_scores"]
    changed = Scores("nodule", np.array([p, *scores.probability[1:]], np.float32), scores.flips)
    gone = without(screened, 0) | {"lumps": screened["lumps"], "nodule_scores": changed}
    a = assessed(gone, (FIRST, 18.0, {}))
    assert a.nodules[0].lost_by == stage
    assert a.nodules[0].p_nodule == pytest.approx(p)


def test_a_candidate_that_was_never_asked_is_no_candidate(screened):
    scores = Scores("nodule", np.array([np.nan, 0.8, 0.4], np.float32), np.ones(3, np.int32))
    a = assessed(without(screened, 0) | {"lumps": screened["lumps"], "nodule_scores": scores}, (FIRST, 18.0, {}))
    assert a.nodules[0].p_nodule is None


def test_voxels_and_recall_of_what_is_outlined(screened):
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[ball(GRID, FIRST, 9)] = 1
    labels[ball(GRID, ELSEWHERE, 5)] = 2
    a = assessed(screened, (FIRST, 18.0, {}), (ELSEWHERE, 10.0, {}), outlined=lambda _volume: labels)
    called = screened["heat_map"].probability > 127
    assert a.voxels == ((called & (labels > 0)).sum(), (called & (labels == 0)).sum(), (~called & (labels > 0)).sum())
    assert [n.suspicious for n in a.nodules] == [1.0, 0.0]


def test_pictures_show_what_was_missed_and_what_is_false(screened):
    a = assessed(screened, (ELSEWHERE, 8.0, {}), (FIRST, 18.0, {}))
    assert set(a.pictures) == {"nodule-0", "finding-2", "finding-3"}
    assert all(body.startswith(b"\xff\xd8") and len(body) < 20_000 for body in a.pictures.values())
    assert assessed(screened, (ELSEWHERE, 8.0, {}), params=AssessParams(pictures=0)).pictures == {}


def test_it_is_read_back_as_it_was(screened, tmp_path):
    a = assessed(screened, (FIRST, 18.0, {"malignant": False, "kind": "solid"}), facts={"noise_hu": 20.5, "kernel": "B70f"})
    a.write(tmp_path)
    back = Assessment.read(tmp_path)
    assert back.elsewhere == pytest.approx(a.elsewhere, abs=1e-6)
    assert replace(back, elsewhere=a.elsewhere) == a
    assert back.preview({}).headline == "1 of 1 nodules found, 1 false findings"


def test_a_scan_without_anything(screened):
    empty = screened | {
        "findings": Findings([], screened["findings"].labels, GRID),
        "lumps": Lumps([], [], GRID),
        "heat_map": HeatMap(np.zeros(GRID.shape_zyx, np.uint8), GRID),
        "nodule_scores": Scores("nodule", np.zeros(0, np.float32), np.zeros(0, np.int32)),
    }
    a = assessed(empty)
    assert a.summary() == {"nodules": 0, "found": 0, "false_findings": 0}


def test_the_digest_of_a_reference_knows_every_nodule():
    one = reference((FIRST, 18.0, {}))
    assert one.digest == reference((FIRST, 18.0, {})).digest
    assert one.digest != reference((FIRST, 18.1, {})).digest
    assert one.digest != reference((FIRST, 18.0, {}), facts={"noise_hu": 3.0}).digest
    assert one.open() is one
