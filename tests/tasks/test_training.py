"""The loop learns, repeats itself, and is fed what it should be; splits never meet; scores are what they say."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from artifacts.checkpoint import CropSpec
from artifacts.findings import Finding
from tasks.nets import build
from tasks.phantom import Phantom, PhantomNodule, make_phantom
from tasks.training.batches import augmented, balanced, crop_batches, patch_batches
from tasks.training.candidates import bright_places, concatenate, cut_examples, jittered
from tasks.training.loop import seed_everything, start_afresh, train
from tasks.training.losses import dice_and_cross_entropy, soft_cross_entropy
from tasks.training.metrics import roc_auc, tally
from tasks.training.phantoms import FIRST_SEED, cut_patches, seeds

WINDOW = (-1000.0, 1000.0)
CROP = CropSpec(shape_zyx=(16, 16, 16), spacing_zyx_mm=(2.0, 2.0, 2.0), border="pad")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(8, small=True)


def tiny_segmenter() -> nn.Module:
    seed_everything(0)
    return start_afresh(build("unet2d", in_channels=3, classes=1, depth=2, width=4))


def one_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Bright squares on a dark ground."""
    hu = torch.full((4, 3, 16, 16), -850.0)
    hu += 30 * torch.randn(hu.shape, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(4, 16, 16, dtype=torch.uint8)
    for k in range(3):
        masks[k, 3 + k : 9 + k, 4:10] = 1
    hu[masks[:, None].expand_as(hu) > 0] += 850
    return hu, masks


def test_the_loop_overfits_a_tiny_batch() -> None:
    module, (x, y) = tiny_segmenter(), one_batch()
    reports = list(
        train(module, itertools.repeat((x, y)), dice_and_cross_entropy, steps=150, learning_rate=0.02, report_every=50)
    )
    assert [r["step"] for r in reports] == [50, 100, 150]
    assert reports[-1]["loss"] < 0.2 * reports[0]["loss"]
    assert not module.training
    with torch.inference_mode():
        assert ((module(x)[:, 0] > 0) == (y > 0)).float().mean() > 0.98


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights() -> dict[str, torch.Tensor]:
        module, (x, y) = tiny_segmenter(), one_batch()
        batches = patch_batches(np.random.default_rng(0), x.short().numpy(), y.numpy(), WINDOW, size=4, crop=12)
        list(train(module, batches, dice_and_cross_entropy, steps=5, learning_rate=0.01))
        return module.state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_run_ends_where_its_batches_end() -> None:
    reports = list(
        train(tiny_segmenter(), [one_batch()] * 3, dice_and_cross_entropy, steps=10, learning_rate=0.01, report_every=1)
    )
    assert [r["step"] for r in reports] == [1, 2, 3]


def test_splits_share_no_seed_and_none_that_people_ask_for() -> None:
    split = [set(seeds(name, 1000)) for name in FIRST_SEED]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(split, 2))
    assert min(min(s) for s in split) >= 1_000_000


@pytest.mark.parametrize("role", ["segmenter", "nodule", "malignancy"])
def test_shipped_cards_tell_how_they_were_made_and_that_results_are_synthetic(role: str) -> None:
    path = Path(__file__).parents[2] / "weights" / "phantom" / f"{role}.json"
    if not path.is_file():
        pytest.skip("the shipped weights are not here: run `make weights`")
    card = json.loads(path.read_text())
    ranges = [range(first, last + 1) for first, last in card["training"]["seeds_first_last"].values()]
    assert all(a.stop <= b.start or b.stop <= a.start for a, b in itertools.combinations(ranges, 2))
    assert card["licence"] == "Apache-2.0"
    assert "phantom" in card["training"]["data"]
    assert {"command", "hardware", "minutes", "torch"} <= set(card["training"])
    assert card["metrics"]["whole_line_test"]["synthetic"] is True


def test_batches_are_balanced_and_use_everything() -> None:
    positive = np.arange(40) < 4
    drawn = list(itertools.islice(balanced(np.random.default_rng(0), positive, 8), 20))
    assert all(positive[index].sum() == 4 for index in drawn)
    assert set(np.concatenate(drawn)) == set(range(40))


def test_a_quarter_may_be_positive_and_one_kind_alone_will_do() -> None:
    assert next(balanced(np.random.default_rng(0), np.arange(40) < 20, 8, 0.25)).__len__() == 8
    assert len(next(balanced(np.random.default_rng(0), np.zeros(5, dtype=bool), 8))) == 8


