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
        (["--network", "resnet18", "--set", "train.frozen=true"], 2, "needs weights to freeze"),
        (["--network", "linear", "--set", "train.frozen=true"], 2, "frozen is for torchvision's networks: linear is none"),
        (["--network", "linear", "--pretrained", "download"], 2, "published weights are for torchvision's networks"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is_near(trained, options, code, said):
    run, data, _, _ = trained
    done = run("cifar", "--data", data, "--direct", *options)
    assert done.code == code
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


ABSURD = ["train.learning_rate=100", "train.clip=0", "train.optimizer=sgd", "train.schedule=constant", "train.epochs=3"]


@pytest.mark.parametrize(
    ("network", "settings", "code", "said"),
    [
        ("mlp", ABSURD, 8, "lower the learning rate"),
        ("fast", ["read.size=8"], 2, "images of 8 x 8 pixels are too small"),
        ("resnet", ["read.size=8", "train.batch_size=1", "train.epochs=1"], 2, "batch_size=2 or more"),
    ],
)
def test_a_training_that_cannot_be_says_why_in_one_line(trained, network, settings, code, said):
    run, data, _, _ = trained
    done = run("cifar", "--data", data, "--direct", "--network", network, *(o for s in settings for o in ("--set", s)))
    assert done.code == code
    last = [line for line in done.err.splitlines() if line.startswith("hounsfield: ")]
    assert len(last) == 1
    assert said in last[0]


def test_options_before_the_subcommand_are_not_lost_silently(trained):
    run, data, _, _ = trained
    done = run("cifar", "--data", data, "--direct", "compare", *QUICK)
    assert done.code == 2
    assert "hounsfield cifar compare --data" in done.err


def test_what_is_not_there_is_said_before_a_server_starts(trained, tmp_path):
    done = trained[0]("cifar", "--data", tmp_path / "nowhere.zip")
    assert done.code == 3
    assert len(done.err.strip().splitlines()) == 1


def test_a_path_never_reaches_the_artifacts(trained):
    run, data, out, _ = trained
    for path in [*(run.home / "store").rglob("*"), *out.rglob("*")]:
        if path.is_file():
            assert str(data).encode() not in path.read_bytes()


def test_three_losses_side_by_side(trained, tmp_path):
    run, data, _, _ = trained
    done = run("cifar", "compare", "--data", data, *QUICK, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    assert [r["name"] for r in done.json] == ["cross-entropy", "nll", "mse"]
    assert done.json[0]["accuracy"] == done.json[1]["accuracy"]
    assert {"calibration_error", "brier", "log_loss"} <= done.json[2].keys()
    assert done.err.count("train ") >= 3
    assert re.search(r"^train\s+reused", done.err, re.M)  # cross-entropy is what was trained before
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == 4
    assert "most often right: cross-entropy and nll" in page
    both = re.findall(r"side-by-side:[0-9a-f]+", done.err)[-1]
    for command in (("cifar", "export", both), ("recognise", data, "--checkpoint", both)):
        several = run(*command)
        assert several.code == 2
        assert "several trained networks" in several.err


def test_learning_rates_side_by_side(trained, tmp_path):
    run, data, _, _ = trained
    done = run(
        "cifar", "compare", "--over", "train.learning_rate=0.001,0.01", "--data", data, *QUICK, "--out", tmp_path, "--json"
    )
    assert [r["name"] for r in done.json] == ["0.001", "0.01"]
    for wrong in ("read.seed=1,2", "train.loss=mse,mse"):
        assert run("cifar", "compare", "--over", wrong).code == 2


def test_a_comparison_starts_from_published_weights(trained, tmp_path):
    import torch
    from torchvision import models

    run, data, _, _ = trained
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")
    options = ("--data", data, "--direct", "--set", "train.epochs=1", "--set", "train.input_size=40", "--json")
    mixed = ("--over", "train.network=squeezenet1_1,resnet18")
    for wrong, said in (((*mixed,), "holds the weights of one network"), (("--network", "linear"), "torchvision's networks")):
        done = run("cifar", "compare", "--data", data, *wrong, "--pretrained", tmp_path / "squeezenet.pth")
        assert done.code == 2
        assert said in done.err
    over = ("--network", "squeezenet1_1", "--over", "train.frozen=true,false", "--pretrained", tmp_path / "squeezenet.pth")
    done = run("cifar", "compare", *options, *over, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert [r["name"] for r in done.json] == ["true", "false"]
    ref = re.findall(r"trained:\w+", done.err)[0]
    shown = run("show", ref, "--json")
    assert "pretrained" in json.dumps(shown.json)


def test_what_is_exported_can_be_used_elsewhere(trained, tmp_path):
    import h5py
    import torch

    from tests.tasks.images.small_sets import encoded, images

    run, _, _, done = trained
    ref = re.search(r"trained:\w+", done.err)[0]
    done = run("cifar", "export", ref, "--what", "weights,images,features,normalised", "--out", tmp_path)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 6
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    with h5py.File(tmp_path / "features.h5") as f, h5py.File(tmp_path / "normalised.h5") as n:
        logits = torch.from_numpy(f["test_features"][...]) @ state["output.weight"].T + state["output.bias"]
        assert (logits.argmax(1).numpy() == f["test_labels"][...]).mean() > 0.9
        assert abs(n["train_images"][...].mean()) < 1e-3
        assert abs(n["train_images"][...].std() - 1) < 1e-3
    shown = tmp_path / "shown"
    shown.mkdir()
    for k, image in enumerate(images(6, seed=5)[0]):
        (shown / f"{k}.png").write_bytes(encoded(image))
    (shown / "7.png").write_bytes(b"not an image")
    exported = tmp_path / "checkpoint.safetensors"
    wanted = (
        (ref, "seen/a.jpg", "seen/a.jpg"),
        (exported, "seen/b", "seen/b.png"),
        (ref, "seen", "seen/hounsfield-recognised.png"),
    )
    for checkpoint, out, picture in wanted:
        said = run("recognise", shown, "--checkpoint", checkpoint, "--out", tmp_path / out, "--json")
        assert said.code == 0, said.err
        assert said.json["picture"] == str(tmp_path / picture)
        assert (tmp_path / picture).read_bytes()[:3] in (b"\x89PN", b"\xff\xd8\xff")
        assert [r["top"][0]["class"] for r in said.json["images"]] == ["across", "checks", "down"] * 2
        assert said.json["left_out"] == 1
        assert sum(t["p"] for t in said.json["images"][0]["top"]) == pytest.approx(1, abs=1e-3)
    assert run("cifar", "export", ref, "--what", "wieghts").code == 2
    assert run("recognise", shown).code == 2
    assert run("recognise", shown, "--checkpoint", ref, "--weights", exported).code == 2


def test_a_model_of_torchvision_sees_with_its_own_transforms(trained, tmp_path):
    import torch
    from torchvision import models

    from tests.tasks.images.small_sets import encoded, images

    run, _, _, _ = trained
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")
    (tmp_path / "a.png").write_bytes(encoded(images(1, side=40)[0][0]))
    options = ("--model", "squeezenet1_1", "--weights", tmp_path / "squeezenet.pth", "--out", tmp_path / "seen.png")
    said = run("recognise", tmp_path / "a.png", *options, "--json")
    assert said.code == 0, said.err
    assert len(said.json["images"][0]["top"]) == 5
    assert run("recognise", tmp_path / "a.png", *options[2:], "--model", "squeezenet1_2").code == 2
    wrong = run("recognise", tmp_path / "a.png", *options[2:], "--model", "resnet18")
    assert wrong.code == 5
    assert "these weights are not those of resnet18: bn1.bias does not fit, and" in wrong.err
    assert len(wrong.err.strip().splitlines()) == 1
