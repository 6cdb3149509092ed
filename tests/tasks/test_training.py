"""What training is fed and scored by: batches, piles, losses, phantoms' crops and patches, the tally of findings."""

from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from artifacts.checkpoint import ROLES, CropSpec, InputSpec, Role, read_checkpoint
from artifacts.examples import ORIGINS as OF_EXAMPLES
from artifacts.findings import Finding
from artifacts.patches import ORIGINS as OF_PATCHES
from artifacts.rows import Rows, write_rows
from flows.join_weights import members_of
from flows.make_weights import Run
from tasks.nets import load_network
from tasks.phantom import PhantomNodule
from tasks.phantom.splits import HELD_OUT
from tasks.phantom.varied import look_of
from tasks.phantom_examples import PhantomExamplesParams, phantom_examples
from tasks.phantom_patches import PhantomPatchesParams, phantom_patches
from tasks.training.augment import AugmentParams
from tasks.training.batches import CropBatches, counted, drawn
from tasks.training.candidates import which_nodule
from tasks.training.evaluation import Outcome, best_threshold
from tasks.training.losses import (
    IGNORED,
    ClassificationLoss,
    ClassLoss,
    MaskLoss,
    SegmentationLoss,
    book_loss,
    dice_and_cross_entropy,
    soft_cross_entropy,
    tversky_and_cross_entropy,
)
from tasks.training.metrics import roc_auc, tally
from tasks.training.phantoms import FIRST_SEED, GRAINY, PhantomSource, grainy, seeds
from tasks.training.pile import Pile
from tests.conftest import ROOT

SHIPPED = ROOT / "weights" / "phantom"
WINDOW = (-1000.0, 1000.0)


@pytest.fixture(scope="module")
def source() -> PhantomSource:
    return PhantomSource(8, nodules=6, small=True)


def test_splits_share_no_seed_and_none_that_people_ask_for() -> None:
    split = [set(seeds(name, 1000)) for name in FIRST_SEED]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(split, 2))
    assert min(min(s) for s in split) >= 1_000_000


@pytest.mark.parametrize("role", ["segmenter", "nodule", "malignancy"])
def test_shipped_cards_tell_how_they_were_made_and_that_results_are_synthetic(role: str) -> None:
    path = SHIPPED / f"{role}.json"
    if not path.is_file():
        pytest.skip("the shipped weights are not here: run `make weights`")
    card = json.loads(path.read_text())
    ranges = [range(first, last + 1) for first, last in card["training"]["seeds_first_last"].values()]
    assert all(a.stop <= b.start or b.stop <= a.start for a, b in itertools.combinations(ranges, 2))
    assert card["licence"] == "Apache-2.0"
    assert "phantom" in card["training"]["data"]
    assert {"command", "hardware", "minutes", "torch"} <= set(card["training"])
    measured = [card["metrics"][k] for k in ("whole_line_test", "held_out") if k in card["metrics"]]
    assert measured
    assert all(m["synthetic"] is True for m in measured)


@pytest.mark.parametrize("role", ["segmenter", "nodule", "malignancy"])
def test_no_held_out_phantom_was_seen_by_what_ships_or_by_what_it_was_made_of(role: str) -> None:
    parts, trained_on = [read_checkpoint(SHIPPED, role).card.training], set()
    for part in parts:
        trained_on |= {uid for scans in part["split"].values() for uid in scans}
        parts += [part[k] for k in ("started_from", "beside") if k in part]
    assert len(trained_on) > 40
    assert not trained_on & {f"phantom-{seed}" for seed in HELD_OUT}


def test_batches_are_balanced_and_use_everything() -> None:
    kinds = [np.arange(4), np.arange(4, 10), np.arange(10, 40)]
    counts = counted(8, [0.5, 0.25, 0.25], kinds)
    assert counts == [4, 2, 2]
    batches = list(itertools.islice(drawn(np.random.default_rng(0), kinds, counts), 15))
    assert all([int(np.isin(b, kind).sum()) for kind in kinds] == counts for b in batches)
    assert set(np.concatenate(batches)) == set(range(40))
    assert sorted(np.concatenate(batches[:3])[np.isin(np.concatenate(batches[:3]), kinds[1])]) == list(range(4, 10))


