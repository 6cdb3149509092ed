"""The three training stages: they learn, go on where they were killed, keep splits apart, and say what is wrong in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from artifacts.checkpoint import Blobs, Card, Checkpoint, write_checkpoint
from artifacts.errors import StoreError, TrainingError, UsageError
from artifacts.examples import ORIGINS
from artifacts.trained import Trained
from tasks.nets import load_network
from tasks.nets.network import windowed
from tasks.stage import Compute
from tasks.train_malignancy import TrainMalignancyParams, targets, train_malignancy
from tasks.train_nodule import TrainNoduleParams, train_nodule
from tasks.train_segmenter import TrainSegmenterParams, train_segmenter
from tasks.training.augment import AugmentParams
from tasks.training.loop import LoopParams
from tests.tasks.training.made import made_examples, made_patches

SMALL: dict[str, Any] = {"arguments": {"widths": [8, 8, 16, 16]}, "crop_zyx": (16, 16, 16), "batch": 16}
LOOP = LoopParams(epochs=4, learning_rate=4e-3)
CALM = AugmentParams(shift=1, tilt=0, noise=10, blur=0.3, sharpen=0)


def nodule_params(**changes: Any) -> TrainNoduleParams:
    return TrainNoduleParams(**{**SMALL, "loop": LOOP, "augmentation": CALM, **changes})


def some_examples() -> list[Any]:
    return [*(made_examples(k, mined=k == 1) for k in range(4)), made_examples(8, 16, "validation"), made_examples(9, 8, "test")]


def same(a: Trained, b: Trained) -> bool:
    return all(np.array_equal(a.tensors[k], b.tensors[k]) for k in a.tensors)


def checkpoint(trained: Trained, folder: Path) -> Checkpoint:
    return write_checkpoint(folder, Card.model_validate(trained.card), trained.tensors)


def test_a_nodule_classifier_is_trained_and_can_be_used(tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    trained = train_nodule(some_examples(), params=nodule_params(loop=LoopParams(epochs=7, learning_rate=6e-3)), tell=told.append)
    assert {"epoch", "loss", "recall", "f1", "false_positives", "auc", "examples_per_second", "eta_s"} <= told[0].keys()
    assert [row["epoch"] for row in told] == list(range(1, 8))
    assert max(row["auc"] for row in told) > 0.9
    assert trained.confusion.sum() == 16
    network = load_network(checkpoint(trained, tmp_path))
    assert network.card.input.crop is not None
    assert network.card.input.crop.shape_zyx == (16, 16, 16)


def test_a_classifier_that_learnt_on_blobs_or_started_from_one_that_did_is_shown_them(tmp_path: Path) -> None:
    once = nodule_params(loop=LoopParams(epochs=1), steps=2)
    lumps, blobs = some_examples(), some_examples()
    blobs[1].origin[blobs[1].label == 0] = ORIGINS.index("blob")
    assert train_nodule(lumps, params=once).card["blobs"] is None
    trained = train_nodule(blobs, params=once)
    assert Card.model_validate(trained.card).blobs == Blobs()
    set_card = trained.card | {"blobs": {"shown": 7, "odds": 0.5}}
    start = Trained(**{**vars(trained), "card": set_card})
    assert train_nodule(lumps, start, params=once).card["blobs"] == set_card["blobs"]


def test_the_card_keeps_the_split_and_nothing_of_the_test_part_is_trained_on() -> None:
    card = train_nodule(some_examples(), params=nodule_params(loop=LoopParams(epochs=1))).card
    training = card["training"]
    assert training["split"] == {
        "train": ["scan-0", "scan-1", "scan-2", "scan-3"],
        "validation": ["scan-8"],
        "left_out": ["scan-9"],
    }
    assert training["examples"] == {"positive": 48, "hard": 12, "other": 36}
    assert training["params"]["loop"]["epochs"] == 1


def test_the_card_names_the_precision_of_its_training_and_of_the_one_before() -> None:
    params, patches = segmenter_params(loop=LoopParams(epochs=1)), [made_patches(0)]
    first = train_segmenter(patches, params=params, compute=Compute("cpu", precision="bfloat16"))
    on = train_segmenter(patches, first, params=params, compute=Compute("cpu"))
    assert first.card["training"]["precision"] == "bfloat16"
    assert on.card["training"]["precision"] == "float32"
    assert on.card["training"]["started_from"]["precision"] == "bfloat16"


def test_a_3d_network_is_not_trained_in_bfloat16_on_a_cpu() -> None:
    """torch 2.15 gives a Conv3d over two slices a weight gradient that has nothing to do with the right one."""
    with pytest.raises(UsageError, match="take float32"):
        train_nodule(some_examples(), params=nodule_params(), compute=Compute("cpu", precision="bfloat16"))


def test_a_left_out_fold_is_never_seen() -> None:
    examples = [made_examples(k, fold=k % 2) for k in range(4)]
    card = train_nodule(examples, params=nodule_params(loop=LoopParams(epochs=1), left_out_fold=1)).card
    assert card["training"]["split"]["left_out"] == ["scan-1", "scan-3"]
    assert card["training"]["folds"] == [0]
    assert card["metrics"] == {}


def test_a_patient_in_two_parts_is_refused() -> None:
    two = [made_examples(0), made_examples(0, split="validation")]
    with pytest.raises(TrainingError, match="1 patients are in the training part and in another"):
        train_nodule(two, params=nodule_params())


class Killed(Exception):
    pass


@pytest.mark.parametrize("role", ["segmenter", "nodule", "malignancy"])
def test_a_killed_stage_goes_on_and_ends_as_one_that_was_not(role: str, tmp_path: Path) -> None:
    def run(workspace: Path | None, dies: bool = False) -> Trained:
        def tell(row: Mapping[str, Any]) -> None:
            if dies and row["epoch"] == 2:
                raise Killed

        if role == "segmenter":
            patches = [made_patches(0), made_patches(1), made_patches(2, split="validation")]
            return train_segmenter(patches, params=segmenter_params(), workspace=workspace, tell=tell)
        if role == "nodule":
            return train_nodule(some_examples(), params=nodule_params(), workspace=workspace, tell=tell)
        params = TrainMalignancyParams(**SMALL, loop=LOOP, augmentation=CALM)
        return train_malignancy(some_examples(), params=params, workspace=workspace, tell=tell)

    straight = run(None)
    with pytest.raises(Killed):
        run(tmp_path, dies=True)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 2
    resumed = run(tmp_path)
    assert same(straight, resumed)
    assert [r["loss"] for r in straight.history] == [r["loss"] for r in resumed.history]


def segmenter_params(**changes: Any) -> TrainSegmenterParams:
    calm = AugmentParams(shift=2, scale=0.1, tilt=0, noise=10, blur=0.3, sharpen=0)
    own = {"crop": 32, "arguments": {"width": 4, "depth": 2}, "loop": LOOP, "augmentation": calm}
    return TrainSegmenterParams(**{**own, **changes})


@pytest.mark.parametrize("loss", ["dice-ce", "tversky-ce", "book"])
def test_a_segmenter_is_trained_and_can_be_used(loss: str, tmp_path: Path) -> None:
    patches = [*(made_patches(k, 32) for k in range(3)), made_patches(9, split="validation")]
    params = segmenter_params(loop=LoopParams(epochs=12, learning_rate=0.02), loss=loss)
    trained = train_segmenter(patches, params=params)
    assert max(r["recall" if loss == "book" else "f1"] for r in trained.history) > 0.7
    assert max(r["found"] for r in trained.history) > 0.8
    network = load_network(checkpoint(trained, tmp_path))
    assert network.card.input.context_slices == 1
    assert trained.preview({}).pictures


def test_what_is_ignored_costs_nothing() -> None:
    patches = [made_patches(0)]
    patches[0].ignore = np.ones_like(patches[0].ignore)
    trained = train_segmenter(patches, params=segmenter_params(loop=LoopParams(epochs=1)))
    assert trained.history[0]["loss"] < 0.02


@pytest.mark.parametrize("tuned", ["all", "later", "last"])
def test_a_grader_starts_from_the_classifier(tuned: str, tmp_path: Path) -> None:
    nodule = train_nodule(some_examples(), params=nodule_params(loop=LoopParams(epochs=1)))
    params = TrainMalignancyParams(loop=LoopParams(epochs=1), augmentation=CALM, batch=16, tuned=tuned)  # type: ignore[arg-type]
    grader = train_malignancy(some_examples(), nodule, params=params)
    assert grader.card["arguments"] == nodule.card["arguments"]
    assert grader.card["role"] == "malignancy"
    stem = np.array_equal(grader.tensors["stem.weight"], nodule.tensors["stem.weight"])
    assert stem == (tuned != "all")
    assert not np.array_equal(grader.tensors["head.weight"], nodule.tensors["head.weight"])
    load_network(checkpoint(grader, tmp_path))


def test_a_grader_learns_the_risk_where_it_is_known_and_the_label_elsewhere() -> None:
    malignant, risk = np.array([1, 0, 1, 0], np.int8), np.array([0.7, 0.2, np.nan, np.nan], np.float32)
    assert targets(malignant, risk, soft=True) == pytest.approx([0.7, 0.2, 1, 0])
    assert targets(malignant, risk, soft=False).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(("positive", "what"), [(0.0, "none shows a nodule"), (1.0, "none shows anything but nodules")])
def test_a_class_without_samples_is_one_clear_line(positive: float, what: str) -> None:
    with pytest.raises(TrainingError, match=what):
        train_nodule([made_examples(0, positive=positive)], params=nodule_params())


def test_graders_need_both_classes_and_segmenters_a_nodule() -> None:
    benign = made_examples(0)
    benign.malignant = np.where(benign.label == 1, 0, -1).astype(np.int8)
    with pytest.raises(TrainingError, match="none of the 12 crops of graded nodules is malignant"):
        train_malignancy([benign], params=TrainMalignancyParams(**SMALL))
    benign.malignant[:] = -1
    with pytest.raises(TrainingError, match="of 1 scans none has a nodule whose malignancy is known"):
        train_malignancy([benign], params=TrainMalignancyParams(**SMALL))
    empty = made_patches(0)
    empty.nodule[:] = -1
    with pytest.raises(TrainingError, match="shows a nodule"):
        train_segmenter([empty], params=segmenter_params())


def test_another_network_s_kept_epoch_is_one_clear_line(tmp_path: Path) -> None:
    train_nodule(some_examples(), params=nodule_params(loop=LoopParams(epochs=1)), workspace=tmp_path)
    other = nodule_params(arguments={"widths": [4, 4, 8, 8]})
    with pytest.raises(TrainingError, match="another network"):
        train_nodule(some_examples(), params=other, workspace=tmp_path)


def test_a_loss_that_is_no_number_keeps_the_last_good_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(row: Mapping[str, Any]) -> None:
        if row["epoch"] == 2:
            monkeypatch.setattr("tasks.training.batches.windowed", lambda x, spec: windowed(x, spec) * torch.nan)

    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 3, by step \d+: lower the learning rate"):
        train_nodule(some_examples(), params=nodule_params(), workspace=tmp_path, tell=spoil)
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["epoch"] == 2
    assert all(torch.isfinite(v).all() for v in kept["module"].values())


def test_crops_smaller_than_the_network_s_are_refused() -> None:
    with pytest.raises(TrainingError, match="cut larger ones"):
        train_nodule(some_examples(), params=nodule_params(crop_zyx=(32, 32, 32)))


SPACINGS = [(None, "as the scan has them"), ((2.0, 1.0, 1.0), "of 2 x 1 x 1 mm")]


@pytest.mark.parametrize(("spacing", "said"), SPACINGS, ids=["voxels", "mm"])
def test_a_start_that_looks_at_voxels_of_another_size_is_refused(spacing: Any, said: str) -> None:
    first = train_nodule(some_examples(), params=nodule_params(loop=LoopParams(epochs=1)))
    first.card["input"]["crop"]["spacing_zyx_mm"] = spacing
    for stage, params in (train_nodule, nodule_params()), (train_malignancy, TrainMalignancyParams(**SMALL, loop=LOOP)):
        with pytest.raises(TrainingError, match=f"crops of 16x16x16 voxels {said}, these are 20x20x20 voxels of 1 x 1 x 1 mm"):
            stage(some_examples(), first, params=params)


def test_crops_that_are_not_cut_alike_are_refused() -> None:
    other = made_examples(5)
    other.spec = other.spec.model_copy(update={"spacing_zyx_mm": None})
    watched = replace(other, split="validation")
    for parts in [*some_examples(), other], [made_examples(0), watched]:
        with pytest.raises(TrainingError, match=r"give cut\.spec and mine.spec the same"):
            train_nodule(parts, params=nodule_params())


def test_a_start_fed_in_another_way_is_refused() -> None:
    first = train_nodule(some_examples(), params=nodule_params(loop=LoopParams(epochs=1)))
    first.card["input"]["scale"] = "unit"
    with pytest.raises(TrainingError, match=r"scaled to 0\.\.1"):
        train_nodule(some_examples(), first, params=nodule_params())
    segmenter = train_segmenter([made_patches(0)], params=segmenter_params(loop=LoopParams(epochs=1)))
    segmenter.card["arguments"]["in_channels"] = 7
    with pytest.raises(TrainingError, match=r"looks at 7 slices, the patches have 3: .*patch\.context=3"):
        train_segmenter([made_patches(0)], segmenter, params=segmenter_params())


def test_a_full_disk_is_one_clear_line_and_the_epoch_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(row: Mapping[str, Any]) -> None:
        def full(path: Path, _body: Any) -> int:
            path.touch()
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(StoreError, match="the disk of the store is full: free some space"):
        train_nodule(some_examples(), params=nodule_params(), workspace=tmp_path, tell=fill)
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 1


def test_a_training_goes_on_from_another_one() -> None:
    once = LoopParams(epochs=1, learning_rate=1e-6)
    first = train_nodule(some_examples(), params=nodule_params(loop=LoopParams(epochs=1)))
    on = train_nodule(some_examples(), first, params=TrainNoduleParams(loop=once, augmentation=CALM, batch=16))
    assert on.card["arguments"] == first.card["arguments"]
    assert on.card["training"]["started_from"]["split"] == first.card["training"]["split"]
    assert np.allclose(on.tensors["head.weight"], first.tensors["head.weight"], atol=1e-4)
    patches = [made_patches(0, 32), made_patches(9, split="validation")]
    first = train_segmenter(patches, params=segmenter_params(loop=LoopParams(epochs=1)))
    params = segmenter_params(loop=once, arguments={})
    on = train_segmenter(patches, first, params=params)
    assert on.card["arguments"] == first.card["arguments"]
    weights = [k for k in first.tensors if k.endswith("weight")]
    assert all(np.allclose(on.tensors[k], first.tensors[k], atol=1e-4) for k in weights)


def test_what_a_start_has_learnt_cannot_be_watched() -> None:
    first = train_nodule(some_examples(), params=nodule_params(loop=LoopParams(epochs=1)))
    other = [made_examples(5), made_examples(0, 16, "validation")]
    with pytest.raises(TrainingError, match="trained on 1 of the scans that are watched"):
        train_nodule(other, first, params=nodule_params())
