"""`hounsfield cifar` as a user types it: the line runs, is reused, and re-runs what changed and no more."""

from __future__ import annotations

import json
import re

import pytest

from tests.flows.in_process import InProcess
from tests.tasks.images.small_sets import npz, zipped

QUICK = ("--network", "linear", "--set", "train.epochs=2", "--direct")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A home in which a small set was trained on once, and where it lies."""
    folder = tmp_path_factory.mktemp("cifar")
    run = InProcess(folder / "home")
    data = npz(folder / "set.npz")
    done = run("cifar", "--data", data, *QUICK, "--out", folder / "out")
    assert done.code == 0, done.err
    return run, data, folder / "out", done


def outcome(err: str) -> dict[str, str]:
    return dict(re.findall(r"^(read|statistics|train|evaluate)\s+(ran|reused)", err, re.M))


def test_it_reports_what_it_trained(trained):
    _, _, out, done = trained
    assert outcome(done.err) == dict.fromkeys(("read", "statistics", "train", "evaluate"), "ran")
    about = json.loads((out / "scores.json").read_text())
    assert about["images"] == 30
    assert about["accuracy"] > 0.9
    page = (out / "report.html").read_text()
    assert page.count("<img") >= 6
    assert "http" not in page.replace("http-equiv", "")
    assert len((out / "predictions.csv").read_text().splitlines()) == 31


def test_another_learning_rate_reuses_images_and_statistics(trained, tmp_path):
    run, data, _, _ = trained
    done = run("cifar", "--data", data, *QUICK, "--set", "train.learning_rate=0.003", "--out", tmp_path)
    assert outcome(done.err) == {"read": "reused", "statistics": "reused", "train": "ran", "evaluate": "ran"}
    assert "learning_rate 0.001 -> 0.003" in done.err


def test_refresh_train_runs_only_training(trained, tmp_path):
    run, data, _, _ = trained
    done = run("cifar", "--data", data, *QUICK, "--refresh", "train", "--out", tmp_path)
    assert outcome(done.err) == {"read": "reused", "statistics": "reused", "train": "ran", "evaluate": "reused"}


def test_the_plan_says_what_would_run(trained):
    run, data, _, _ = trained
    done = run("cifar", "--data", data, *QUICK, "--set", "evaluate.views=flip", "--plan", "--json")
    assert [(s["stage"], s["action"]) for s in done.json][-2:] == [("train", "reuse"), ("evaluate", "run")]


def test_two_classes_of_a_zip(trained, tmp_path):
    run, _, _, _ = trained
    data = zipped(tmp_path / "set.zip")
    done = run("cifar", "--data", data, *QUICK, "--classes", "down,across", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert [row["class"] for row in json.loads((tmp_path / "out" / "scores.json").read_text())["by_class"]] == ["down", "across"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--network", "resnt18"], 2, "did you mean resnet18"),
        (["--classes", "acros,down"], 2, "did you mean across"),
        (["--refresh", "trian"], 2, "did you mean train"),
        (["--set", "train.epochs=0"], 2, "greater than or equal to 1"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is_near(trained, options, code, said):
    run, data, _, _ = trained
    done = run("cifar", "--data", data, "--direct", *options)
    assert done.code == code
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_path_never_reaches_the_artifacts(trained):
    run, data, out, _ = trained
    for path in [*(run.home / "store").rglob("*"), *out.rglob("*")]:
        if path.is_file():
            assert str(data).encode() not in path.read_bytes()