def test_what_an_empty_kind_leaves_goes_to_the_others() -> None:
    kinds = [np.arange(4), np.zeros(0, np.intp), np.arange(4, 40)]
    assert counted(8, [0.5, 0.25, 0.25], kinds) == [4, 0, 4]
    assert counted(8, [0.5, 0.25, 0.25], [np.arange(5), kinds[1], kinds[1]]) == [8, 0, 0]


def test_crops_come_windowed_with_their_targets() -> None:
    hu = np.full((6, 18, 18, 18), 3000, dtype=np.int16)
    target = np.array([0, 0, 0, 0, 0.7, 1], dtype=np.float32)
    kinds = [np.array([4, 5]), np.arange(4)]
    spec = InputSpec(window_hu=WINDOW)
    pile = Pile([hu], [np.arange(6)])
    batches = CropBatches(kinds, [2, 2], 3, AugmentParams(), spec, 0, hu=pile, target=target, crop_zyx=(16, 16, 16))
    x, y = next(batches(0))
    assert x.shape == (4, 1, 16, 16, 16)
    assert x.max() == 1000
    assert sorted(y.tolist()) == pytest.approx([0, 0, 0.7, 1])
    again, other = next(batches(0))[0], next(batches(1))[0]
    assert torch.equal(x, again)
    assert len(list(batches(0))) == 3
    assert other.shape == x.shape


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_pile_is_its_rows_in_any_order(in_memory: bool, tmp_path: Path) -> None:
    parts = [np.arange(k, k + 12).reshape(6, 2).astype(np.int16) for k in (0, 100)]
    write_rows(tmp_path, "examples", {"hu": parts[1]}, {}, "hdf5")
    pile = Pile([parts[0], Rows(tmp_path / "examples.h5", "hu")], [np.array([5, 0]), np.array([3])], in_memory=in_memory)
    assert pile[[2, 0, 1, 2]].tolist() == [[106, 107], [10, 11], [0, 1], [106, 107]]
    copied = pickle.loads(pickle.dumps(pile))
    assert torch.equal(copied.take(np.array([1, 2]), torch.device("cpu")), torch.tensor([[0, 1], [106, 107]], dtype=torch.int16))
    read = pile.takes([np.array([2]), np.array([0, 1])] * 9, torch.device("cpu"))  # more batches than are read ahead
    assert [t.tolist() for t in read] == [[[106, 107]], [[10, 11], [0, 1]]] * 9


def test_patches_hold_nodules_and_what_is_none(source: PhantomSource) -> None:
    patches = phantom_patches(source, params=PhantomPatchesParams(size=48))
    assert patches.hu.shape[1:] == (7, 48, 48)
    assert patches.masks.shape == (len(patches), 48, 48)
    through = int((patches.nodule >= 0).sum())
    shown = np.unique(source.phantom.nodule_labels)[1:] - 1  # the smallest may fall between these coarse voxels
    assert patches.nodule[patches.positive].tolist() == np.repeat(shown, 5).tolist()  # small ones as often as large ones
    assert len(shown) >= 4
    n = max(through, 20)
    assert len(patches) == through + len(source.phantom.mimics) + round(0.6 * n) + round(0.4 * n)
    assert np.median(patches.hu[:, 3][patches.masks > 0]) > -780  # lung is darker
    assert (patches.masks[patches.positive].sum((1, 2)) > 0).mean() > 0.9


