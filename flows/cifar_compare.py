"""CIFAR, several times: trainings that differ in one thing, on the same images and statistics, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from artifacts.errors import UsageError
from artifacts.side_by_side import SideBySide
from artifacts.store import Ref, exporting, write_whole
from flows.cifar import Data, Pretrained, TrainingPrecision, image_source, pretrained_source, settle_training
from flows.cifar_line import cifar_line
from flows.cifar_run import page, through, token_of
from flows.console import watcher, wide_console
from flows.flow import flow
from flows.form import Device, form
from flows.settle import open_store, without_paths
from tasks.images.compare import CompareParams, compare
from tasks.images.evaluate import EvaluateParams
from tasks.images.losses import LossName
from tasks.images.pretrained import DOWNLOAD, PretrainedSource
from tasks.images.read import ReadParams
from tasks.images.recipes import RECIPES, TrainParams
from tasks.images.source import SYNTHETIC
from tasks.line import Line
from tasks.stage import Compute

LOSSES: list[LossName] = ["cross-entropy", "nll", "mse"]


@flow("cifar-compare")
def cifar_compare(
    data: Data = SYNTHETIC,
    pretrained: Pretrained = None,
    names: Annotated[list[str], form("Names", "What each training is called, in order")] = [*LOSSES],
    variants: Annotated[
        list[TrainParams],
        form("Variants", "How each network is trained, in the order of the names; None: as its own recipe says"),
    ] = [TrainParams.model_construct(loss=name) for name in LOSSES],
    device: Device = "auto",
    precision: TrainingPrecision = "auto",
    read: Annotated[ReadParams, form("Read", "Which images")] = ReadParams(),
    evaluate: Annotated[EvaluateParams, form("Evaluate", "How the test images are looked at")] = EvaluateParams(),
) -> Ref:
    """Train a network once for each variant; curves, accuracy and calibration side by side: of three losses, by default."""
    store, variants = open_store(), [v.settled() for v in variants]
    device, used = settle_training(device, precision)
    with without_paths():
        starts = starts_of(variants, pretrained)
        source, compute = image_source(data), Compute(device, precision=used)
        runs = []
        try:
            for name, train, start in zip(names, variants, starts, strict=True):
                watcher().say(f"{name}:")
                params = {"read": read, "train": train, "evaluate": evaluate}
                line = Line(store, source.digest, {}, params, used, device=device, watcher=watcher(), compute=compute)
                runs.append(cifar_line(line, source, start))
            line.params = {"compare-trainings": CompareParams(names=tuple(names))}
            return line(compare, trained=[r.trained for r in runs], scores=[r.scores for r in runs])
        finally:
            watcher().close()
            store.forget()


def starts_of(variants: Sequence[TrainParams], given: str | None) -> list[PretrainedSource | None]:
    """Published weights for each variant of a torchvision network; ours start from nothing. UsageError where they fit none."""
    theirs = dict.fromkeys(v.network for v in variants if v.network not in RECIPES)
    if given and not theirs:
        raise UsageError(f"published weights are for torchvision's networks: {variants[0].network} is none")
    if given and given != DOWNLOAD and len(theirs) > 1:
        raise UsageError(f"a file holds the weights of one network, here are {', '.join(theirs)}: --pretrained download")
    return [pretrained_source(v.network, v.frozen, given if v.network in theirs else None) for v in variants]


def show_comparison(
    data: str | None, pretrained: str | None, direct: bool, out: Path | None, as_json: bool, options: dict[str, Any]
) -> None:
    """Run the flow, write report.html, print the table."""
    import json

    from rich.table import Table

    from tasks.images.official import NAMES

    weights = token_of(pretrained, (DOWNLOAD,)) if pretrained else None
    starts_of(options["variants"], weights)  # what is wrong is said before a server starts
    given = {"data": token_of(data, (SYNTHETIC, *NAMES)), "pretrained": weights, **options}
    ref: Ref = through(cifar_compare, direct, given)
    store = open_store()
    comparison: SideBySide = store.open(ref, SideBySide)
    folder = out or Path(f"hounsfield-compare-{ref.digest[:12]}")
    title = f"Side by side: {', '.join(r['name'] for r in comparison.rows)}"
    with exporting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "report.html", page(store, {"Side by side": ref}, title))
    if as_json:
        print(json.dumps(comparison.rows, indent=1))
        return
    table = Table(*(k.replace("_", " ") for k in comparison.rows[0]))
    for row in comparison.rows:
        table.add_row(*map(str, row.values()))
    wide_console(markup=False).print(table)
    wide_console(markup=False).print(f"report: {folder / 'report.html'}", highlight=False)
