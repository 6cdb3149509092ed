"""Published checkpoints come in as weights alone, all three or none, and nothing in them is ever run."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from artifacts.checkpoint import ROLES, read_checkpoint
from artifacts.errors import StoreError, UsageError, WeightsError
from tasks.import_weights import PUBLISHED, import_book
from tasks.nets import build, load_network
from tests.tasks.nets.made import imported_book


def state_of(role, **changes):
    known = PUBLISHED[role]
    state = build(known.architecture, **{**known.arguments, **changes}).state_dict()
    return {(k if k.startswith("input_batchnorm") else known.prefix + k): v for k, v in state.items()}


@pytest.fixture
def files(tmp_path):
    """Files like the published ones, with fresh weights."""
    made = {}
    for role in ROLES:
        made[role] = tmp_path / f"{role}.state"
        torch.save({"model_state": state_of(role), "model_name": "x", "epoch": 3}, made[role])
    return made


def nothing_written(folder):
    return not folder.exists() or not list(folder.iterdir())


def test_all_three_come_in_with_their_cards(files, tmp_path):
    import_book("book", **files, into=tmp_path / "weights")
    assert [p.name for p in (tmp_path / "weights").iterdir()] == ["book"]
    for role in ROLES:
        checkpoint = read_checkpoint(tmp_path / "weights" / "book", role)
        want = state_of(role)
        network = load_network(checkpoint)
        assert {k: v.shape for k, v in network.module.state_dict().items()} == {
            k.removeprefix(PUBLISHED[role].prefix): v.shape for k, v in want.items()
        }
        assert "not for redistribution" in checkpoint.card.licence
    assert checkpoint.card.input.crop.shape_zyx == (32, 48, 48)


class Hostile:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("how", ["plain pickle", "torch.save", "hidden in the weights", "old format"])
def test_a_hostile_pickle_runs_nothing(files, tmp_path, role, how):
    proof = tmp_path / "proof"
    if how == "plain pickle":
        files[role].write_bytes(pickle.dumps(Hostile(proof)))
    else:
        inside = (
            {"model_state": {**state_of(role), "extra": Hostile(proof)}} if how == "hidden in the weights" else Hostile(proof)
        )
        torch.save(inside, files[role], _use_new_zipfile_serialization=how != "old format")
    with pytest.raises(WeightsError, match=f"{role} file") as e:
        import_book("book", **files, into=tmp_path / "weights")
    assert "\n" not in str(e.value)
    assert str(tmp_path) not in str(e.value)
    assert not proof.exists()
    assert nothing_written(tmp_path / "weights")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1])
def test_a_file_cut_short_is_refused(files, tmp_path, role, keep):
    body = files[role].read_bytes()
    files[role].write_bytes(body[: int(len(body) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(WeightsError, match=f"{role} file"):
        import_book("book", **files, into=tmp_path / "weights")
    assert nothing_written(tmp_path / "weights")


def test_files_in_the_wrong_order_are_refused(files, tmp_path):
    files["segmenter"], files["nodule"] = files["nodule"], files["segmenter"]
    with pytest.raises(WeightsError, match="not a unet2d"):
        import_book("book", **files, into=tmp_path / "weights")
    assert nothing_written(tmp_path / "weights")


@pytest.mark.parametrize(("role", "changes"), [("segmenter", {"width": 8}), ("nodule", {"conv_channels": 4})])
def test_another_size_of_the_architecture_is_refused(files, tmp_path, role, changes):
    torch.save({"model_state": state_of(role, **changes)}, files[role])
    with pytest.raises(WeightsError, match=f"{role} checkpoint is not a"):
        import_book("book", **files, into=tmp_path / "weights")
    assert nothing_written(tmp_path / "weights")


@pytest.mark.parametrize("saved", [[1, 2], {"weights": {}}, {"model_state": [1]}, {"model_state": {"a": 1}}], ids=str)
def test_something_else_is_refused(files, tmp_path, saved):
    torch.save(saved, files["nodule"])
    with pytest.raises(WeightsError, match="model_state"):
        import_book("book", **files, into=tmp_path / "weights")


def test_numbers_that_are_not_finite_are_refused(files, tmp_path):
    state = state_of("nodule")
    state["head_linear.bias"][0] = torch.nan
    torch.save({"model_state": state}, files["nodule"])
    with pytest.raises(WeightsError, match=r"head_linear\.bias"):
        import_book("book", **files, into=tmp_path / "weights")


def test_a_file_that_is_not_there_is_said(files, tmp_path):
    files["malignancy"].unlink()
    with pytest.raises(WeightsError, match="no malignancy file"):
        import_book("book", **files, into=tmp_path / "weights")


@pytest.mark.parametrize("name", ["", "Book", "a b", "../book", "a/b", ".", "book\n"])
def test_a_name_that_is_no_name_is_refused(files, tmp_path, name):
    with pytest.raises(UsageError, match="a-z"):
        import_book(name, **files, into=tmp_path / "weights")


def test_a_name_that_is_taken_is_kept_unless_told(files, tmp_path):
    into = tmp_path / "weights"
    import_book("book", **files, into=into)
    before = read_checkpoint(into / "book", "nodule").digest
    torch.save({"model_state": state_of("nodule")}, files["nodule"])
    with pytest.raises(UsageError, match="exist already"):
        import_book("book", **files, into=into)
    assert read_checkpoint(into / "book", "nodule").digest == before
    import_book("book", **files, into=into, replace=True)
    assert read_checkpoint(into / "book", "nodule").digest != before
    assert [p.name for p in into.iterdir()] == ["book"]


def test_a_disk_that_is_full_leaves_what_was_there(files, tmp_path, monkeypatch):
    into = tmp_path / "weights"
    import_book("book", **files, into=into)
    before = read_checkpoint(into / "book", "segmenter").digest

    def full(folder, card, tensors):
        if card.role == "malignancy":
            raise OSError(28, "No space left on device")
        folder.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr("tasks.import_weights.write_checkpoint", full)
    with pytest.raises(StoreError, match="No space left"):
        import_book("book", **files, into=into, replace=True)
    assert read_checkpoint(into / "book", "segmenter").digest == before
    assert [p.name for p in into.iterdir()] == ["book"]


@pytest.mark.data
def test_the_published_files_come_in_bit_for_bit(data_dir, tmp_path):
    folder = imported_book(data_dir, tmp_path)
    published = torch.load(next((data_dir / "weights" / "dlwpt").glob("seg_*")), map_location="cpu", weights_only=True)
    tensors = read_checkpoint(folder, "segmenter").tensors()
    want = {k.removeprefix("unet."): v.numpy() for k, v in published["model_state"].items()}
    assert tensors.keys() == want.keys()
    assert all(np.array_equal(tensors[k], v) and tensors[k].shape == v.shape for k, v in want.items())
    shutil.rmtree(folder)
