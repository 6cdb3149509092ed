"""Weights tried on phantoms: each phantom is made once, what is done is not done again, other weights are."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from artifacts.assessment import Assessment, Known, Mark
from artifacts.checkpoint import ROLES, read_checkpoint
from artifacts.home import SHIPPED_WEIGHTS
from benchmarks.held_out import settle
from tasks.evaluate import EvaluateParams, evaluate
from tasks.evaluation.phantoms import Trial, phantoms_called
from tasks.evaluation.reference import reference_of_phantom
from tasks.phantom import make_phantom
from tasks.phantom.splits import SEEDS, split_of
from tasks.processes import in_processes

made: list[int] = []


@cache
def kept():
    return make_phantom(1, nodules=2, small=True)


def phantom(seed):
    made.append(seed)
    return kept()


@pytest.fixture
def trial(tmp_path):
    made.clear()
    return Trial({"phantom": SHIPPED_WEIGHTS / "phantom"}, tmp_path / "work", phantom, "small")


def test_what_is_done_is_not_done_again(trial, tmp_path):
    in_processes(trial.run, [1], 1, lambda _seed: None)
    (first,) = trial.assessments("phantom", [1])
    assert len(first.nodules) == 2
    assert first.voxels is not None
    assert trial.done("phantom", 1)
    trial.run(1)
    assert made == [1]
    shutil.copytree(SHIPPED_WEIGHTS / "phantom", tmp_path / "other")
    card = json.loads((tmp_path / "other" / "nodule.json").read_text())
    (tmp_path / "other" / "nodule.json").write_text(json.dumps(card | {"temperature": card.get("temperature", 1.0) + 1}))
    both = Trial({"phantom": SHIPPED_WEIGHTS / "phantom", "other": tmp_path / "other"}, trial.work, phantom, "small")
    assert both.done("phantom", 1)
    assert not both.done("other", 1)
    other = Trial({"phantom": tmp_path / "other"}, trial.work, phantom, "small")
    assert not other.done("phantom", 1), "the same name with another card is another set"


def test_a_phantom_s_reference_is_its_truth():
    known = reference_of_phantom(kept())
    assert len(known.nodules) == 2
    assert all(n.risk is not None and n.kind for n in known.nodules)
    labels = known.outlined(kept().volume)
    for k, n in enumerate(known.nodules):
        at = kept().volume.geometry.lps_mm_from_zyx(np.argwhere(labels == k + 1)).mean(axis=0)
        assert np.linalg.norm(at - n.center_lps_mm) < 4


def test_held_out_phantoms_are_nobody_s_training_and_half_have_no_nodule():
    _, seeds = phantoms_called("held-out")
    assert len(seeds) >= 60
    assert {split_of(s) for s in seeds} == {"test"}
    for name in ("classic", "small"):
        assert {split_of(s) for s in phantoms_called(name)[1]} == {"test"}
    assert not set(phantoms_called("classic")[1]) & set(SEEDS["train"])


def test_what_was_settled_stands_in_the_cards(tmp_path):
    weights = Path(shutil.copytree(SHIPPED_WEIGHTS / "phantom", tmp_path / "phantom"))
    scan = Assessment("1.2.3", "p", [Known(0, (0.0, 0.0, 0.0), 8.0, mark=1, p_nodule=0.7)], [], np.zeros(0, np.float32))
    scan.marks = [Mark(1, (0.0, 0.0, 0.0), 8.0, 0.7, None, "hit", 0), Mark(2, (0.0, 50.0, 0.0), 5.0, 0.6, None, "false")]
    made = evaluate([scan], params=EvaluateParams(bootstraps=10, threshold=0.65))
    settle(weights, made, 1.0, [7, 7], "float32")
    for role in ROLES:
        card, before = (read_checkpoint(w, role).card for w in (weights, SHIPPED_WEIGHTS / "phantom"))
        assert card.threshold == (0.65 if role == "nodule" else before.threshold)
        assert card.metrics["held_out"]["found"] == 1
        assert card.metrics["held_out"]["precision"] == "float32"
        assert card.metrics["held_out"]["seeds_first_last"] == [7, 7]
        assert {**card.metrics, "held_out": 0} == {**before.metrics, "held_out": 0}
    before, after = (read_checkpoint(w, "nodule").tensors() for w in (SHIPPED_WEIGHTS / "phantom", weights))
    assert all(np.array_equal(before[k], after[k]) for k in before)