def test_patches_are_cut_at_what_was_wrongly_proposed_too(source: PhantomSource) -> None:
    examples = phantom_examples(source, params=PhantomExamplesParams(bright=5))
    examples.origin[examples.label == 0] = OF_EXAMPLES.index("mined")
    without, patches = (phantom_patches(source, e, params=PhantomPatchesParams(size=48)) for e in (None, examples))
    wrong = examples.centers_lps_mm[examples.label == 0]
    assert np.array_equal(patches.hu[: len(without)], without.hu)
    assert patches.origin[len(without) :].tolist() == [OF_PATCHES.index("mined")] * len(wrong)
    voxel = np.linalg.norm(patches.spacing_zyx_mm)
    assert (np.linalg.norm(patches.centers_lps_mm[len(without) :] - wrong, axis=1) < voxel).all()


def test_examples_know_whether_they_are_a_nodule(source: PhantomSource) -> None:
    spec = CropSpec(shape_zyx=(16, 16, 16), spacing_zyx_mm=(2.0, 2.0, 2.0), border="pad")
    examples = phantom_examples(source, params=PhantomExamplesParams(spec=spec, bright=20))
    nodules = source.phantom.nodules
    hits = examples.label == 1
    assert hits.sum() >= 4 * len(nodules)
    assert examples.hu.shape[1:] == (16, 16, 16)
    assert examples.diameter_mm[: len(nodules)] == pytest.approx([n.diameter_mm for n in nodules])
    assert examples.risk[: len(nodules)] == pytest.approx([n.p_malignant for n in nodules])
    assert np.isnan(examples.risk[~hits]).all()
    assert (examples.malignant[~hits] == -1).all()
    assert hits.sum() < len(examples)


def test_places_just_outside_a_nodule_are_left_out(source: PhantomSource) -> None:
    n = source.phantom.nodules[0]
    off = np.array([n.diameter_mm / 2 - 0.1, n.diameter_mm / 2 + 2, n.diameter_mm / 2 + 500])
    nodule, sure = which_nodule([n], np.array(n.center_lps_mm) + off[:, None] * np.array([0, 0, 1.0]))
    assert nodule.tolist() == [0, -1, -1]
    assert sure.tolist() == [True, False, True]


def test_soft_cross_entropy_is_least_at_its_target() -> None:
    def at(p: float) -> float:
        return float(soft_cross_entropy(torch.log(torch.tensor([[1 - p, p]])), torch.tensor([0.3])))

    assert at(0.3) < min(at(0.2), at(0.4))


@pytest.mark.parametrize("name", get_args(SegmentationLoss))
def test_each_segmentation_loss_is_least_where_the_mask_is_met_and_leaves_out_what_is_ignored(name: SegmentationLoss) -> None:
    loss, masks = MaskLoss(name), torch.zeros(2, 16, 16, dtype=torch.uint8)
    masks[:, 4:9, 5:12] = 1
    right = (masks.float()[:, None] * 2 - 1) * 8
    assert float(loss(right, masks)) < 0.1 < float(loss(-right, masks))
    masks[:, 12:] = IGNORED
    wrong_there = right.clone()
    wrong_there[:, :, 12:] = 8
    assert float(loss(wrong_there, masks)) == pytest.approx(float(loss(right, masks)), abs=1e-6)


@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
def test_each_classification_loss_is_least_at_its_target(name: ClassificationLoss) -> None:
    def at(p: float) -> float:
        return float(ClassLoss(name)(torch.log(torch.tensor([[1 - p, p]])), torch.tensor([0.3])))

    assert at(0.3) < min(at(0.2), at(0.4))


def test_smoothing_moves_targets_towards_one_half() -> None:
    logits = torch.log(torch.tensor([[0.05, 0.95]]))
    assert float(ClassLoss(smooth=0.1)(logits, torch.ones(1))) == pytest.approx(float(ClassLoss()(logits, torch.tensor([0.95]))))