def test_images_and_masks_turn_together() -> None:
    rng = np.random.default_rng(0)
    y = torch.zeros(2, 9, 9, dtype=torch.uint8)
    y[:, 1:4, 2:8] = 1
    hu = (y.float() * 1800 - 900)[:, None].expand(2, 5, 9, 9)
    for _ in range(10):
        x, turned = augmented(rng, hu, y, WINDOW)
        assert torch.equal(x[:, 2] > 0, turned > 0)
        assert x.min() >= WINDOW[0]
        assert x.max() <= WINDOW[1]


def test_crops_come_windowed_with_their_targets() -> None:
    hu = np.full((6, 16, 16, 16), 3000, dtype=np.int16)
    target = np.array([0, 0, 0, 0, 0.7, 1], dtype=np.float32)
    x, y = next(crop_batches(np.random.default_rng(0), hu, target, WINDOW, size=4))
    assert x.shape == (4, 1, 16, 16, 16)
    assert x.max() == 1000
    assert (y > 0.5).sum() == 2


def test_patches_hold_nodules_and_what_is_none(phantom: Phantom) -> None:
    patches = cut_patches(np.random.default_rng(0), phantom, size=48)
    assert patches.hu.shape[1:] == (7, 48, 48)
    assert patches.masks.shape == (len(patches.hu), 48, 48)
    share = patches.masks.any(axis=(1, 2)).mean()
    assert 0.3 < share < 0.8
    inside = patches.hu[:, 3][patches.masks > 0]
    assert np.median(inside) > -600


def test_examples_know_whether_they_are_a_nodule(phantom: Phantom) -> None:
    rng = np.random.default_rng(0)
    hits = cut_examples(phantom, jittered(rng, phantom, 3), CROP)
    others = cut_examples(phantom, bright_places(rng, phantom, 20), CROP)
    assert hits.hu.shape == (3 * len(phantom.nodules), 16, 16, 16)
    assert hits.is_nodule.all()
    assert hits.diameter_mm == pytest.approx(np.repeat([n.diameter_mm for n in phantom.nodules], 3))
    both = concatenate([hits, others])
    assert len(both.hu) == len(hits.hu) + len(others.hu)
    assert (others.risk[others.nodule < 0] == 0).all()


def test_places_just_outside_a_nodule_are_left_out(phantom: Phantom) -> None:
    n = phantom.nodules[0]
    off = [n.diameter_mm / 2 - 0.1, n.diameter_mm / 2 + 2, n.diameter_mm / 2 + 500]
    examples = cut_examples(phantom, np.array(n.center_lps_mm) + np.array([[0, 0, d] for d in off]), CROP)
    assert examples.is_nodule.tolist() == [1, 0]


def test_soft_cross_entropy_is_least_at_its_target() -> None:
    def at(p: float) -> float:
        return float(soft_cross_entropy(torch.log(torch.tensor([[1 - p, p]])), torch.tensor([0.3])))

    assert at(0.3) < min(at(0.2), at(0.4))


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


@pytest.mark.slow
def test_make_weights_runs_from_nothing_to_three_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in miniature: rough phantoms, a few steps, and nothing asked of networks that have learnt nothing."""
    import flows.make_weights as script
    from artifacts.checkpoint import ROLES, read_checkpoint
    from tasks.nets import load_network
    from tasks.training.evaluation import Outcome

    monkeypatch.setattr(script, "training_phantom", lambda seed: make_phantom(seed, small=True, nodules=8))
    monkeypatch.setattr(script, "proposed", lambda phantom, segmenter: np.array([n.center_lps_mm for n in phantom.nodules]))
    monkeypatch.setattr(script, "screen_seed", lambda folder, seed: Outcome(seed, [], [], 0))
    monkeypatch.setattr(script, "STEPS_A_MINUTE", dict.fromkeys(ROLES, 1))
    monkeypatch.setattr(
        "sys.argv",
        ["make_weights", "--out", str(tmp_path / "w"), "--seeds", "3", "--tests", "2", "--workers", "1", "--minutes", "1"],
    )
    script.main()
    assert [p.name for p in tmp_path.iterdir()] == ["w"], "nothing unfinished is left"
    for role in ROLES:
        checkpoint = read_checkpoint(tmp_path / "w", role)
        load_network(checkpoint)
        assert checkpoint.card.metrics["whole_line_test"]["phantoms"] == 2
        assert checkpoint.card.training["steps"] == 20
