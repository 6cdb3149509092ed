"""Calibration and malignancy: known answers, and slow obvious versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.checkpoint import Card, Checkpoint, InputSpec, tempered
from tasks.evaluation.calibration import calibration, ece, fit_temperature
from tasks.evaluation.malignancy import DIAMETER, RISK, aucs, malignancy
from tasks.training.metrics import roc_auc


def drawn(n=4000, seed=0):
    """Probabilities and outcomes that agree: calibrated by making."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 1.2, n)
    return p, rng.random(n) < p


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_spoiled_it_is_found(temperature):
    p, y = drawn()
    spoiled = tempered(p, 1 / temperature)
    assert fit_temperature(spoiled, y) == pytest.approx(temperature, rel=0.08)


def test_scaling_mends_the_error_on_other_scans():
    p, y = drawn()
    c = calibration(tempered(p, 1 / 3), y, np.arange(len(y)) // 10)
    assert c is not None
    assert (c.n, c.positive) == (len(y), int(y.sum()))
    assert c.ece_before > 0.05
    assert c.ece_after < 0.03


def test_what_is_calibrated_is_left_alone():
    p, y = drawn()
    assert ece(p, y) < 0.03
    assert fit_temperature(p, y) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("y", [[], [True, True], [False]])
def test_one_class_fits_nothing(y):
    assert fit_temperature(np.full(len(y), 0.7), y) == 1.0


def test_nothing_has_no_calibration():
    assert calibration([], [], []) is None


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0.05, 20))
def test_tempered_keeps_order_and_ends(values, temperature):
    p = np.sort(np.array([0.0, 0.5, 1.0, *values]))
    q = tempered(p, temperature)
    assert (np.diff(q) >= -1e-12).all()
    assert tempered([0.0, 0.5, 1.0], temperature).tolist() == pytest.approx([0, 0.5, 1])
    assert tempered(q, 1 / temperature) == pytest.approx(p, abs=1e-3) or temperature < 0.3
    assert np.isnan(tempered([np.nan], temperature)).all()


def test_a_temperature_makes_another_key_and_1_the_old_one(tmp_path):
    card = Card(name="a", role="nodule", architecture="luna3d", input=InputSpec(), licence="none")
    (tmp_path / "nodule.safetensors").write_bytes(b"weights")
    digests = [
        Checkpoint(tmp_path / "nodule.safetensors", card.model_copy(update={"temperature": t})).digest for t in (1.0, 1.5, 2.0)
    ]
    assert len(set(digests)) == 3
    assert Checkpoint(tmp_path / "nodule.safetensors", card).digest == digests[0]


# -- malignancy ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_a_weighted_auc_is_that_of_the_repeated_nodules(rows):
    score, label, weight = (np.array(c) for c in zip(*rows, strict=True))
    once = roc_auc(np.repeat(score, weight), np.repeat(label, weight)) if weight.sum() else np.nan
    assert aucs(score, label, weight[None])[0] == pytest.approx(once, nan_ok=True)


def test_the_expected_auc_is_the_mean_over_labels_drawn_from_the_risks():
    """Weighted by how many pairs a draw has, as one area over all draws is."""
    rng = np.random.default_rng(1)
    risk, score = rng.random(30), rng.normal(size=30).round(1)
    y = rng.random((4000, 30)) < risk
    pairs = y.sum(1) * (~y).sum(1)
    drawn = np.array([aucs(score, one, np.ones((1, 30), int))[0] for one in y])
    expected = aucs(score, risk, np.ones((1, 30), int))[0]
    assert expected == pytest.approx((drawn * pairs).sum() / pairs.sum(), abs=0.005)
    twice = aucs(score, risk, np.full((1, 30), 2))[0]
    assert twice == pytest.approx(expected), "copies of a nodule are no pair"


def test_phantoms_tell_the_gap_without_the_luck_of_the_coin():
    rng = np.random.default_rng(2)
    risk = rng.random(300)
    y, half = rng.random(300) < risk, rng.random(300)
    scores = {"the grader": risk + rng.normal(0, 0.1, 300), DIAMETER: risk + half, RISK: risk}
    told = malignancy(scores, y, np.arange(300) // 5, 60, bootstraps=50, seed=0)
    assert 0 < told["expected"]["share of the gap closed"] < 1
    assert told["expected"][RISK]["value"] == pytest.approx(0.83, abs=0.03)
    real = malignancy({k: scores[k] for k in ("the grader", DIAMETER)}, y, np.arange(300) // 5, 60, bootstraps=5, seed=0)
    assert "expected" not in real


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.4
    mm = rng.normal(8 + 4 * y, 4)
    scores = {"the grader": mm, DIAMETER: mm, RISK: mm + 8 * y}
    m = malignancy(scores, y, np.arange(200) // 4, 50, bootstraps=200, seed=1)
    same = m[f"the grader - {DIAMETER}"]
    assert same == {"value": 0, "low": 0, "high": 0}, "the same score in the same draw is the same AUC"
    assert m["the grader"]["low"] < m["the grader"]["value"] < m["the grader"]["high"]
    assert m["the grader"]["value"] == pytest.approx(roc_auc(mm, y))
    assert m["share of the gap closed"] == 0
    assert malignancy({**scores, "the grader": mm + 8 * y}, y, np.arange(200) // 4, 50, bootstraps=20, seed=1)[
        "share of the gap closed"
    ] == pytest.approx(1)


def test_one_class_has_no_auc():
    m = malignancy({"the grader": [0.1, 0.2], DIAMETER: [3, 4]}, [True, True], [0, 1], 2, bootstraps=10, seed=0)
    assert m == {"nodules": 2, "malignant": 2, "the grader": None, DIAMETER: None}
