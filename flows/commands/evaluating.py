"""Commands: FROC, evaluation, calibration. Heavy things are imported by the command that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.options import Json, StoreOption

Annotations = Annotated[Path, typer.Option(help="annotations.csv: seriesuid, coordX, coordY, coordZ, diameter_mm (LPS mm)")]
Excluded = Annotated[Path | None, typer.Option(help="annotations_excluded.csv: marks on these are ignored; diameter may be -1")]
ScanList = Annotated[Path, typer.Option("--scans", help="seriesuids.csv: every scan that was read, also those without a nodule")]


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    app.command()(froc)
    app.command()(marks)


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
    what: Annotated[list[str], typer.Argument(help="Reports: refs (report:91c0), findings refs, report.json, or report folders")],
    out: Annotated[Path, typer.Option(help="Where the CSV goes")] = Path("submission.csv"),
    store: StoreOption = None,
) -> None:
    """Write the findings of reports as marks, in LUNA16's submission form: what `hounsfield froc` reads.

    A report holds the findings above its least probability; screen with --set measure.min_probability=0.01 for a full curve.
    """
    from flows.scoring import write_marks
    from flows.settle import use_store

    use_store(store)
    write_marks(what, out)
