"""Sets made of parts of others: the mean of classifiers, what their cards say, and what cannot be joined."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from artifacts.checkpoint import Card, read_checkpoint, write_checkpoint
from artifacts.errors import WeightsError
from flows.join_weights import join, members_of, trainings
from tasks.nets import load_network
from tasks.nets.registry import build

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "weights" / "phantom"


def a_set(folder: Path, seed: int, window: tuple[float, float] = (-1000, 1000)) -> Path:
    """The shipped set with a small nodule classifier of its own, trained (it says) on one scan."""
    for role in ("segmenter", "malignancy"):
        one = read_checkpoint(SHIPPED, role)
        write_checkpoint(folder, one.card, one.tensors())
    shipped = read_checkpoint(SHIPPED, "nodule").card.model_dump(mode="json")
    torch.manual_seed(seed)
    arguments = {"widths": [4, 8], "strides": [2, 1, 2]}
    state = build("resnet3d", **arguments).state_dict()
    training = {"data": f"scan {seed}", "split": {"train": [f"1.2.{seed}"]}}
    card = shipped | {"architecture": "resnet3d", "arguments": arguments, "training": training}
    card["input"] |= {"window_hu": window}
    write_checkpoint(folder, Card.model_validate(card), {k: v.numpy() for k, v in state.items()})
    return folder


def probability(folder: Path, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return load_network(read_checkpoint(folder, "nodule"), "cpu", "float32").module(x).softmax(1)


def test_the_mean_of_three_answers_and_each_can_be_taken_out_again(tmp_path):
    a, b, c = (a_set(tmp_path / name, seed) for seed, name in enumerate("abc"))
    join([str(a)], [str(a), str(b)], b, tmp_path / "ab")
    join([str(a)], [str(tmp_path / "ab"), str(c)], b, tmp_path / "abc")
    x = torch.randn(4, 1, 32, 32, 32) * 400
    mean = torch.stack([probability(s, x) for s in (a, b, c)]).mean(0)
    assert torch.allclose(probability(tmp_path / "abc", x), mean, atol=1e-6)
    joined = read_checkpoint(tmp_path / "abc", "nodule")
    assert [training["data"] for _, _, training in members_of(joined)] == ["scan 0", "scan 1", "scan 2"]
    join([str(a)], [f"{tmp_path / 'abc'}:1"], b, tmp_path / "again")
    assert torch.equal(probability(tmp_path / "again", x), probability(b, x))
    assert read_checkpoint(tmp_path / "again", "nodule").card.training == read_checkpoint(b, "nodule").card.training


def test_the_others_stay_and_figures_of_the_old_sets_go(tmp_path):
    a = a_set(tmp_path / "a", 1)
    join([str(SHIPPED)], [str(a), str(SHIPPED)], SHIPPED, tmp_path / "new")
    for role in ("segmenter", "malignancy"):
        made, shipped = (read_checkpoint(folder, role) for folder in (tmp_path / "new", SHIPPED))
        assert all(np.array_equal(v, shipped.tensors()[k]) for k, v in made.tensors().items())
        assert made.card.training == shipped.card.training
        assert not {"held_out", "whole_line_test"} & made.card.metrics.keys()


def test_segmenters_are_averaged_by_their_shares(tmp_path):
    shipped = read_checkpoint(SHIPPED, "segmenter")
    rng = np.random.default_rng(1)
    known = shipped.tensors()
    tensors = {k: v + rng.normal(size=v.shape).astype(v.dtype) if v.dtype.kind == "f" else v for k, v in known.items()}
    a = a_set(tmp_path / "a", 1)
    learnt = {"data": "scan 9", "split": {"train": ["1.2.9"]}}
    write_checkpoint(a, shipped.card.model_copy(update={"training": learnt}), tensors)
    join([f"{a}:0.25", f"{SHIPPED}:0.75"], [str(a)], a, tmp_path / "new")
    made = read_checkpoint(tmp_path / "new", "segmenter")
    for name, value in made.tensors().items():
        slow = 0.25 * tensors[name].astype(np.float64) + 0.75 * known[name].astype(np.float64)
        assert value.dtype == tensors[name].dtype
        assert np.allclose(value, slow, atol=1e-5), name
    assert made.card.training["split"] == learnt["split"]
    assert made.card.training["share_of_weights"] == 0.25
    assert made.card.training["beside"]["split"] == shipped.card.training["split"]
    assert not made.card.metrics
    join([f"{tmp_path / 'new'}:0.5", f"{SHIPPED}:0.5"], [str(a)], a, tmp_path / "again")
    parts = trainings(read_checkpoint(tmp_path / "again", "segmenter").card.training)
    assert [part["share_of_weights"] for part in parts] == [0.125, 0.375, 0.5]
    assert parts[0]["split"] == learnt["split"]


def test_what_cannot_be_joined_is_one_line(tmp_path):
    a, b = a_set(tmp_path / "a", 1), a_set(tmp_path / "b", 2, window=(-1350, 150))
    with pytest.raises(WeightsError, match="do not look at the same crops"):
        join([str(a)], [str(a), str(b)], a, tmp_path / "new")
    with pytest.raises(WeightsError, match="has 1 members, counted from 0"):
        join([str(a)], [f"{a}:1"], a, tmp_path / "new")
    with pytest.raises(WeightsError, match="sum to 2, not to 1"):
        join([str(a), str(b)], [str(a)], a, tmp_path / "new")
    other = read_checkpoint(b, "segmenter")
    wider = other.card.input.model_copy(update={"window_hu": (-1350.0, 150.0)})
    write_checkpoint(b, other.card.model_copy(update={"input": wider}), other.tensors())
    with pytest.raises(WeightsError, match="are not the same network"):
        join([f"{a}:0.5", f"{b}:0.5"], [str(a)], a, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    command = [sys.executable, "-m", "flows.join_weights", "--segmenter", a, "--nodule", tmp_path / "none", "--malignancy", a]
    done = subprocess.run([*map(str, command), "--out", str(tmp_path / "new")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "error: " in done.stderr.splitlines()[-1]
