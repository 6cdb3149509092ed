"""CIFAR, several times: trainings that differ in one thing, on the same images and statistics, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from artifacts.side_by_side import SideBySide
from artifacts.store import Ref, write_whole
from flows.cifar import Data, TrainingPrecision, image_source, settle_training
from flows.cifar_line import cifar_line
from flows.cifar_run import page, through, token_of
from flows.console import watcher, wide_console
from flows.flow import flow
from flows.form import Device, form
from flows.settle import open_store, without_paths
from tasks.images.compare import CompareParams, compare
from tasks.images.evaluate import EvaluateParams
from tasks.images.read import ReadParams
from tasks.images.recipes import TrainParams
from tasks.images.source import SYNTHETIC
from tasks.line import Line
from tasks.stage import Compute

LOSSES = ["cross-entropy", "nll", "mse"]


@flow("cifar-compare")
def cifar_compare(
    data: Data = SYNTHETIC,
    names: Annotated[list[str], form("Names", "What each training is called, in order")] = LOSSES,
    variants: Annotated[list[TrainParams], form("Variants", "How each network is trained, in the order of the names")] = [
        TrainParams(loss=name)
        for name in LOSSES  # type: ignore[arg-type]
    ],
    device: Device = "auto",
    precision: TrainingPrecision = "auto",
    read: Annotated[ReadParams, form("Read", "Which images")] = ReadParams(),
    evaluate: Annotated[EvaluateParams, form("Evaluate", "How the test images are looked at")] = EvaluateParams(),
) -> Ref:
    """Train a network once for each variant; curves, accuracy and calibration side by side: of three losses, by default."""
    store = open_store()
    device, used = settle_training(device, precision)
    with without_paths():
        source, compute = image_source(data), Compute(device, precision=used)
        runs = []
        try:
            for name, train in zip(names, variants, strict=True):
                watcher().say(f"{name}:")
                params = {"read": read, "train": train, "evaluate": evaluate}
                line = Line(store, source.digest, {}, params, used, device=device, watcher=watcher(), compute=compute)
                runs.append(cifar_line(line, source))
            line.params = {"compare-trainings": CompareParams(names=tuple(names))}
            return line(compare, trained=[r.trained for r in runs], scores=[r.scores for r in runs])
        finally:
            watcher().close()
            store.forget()


def show_comparison(data: str | None, direct: bool, out: Path | None, as_json: bool, options: dict[str, Any]) -> None:
    """Run the flow, write report.html, print the table."""
    import json

    from rich.table import Table

    from tasks.images.official import NAMES

    ref: Ref = through(cifar_compare, direct, {"data": token_of(data, (SYNTHETIC, *NAMES)), **options})
    store = open_store()
    comparison: SideBySide = store.open(ref, SideBySide)
    folder = out or Path(f"hounsfield-compare-{ref.digest[:12]}")
    folder.mkdir(parents=True, exist_ok=True)
    title = f"Side by side: {', '.join(r['name'] for r in comparison.rows)}"
    write_whole(folder / "report.html", page(store, {"Side by side": ref}, title))
    if as_json:
        print(json.dumps(comparison.rows, indent=1))
        return
    table = Table(*(k.replace("_", " ") for k in comparison.rows[0]))
    for row in comparison.rows:
        table.add_row(*map(str, row.values()))
    wide_console().print(table)
    wide_console().print(f"report: {folder / 'report.html'}", highlight=False)