def test_a_miss_costs_more_than_a_false_alarm_in_the_book_s_loss() -> None:
    masks = torch.zeros(1, 16, 16)
    masks[:, 4:8, 4:8] = 1
    missed, too_much = torch.full((1, 1, 16, 16), -9.0), (masks[:, None] * 2 - 1) * 9
    too_much[:, :, 10:12, 10:14] = 9
    assert float(book_loss(missed, masks)) > 5 * float(book_loss(too_much, masks))


def test_a_miss_costs_more_than_a_false_alarm_of_its_size() -> None:
    masks, right = torch.zeros(1, 32, 32), torch.full((1, 1, 32, 32), -4.0)
    masks[:, 4:10, 4:10] = 1
    right[:, :, 4:10, 4:10] = 4
    missed, false = right.clone(), right.clone()
    missed[:, :, 4:10, 4:10] = -4
    false[:, :, 20:26, 20:26] = 4
    for loss in (tversky_and_cross_entropy, book_loss):
        assert float(loss(missed, masks)) > 1.5 * float(loss(false, masks)) > 1.5 * float(loss(right, masks))


def test_dice_counts_empty_images() -> None:
    nothing, empty = torch.full((1, 1, 8, 8), -9.0), torch.zeros(1, 8, 8)
    assert float(dice_and_cross_entropy(nothing, empty)) < 0.1 < float(dice_and_cross_entropy(-nothing, empty))


def test_auc_by_hand_and_by_pairs() -> None:
    assert roc_auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert roc_auc([1, 1, 1], [0, 1, 1]) == 0.5
    assert np.isnan(roc_auc([1, 2], [1, 1]))
    rng = np.random.default_rng(0)
    s, y = rng.integers(0, 5, 60), rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in s[y] for b in s[~y]]
    assert roc_auc(s, y) == pytest.approx(np.mean(pairs))


def test_a_tally_knows_found_missed_false_and_twice() -> None:
    nodules = [_nodule((0.0, 0.0, 0.0), 10.0), _nodule((50.0, 0.0, 0.0), 6.0)]
    findings = [
        _finding((1.0, 0, 0), 0.9, 9.0),
        _finding((0, 3.0, 0), 0.8, 4.0),
        _finding((90.0, 0, 0), 0.7, 5.0),
        _finding((50.0, 0, 0), 0.4, 6.0),
    ]
    t = tally(nodules, findings)
    assert (list(t.found), t.missed, [f.p_nodule for f in t.false]) == ([0], [1], [0.7])
    assert t.diameter_errors == [1.0]


def _nodule(center: tuple[float, float, float], diameter: float) -> PhantomNodule:
    return PhantomNodule(center, diameter, diameter**3 / 2, "solid", "smooth", "alone", False, 0.2)


def _finding(center: tuple[float, float, float], p: float, diameter: float) -> Finding:
    numbers = {"diameter_mm": diameter, "long_axis_mm": diameter, "short_axis_mm": diameter, "volume_mm3": 1.0, "mean_hu": 0.0}
    where = {"center_lps_mm": center, "center_zyx": center, "side": "left", "pleura_distance_mm": 9.0, "slice_index": 0}
    return Finding(rank=1, label=1, p_nodule=p, p_malignant=None, slice_number=None, sop_instance_uid=None, **numbers, **where)  # type: ignore[arg-type]


def test_the_threshold_is_where_most_is_right() -> None:
    nodules = [_nodule((0.0, 0.0, 0.0), 10.0)]
    outcomes = [Outcome(0, nodules, [_finding((0, 0, 0), 0.8, 9.0), _finding((90.0, 0, 0), 0.6, 5.0)], 2)]
    assert 0.6 <= best_threshold(outcomes) < 0.8


def test_phantoms_with_grainy_lungs_have_what_their_seed_says() -> None:
    chosen = list(itertools.islice(grainy("train", 120), 5))
    assert chosen == [1000121, 1000132, 1000150, 1000157, 1000171]
    assert all(look_of(s).grain_hu * look_of(s).grain_mm >= GRAINY for s in chosen)
    run = Run(Path(), Path(), phantoms=6, minutes=1, workers=1, tests=1, skip=100, grainy=2)
    assert list(run.train_seeds()) == [1000100, 1000101, 1000102, 1000103, *itertools.islice(grainy("train", 104), 2)]


