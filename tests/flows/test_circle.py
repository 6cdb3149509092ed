"""The whole circle in miniature: a LUNA16-shaped folder of phantoms, cut once, three networks trained on it, a scan screened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifacts.checkpoint import ROLES, read_checkpoint
from artifacts.store import Store
from artifacts.trained import Trained
from tests.flows.conftest import Done
from tests.flows.in_process import InProcess
from tests.luna_folder import ANNOTATIONS, luna_folder

WITH_NODULES, WITHOUT = (1, 2), (3,)  # each in the subset, and so in the fold, of its number
DATA = ["--set", "dataset.test_fold=0"]  # nobody is in fold 0; fold 1 is watched
DATA += ["--set", "cut.negatives=24", "--set", "patch.size=48", "--set", "mine.most=20"]
SHORT = ["--epochs", "2", "--batch", "8"]
SMALL = ["--set", "arguments.widths=[8,8,16,16]", "--set", "steps=6"]


class Circle:
    """A folder of scans and a home; every command runs in this process."""

    def __init__(self, root: Path):
        luna = luna_folder(root / "luna", WITH_NODULES, WITHOUT)
        graded = [f"{row},{k % 3 != 1}" for k, row in enumerate(luna.annotations)]  # two of a scan's three are malignant
        (luna.root / "annotations_with_malignancy.csv").write_text("\n".join([f"{ANNOTATIONS},mal_bool", *graded]) + "\n")
        self.folder = luna.root
        self.home, self.hounsfield = root / "home", InProcess(root / "home")

    def train(self, role: str, *options: object) -> Done:
        return self.hounsfield("train", role, "--data", self.folder, "--name", "circle", "--direct", *SHORT, *DATA, *options)

    def trained(self, done: Done) -> Trained:
        store = Store(self.home / "store")
        return store.read(store.resolve(done.out.split()[-1]), Trained)


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Circle:
    return Circle(tmp_path_factory.mktemp("circle"))


@pytest.fixture(scope="module")
def segmenter(circle: Circle) -> Done:
    options = ["--set", "arguments.width=4", "--set", "arguments.depth=2", "--set", "steps=40", "--learning-rate", "0.02"]
    return circle.train("segmenter", *options, "--set", "crop=48", "--tensorboard", circle.home / "boards")


@pytest.fixture(scope="module")
def nodule(circle: Circle, segmenter: Done) -> Done:
    assert segmenter.code == 0, segmenter.err
    return circle.train("nodule", *SMALL, "--segmenter", "circle", "--devices", 2, "--strategy", "ddp", "--device", "cpu")


@pytest.fixture(scope="module")
def malignancy(circle: Circle, nodule: Done) -> Done:
    assert nodule.code == 0, nodule.err
    return circle.train("malignancy", "--set", "steps=6")


def test_the_segmenter_tells_how_it_goes_and_keeps_its_split(circle: Circle, segmenter: Done) -> None:
    assert segmenter.code == 0, segmenter.err
    for word in ("epoch 2", "loss", "recall", "f1", "false positives", "examples per second", "eta"):
        assert word in segmenter.err
    trained = circle.trained(segmenter)
    split = trained.card["training"]["split"]
    assert [len(split[part]) for part in ("train", "validation", "left_out")] == [2, 1, 0]
    assert not set(split["train"]) & set(split["validation"])
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert list((circle.home / "boards" / "circle-segmenter").glob("events.out.tfevents.*"))


def test_the_classifier_learns_from_the_segmenter_s_false_lumps_in_two_processes(circle: Circle, nodule: Done) -> None:
    assert nodule.code == 0, nodule.err
    trained = circle.trained(nodule)
    assert [row["epoch"] for row in trained.history] == [1, 2]
    assert trained.card["training"]["examples"]["hard"] > 0


def test_the_grader_starts_from_the_classifier(circle: Circle, malignancy: Done) -> None:
    assert malignancy.code == 0, malignancy.err
    card = circle.trained(malignancy).card
    assert card["training"]["started_from"]["name"] == "circle-nodule"
    assert card["arguments"]["widths"] == [8, 8, 16, 16]


def test_a_segmenter_goes_on_from_another_one(circle: Circle, segmenter: Done) -> None:
    done = circle.train("segmenter", "--name", "on", "--start", "circle", "--set", "steps=2", "--set", "crop=48")
    assert done.code == 0, done.err
    card = circle.trained(done).card
    assert card["name"] == "on-segmenter"
    assert card["training"]["started_from"]["name"] == "circle-segmenter"
    assert card["arguments"] == circle.trained(segmenter).card["arguments"]


def test_the_set_screens_a_scan(circle: Circle, malignancy: Done) -> None:
    assert malignancy.code == 0, malignancy.err
    for role in ROLES:
        assert read_checkpoint(circle.home / "weights" / "circle", role).card.name == f"circle-{role}"
    scan = sorted(circle.folder.rglob("*.mhd"))[0]
    done = circle.hounsfield("screen", scan, "--weights", "circle", "--direct", "--json", "--out", circle.home / "out")
    assert done.code == 0, done.err
    assert "findings" in json.loads(done.out)[0]["report"]


def test_a_second_time_nothing_is_trained(circle: Circle, segmenter: Done, malignancy: Done) -> None:
    again = circle.train("malignancy", "--set", "steps=6")
    assert again.out == malignancy.out
    assert "reused" in again.err


VOXELS = 'cut.spec={"shape_zyx": [32, 48, 48], "spacing_zyx_mm": null}'


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--name", "no good"], 2, "lowercase letters, digits and dashes"),
        (["--phantoms", "0"], 2, "nothing to train on"),
        (["--phantoms", "1", "--devices", "2"], 2, "2 devices need --strategy ddp"),
        (["--phantoms", "1", "--set", "epochs=3"], 2, "no parameter 'epochs'"),
        (["--phantoms", "1", "--start", "nowhere"], 5, "nowhere"),
        (["--phantoms", "1", "--start", "phantom", "--network", "luna3d"], 2, "leave --network out"),
        (["--phantoms", "1", "--start", "phantom", "--set", VOXELS], 8, "looks at crops of 32x32x32 voxels of 1 x 1 x 1 mm"),
        (["--data", "/nowhere"], 3, "there is no folder"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, options: list[str], code: int, said: str) -> None:
    done = InProcess(tmp_path)("train", "nodule", "--direct", *options)
    assert done.code == code
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
