"""What `hounsfield froc` and `hounsfield marks` do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artifacts.errors import InputError, StoreError
from artifacts.evaluation import Evaluation
from artifacts.findings import Findings
from artifacts.report import Report
from artifacts.store import Ref, Store, exporting
from flows.console import wide_console
from flows.evaluate import read_evaluation
from flows.settle import open_store
from tasks.evaluation.export import submission_of
from tasks.evaluation.froc import RATES, Froc
from tasks.evaluation.froc import froc as froc_of
from tasks.evaluation.marks import Marks, marks_of, read_nodules, read_scans, read_submission, write_submission


def score_marks(
    submission: Path,
    annotations: Path,
    excluded: Path | None,
    scans: Path,
    bootstraps: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Read the tables, say what was odd, print the score; the curve goes into ``out``."""
    marks, nodules = read_submission(submission), read_nodules(annotations, excluded)
    uids, said = read_scans(scans)
    score = froc_of(marks, nodules, uids, bootstraps=bootstraps, seed=seed)
    for line in [*marks.said, *nodules.said, *said, *score.said]:
        print(f"note: {line}", file=sys.stderr)
    if out:
        from tasks.evaluation.froc_page import write_curve

        write_curve(score, out)
    if as_json:
        print(json.dumps(score.as_json(), allow_nan=False))
    else:
        print_score(score)
        if out:
            print(f"curve: {out / 'froc.html'}")


def print_score(score: Froc) -> None:
    from rich.table import Table

    found = score.tp + score.fn
    table = Table("false positives a scan", *(f"{r:g}" for r in RATES), "CPM")
    table.add_row("sensitivity", *(f"{s:.4f}" for s in score.sensitivities), f"{score.cpm:.4f}")
    spans = [*zip(score.low, score.high, strict=True), (score.cpm_low, score.cpm_high)]
    table.add_row("95 % of draws", *(f"{low:.3f}-{high:.3f}" for low, high in spans))
    console = wide_console(markup=False)
    console.print(table)
    console.print(
        f"{score.tp} of {found} nodules found in {score.scans} scans, {score.fp} false positives, {score.ignored} marks on "
        f"excluded findings ignored, {score.doubles} further marks on found nodules",
        highlight=False,
    )


def write_marks(what: Sequence[str], out: Path) -> None:
    store = open_store()
    parts = [_marks_in(store, text) for text in what]
    series = [s for part in parts for s in part.series.tolist()]
    centers = [c for part in parts for c in part.center_lps_mm.tolist()]
    probability = [p for part in parts for p in part.probability.tolist()]
    with exporting(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_submission(out, marks_of(series, centers, probability))
    print(f"{len(probability)} marks in {len(set(series))} scans: {out}")


def _marks_in(store: Store, text: str) -> Marks:
    path = Path(text)
    if (path / "evaluation.json").is_file():
        return submission_of(read_evaluation(text))
    if path.is_file() or (path / "report.json").is_file():
        return _of_document(_document(path if path.is_file() else path / "report.json"))
    ref = store.resolve(text)
    if ref.kind == Report.kind:
        return _of_document(store.open(ref, Report).document)
    if ref.kind == Findings.kind:
        found = store.open(ref, Findings).findings
        return marks_of([_series(store, ref)] * len(found), [f.center_lps_mm for f in found], [f.p_nodule for f in found])
    if ref.kind == Evaluation.kind:
        return submission_of(store.open(ref, Evaluation))
    raise InputError(f"{ref} holds no findings: give reports, findings or evaluations: refs, report.json, or their folders")


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["series_uid"], document["findings"]
        return document
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError("this is no report: give the report.json that `hounsfield screen` writes", private=str(path)) from e


def _of_document(document: dict[str, Any]) -> Marks:
    found = document["findings"]
    uid = [document["series_uid"]] * len(found)
    return marks_of(uid, [f["center_lps_mm"] for f in found], [f["p_nodule"] for f in found])


def _series(store: Store, ref: Ref) -> str:
    for manifest in store.lineage(ref):
        if manifest.kind == "volume":
            return str(manifest.summary["series"])
    raise StoreError(f"the volume that {ref} was made of is gone: screen the scan again")
