"""Commands: FROC, evaluation, calibration. Heavy things are imported by the command that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.learning import DataFolder, LayoutOption, TableOption
from flows.options import Device, Direct, Json, Partial, Precision, StoreOption, Weights

Annotations = Annotated[Path, typer.Option(help="annotations.csv: seriesuid, coordX, coordY, coordZ, diameter_mm (LPS mm)")]
Excluded = Annotated[Path | None, typer.Option(help="annotations_excluded.csv: marks on these are ignored; diameter may be -1")]
ScanList = Annotated[Path, typer.Option("--scans", help="seriesuids.csv: every scan that was read, also those without a nodule")]


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    for command in (evaluate, froc, marks):
        app.command()(command)
    app.command("compare-evaluations")(compare_evaluations)
    app.command()(calibrate)


def evaluate(
    folder: DataFolder,
    weights: Weights = "phantom",
    split: Annotated[
        Literal["train", "validation", "test", "all"], typer.Option(help="Which scans: those never trained on (test), or others")
    ] = "test",
    fold: Annotated[int | None, typer.Option(min=0, help="Only this fold, whatever its split: for cross-validation")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: ./hounsfield-evaluation-<ref>)")] = None,
    layout: LayoutOption = "auto",
    table: TableOption = None,
    scans: Annotated[int | None, typer.Option(min=1, help="Only the first so many, for a quick try")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    partial: Partial = False,
    direct: Direct = False,
    as_json: Json = False,
    settings: Annotated[
        list[str],
        typer.Option("--set", help="STAGE.PARAMETER=VALUE: dataset.consensus=2, evaluate.threshold=0.3"),
    ] = [],
    store: StoreOption = None,
) -> None:
    """Measure a weights set on a data set: FROC and CPM, confusion, segmentation, malignancy, calibration, and every error.

    Scans are screened where they are not yet; one that breaks is skipped and listed; the same command goes on where it was.
    The page of results and the ledger of errors (CSV and pictures) go into a folder.
    """
    from flows.evaluating import run_evaluate, show_evaluation
    from flows.settle import use_store

    use_store(store)
    options = {"weights": weights, "split": split, "fold": fold, "layout": layout, "scans": scans, "device": device}
    ref = run_evaluate(folder, settings, partial, direct=direct, table=table, precision=precision, **options)
    show_evaluation(ref, out, as_json)


def compare_evaluations(
    first: Annotated[str, typer.Argument(help="An evaluation: its ref (evaluation:91c0), or the folder of its page")],
    second: Annotated[str, typer.Argument(help="Another one, of the same scans")],
    bootstraps: Annotated[int, typer.Option(min=10, max=100_000, help="Draws of the scans")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of those draws")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.html")] = None,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Say what differs between two evaluations of the same scans, with a paired bootstrap over the scans."""
    from flows.evaluating import show_comparison
    from flows.settle import use_store

    use_store(store)
    show_comparison(first, second, bootstraps, seed, out, as_json)


def calibrate(
    evaluation: Annotated[str, typer.Argument(help="An evaluation of the weights on their validation split: ref or folder")],
    weights: Annotated[str, typer.Option(help="The weights set that was evaluated")],
    name: Annotated[str, typer.Option("--as", help="What to call the calibrated set: a-z, 0-9, dashes")],
    false_a_scan: Annotated[
        float | None, typer.Option(min=0.01, max=100, help="Also set the nodule threshold to leave so many false findings a scan")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a set of the same name")] = False,
    store: StoreOption = None,
) -> None:
    """Write a weights set whose cards hold the fitted temperatures, so that its probabilities are shares.

    Findings stay the same, their probabilities change. Fit on a validation split, then evaluate on the test split.
    """
    from flows.evaluating import write_calibrated
    from flows.settle import use_store

    use_store(store)
    write_calibrated(evaluation, weights, name, false_a_scan, replace)


def froc(
    submission: Annotated[Path, typer.Argument(help="Marks as CSV: seriesuid, coordX, coordY, coordZ, probability")],
    annotations: Annotations,
    scans: ScanList,
    excluded: Excluded = None,
    bootstraps: Annotated[int, typer.Option(min=1, max=100_000, help="Draws of the scans, for the confidence interval")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of those draws")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the curve: froc.html, froc.md, froc.csv, froc.png")] = None,
    as_json: Json = False,
) -> None:
    """Score marks by LUNA16's official rule: FROC, the sensitivities at 1/8 to 8 false positives a scan, and their mean (CPM).

    A mark hits a nodule whose centre is nearer than its radius; at most 100 marks a scan count; every scan of the list counts.
    """
    from flows.scoring import score_marks

    score_marks(submission, annotations, excluded, scans, bootstraps, seed, out, as_json)


def marks(
    what: Annotated[
        list[str], typer.Argument(help="Reports, findings or evaluations: refs (report:91c0), report.json, or their folders")
    ],
    out: Annotated[Path, typer.Option(help="Where the CSV goes")] = Path("submission.csv"),
    store: StoreOption = None,
) -> None:
    """Write the findings of reports or evaluations as marks, in LUNA16's submission form: what `hounsfield froc` reads.

    A report holds the findings above its least probability; screen with --set measure.min_probability=0.01 for a full curve.
    """
    from flows.scoring import write_marks
    from flows.settle import use_store

    use_store(store)
    write_marks(what, out)
