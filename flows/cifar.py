"""CIFAR: images in, a trained classifier and how often it is right out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from artifacts.errors import UsageError
from artifacts.home import home
from flows.cifar_line import Made, again, cifar_line
from flows.console import watcher
from flows.flow import flow
from flows.form import Device, Precision, form
from flows.settle import open_index, open_store, settle, without_paths
from tasks.images.evaluate import EvaluateParams
from tasks.images.pretrained import DOWNLOAD, PretrainedSource, find_pretrained
from tasks.images.read import ReadParams
from tasks.images.recipes import RECIPES, TrainParams
from tasks.images.source import SYNTHETIC, ImageSource, find_source
from tasks.images.statistics import StatisticsParams
from tasks.line import Line
from tasks.nets.network import Precision as Settled
from tasks.stage import Compute

ImageStage = Literal["read", "statistics", "train", "evaluate"]
Data = Annotated[
    str,
    form(
        "Images",
        "A zip or folder of class folders, an npz, an HDF5, a torchvision root; cifar10 or cifar100 (downloaded where missing); "
        "synthetic: shapes that ship as code. Or the source-… token that the command line makes of a path",
        min_length=1,
    ),
]
Pretrained = Annotated[
    str | None, form("Pretrained", "For a torchvision network: download, or a file of its published weights; empty: from scratch")
]
TrainingPrecision = Annotated[Precision, form("Precision", "auto: bfloat16 on a GPU that is good at it, else float32")]


UNSETTLED = TrainParams.model_construct()  # so that the form is not filled with one network's recipe for every other one


@flow("cifar")
def cifar(
    data: Data = SYNTHETIC,
    pretrained: Pretrained = None,
    device: Device = "auto",
    precision: TrainingPrecision = "auto",
    refresh: Annotated[list[ImageStage], form("Refresh", "Run these stages again although their artifacts are whole")] = [],
    from_stage: Annotated[ImageStage | None, form("From stage", "Run this stage and all after it again")] = None,
    read: Annotated[ReadParams, form("Read", "Which images")] = ReadParams(),
    train: Annotated[
        TrainParams, form("Train", "Which network, and how it is trained; None: as its own recipe says")
    ] = UNSETTLED,
    evaluate: Annotated[EvaluateParams, form("Evaluate", "How the test images are looked at")] = EvaluateParams(),
) -> Made:
    """Read an image set, measure its channels, train a classifier on it and judge it on images it never saw.

    Every stage keeps what it made; what is there whole is reused. Returns the refs of the four artifacts.
    """
    store, asked, train = open_store(), again(refresh, from_stage), train.settled()
    device, used = settle_training(device, precision)
    params = {"read": read, "statistics": StatisticsParams(), "train": train, "evaluate": evaluate}
    if data == SYNTHETIC:
        watcher().say("no data given: a small synthetic set of shapes is used; it shows that the line works, no more")
    with without_paths():
        source, weights = image_source(data), pretrained_source(train.network, train.frozen, pretrained)
        compute = Compute(device, precision=used)
        line = Line(store, source.digest, {}, params, used, asked, device=device, watcher=watcher(), compute=compute)
        try:
            return cifar_line(line, source, weights)
        finally:
            watcher().close()
            store.forget()


def image_source(data: str) -> ImageSource:
    """What ``data`` names; downloads go into the home's data folder."""
    path = open_index().path(data)
    return find_source(data, path if isinstance(path, Path) else Path(path), home() / "data")


def settle_training(device: str, precision: str) -> tuple[str, Settled]:
    """``auto`` to (device, precision): half precision where it pays much, on a GPU; a CPU trains in float32, any one."""
    chosen, used = settle(device, precision)
    return chosen, "float32" if precision == "auto" and chosen == "cpu" else used


def pretrained_source(network: str, frozen: bool, given: str | None) -> PretrainedSource | None:
    """Of published weights. UsageError before anything is read where the network can do nothing with them, or not without."""
    if (given or frozen) and network in RECIPES:
        what = "published weights are" if given else "frozen is"
        raise UsageError(f"{what} for torchvision's networks: {network} is none")
    if not given and frozen:
        raise UsageError("a frozen network needs weights to freeze: --pretrained download, or a file of published weights")
    if not given:
        return None
    return find_pretrained(network, given, Path(given) if given == DOWNLOAD else open_index().path(given))