def test_the_learning_rate_asked_for_is_that_of_the_training() -> None:
    run = Run(Path(), Path(), phantoms=6, minutes=1, workers=1, tests=1)
    gently = Run(Path(), Path(), phantoms=6, minutes=1, workers=1, tests=1, learning_rate=1e-4)
    assert run.loop("segmenter", again=True)[0].learning_rate == 4e-3
    assert gently.loop("segmenter", again=True)[0].learning_rate == 1e-4


@pytest.mark.slow
def test_make_weights_runs_its_two_rounds_and_again_without_work(tmp_path: Path) -> None:
    """Everything in miniature: coarse phantoms, a few steps, and nothing asked of networks that have learnt nothing."""
    command = [sys.executable, "-m", "flows.make_weights", "--small", "--phantoms", "4", "--tests", "1", "--minutes", "0.1"]
    command += ["--more", "1", "--more-minutes", "0.1"]
    command += ["--workers", "1", "--out", str(tmp_path / "w"), "--work", str(tmp_path / "work")]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout for _ in range(2))
    assert "train-nodule ran" in first
    assert "train-nodule reused" in second
    for role in ROLES:
        card = load_network(read_checkpoint(tmp_path / "w", role)).card
        assert card.metrics["whole_line_test"]["phantoms"] == 1
        assert card.training["split"]["validation"] == ["phantom-2000000", "phantom-2000001"]
        assert card.training["split"]["train"][-1] == "phantom-1000004"


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_make_weights_can_train_one_network_on_and_keep_the_others(role: Role, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.make_weights", "--small", "--phantoms", "2", "--tests", "1", "--minutes", "0.1"]
    command += ["--start", str(SHIPPED), "--only", role]
    command += ["--workers", "1", "--out", str(tmp_path / "w"), "--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert [r for r in ROLES if f"train-{r} ran" in done] == [role]
    for other in set(ROLES) - {role}:
        made, shipped = (read_checkpoint(folder, other) for folder in (tmp_path / "w", SHIPPED))
        assert made.card.training == shipped.card.training
        assert all(np.array_equal(a, shipped.tensors()[k]) for k, a in made.tensors().items())
    assert not any("held_out" in read_checkpoint(tmp_path / "w", r).card.metrics for r in ROLES), "measured on another set"
    card = read_checkpoint(tmp_path / "w", role).card
    assert card.training["split"]["train"] == ["phantom-1000000", "phantom-1000001"]
    assert card.training["started_from"]["split"]["train"]


@pytest.mark.slow
def test_make_weights_can_keep_a_segmenter_and_train_the_classifiers_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.make_weights", "--small", "--phantoms", "2", "--tests", "1", "--minutes", "0.1"]
    command += ["--segmenter", str(SHIPPED), "--beside", str(SHIPPED)]
    command += ["--workers", "1", "--out", str(tmp_path / "w"), "--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "train-nodule ran" in done
    assert "train-segmenter" not in done
    made, shipped = (read_checkpoint(folder, "segmenter") for folder in (tmp_path / "w", SHIPPED))
    assert made.card.training == shipped.card.training
    assert all(np.array_equal(a, shipped.tensors()[k]) for k, a in made.tensors().items())
    card = read_checkpoint(tmp_path / "w", "nodule").card
    assert card.training["split"]["train"] == ["phantom-1000000", "phantom-1000001"]
    assert "segmenter" not in card.training["seeds_first_last"]
    assert len(card.arguments["members"]) == 1 + len(members_of(read_checkpoint(SHIPPED, "nodule")))
    assert card.training["beside"]["split"] == read_checkpoint(SHIPPED, "nodule").card.training["split"]
