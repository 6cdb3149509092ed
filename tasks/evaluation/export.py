"""An evaluation as files: evaluation.html for people, JSON and CSV for programs, the ledger of errors with its pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artifacts.evaluation import Evaluation, Row
from artifacts.store import exporting, write_whole
from tasks.evaluation.marks import Marks, marks_of, submission_csv
from tasks.evaluation.page import Gallery, page

MOST_SHOWN = 60  # pictures of each kind in the page
NOTES = (
    "FROC by LUNA16's rule: a finding hits a nodule whose centre is nearer than its radius; the most probable one counts, others "
    "on it are ignored; what lies on excluded findings is ignored; the rest is false. All scans count, those without a nodule "
    "too; at most 100 findings a scan. CPM is the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a scan; "
    "ranges are the 2.5 and 97.5 percentiles over draws of the scans.",
    "A missed nodule is put down to the first stage after which it was no longer there. outline: less than half of it lies in "
    "the outlined lungs; segment: nothing in it is suspicious; group: no candidate lies in it; classify: its candidate was "
    "called no nodule; measure: its candidate was taken for another finding; threshold: its finding is not above the threshold.",
    "Malignancy is judged on nodules that were found and whose nature is known; diameter alone is the annotated diameter. "
    "Calibration: ECE is the expected calibration error in 15 bins; after temperature scaling each fold of scans is scaled by "
    "the temperature of the others.",
)


def export(evaluation: Evaluation, folder: Path) -> None:
    """Write the page, the tables and the ledger of errors into ``folder`` (made if missing).

    evaluation.html; evaluation.json and pictures/, which ``Evaluation.read`` reads back; scans, nodules, missed, findings,
    false_findings as CSV; submission.csv in LUNA16's form.
    """
    e = evaluation
    with exporting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        e.write(folder)
        tables = {"scans": e.scans, "nodules": e.nodules, "missed": e.missed, "findings": e.marks, "false_findings": e.false}
        for name, rows in tables.items():
            write_whole(folder / f"{name}.csv", as_csv(rows))
        write_whole(folder / "submission.csv", submission_csv(submission_of(e)))
        write_whole(folder / "evaluation.html", evaluation_page(e))


def submission_of(e: Evaluation) -> Marks:
    """Every finding of every scan as a mark."""
    return marks_of([m["uid"] for m in e.marks], [m["center_lps_mm"] for m in e.marks], [m["p_nodule"] for m in e.marks])


def evaluation_page(e: Evaluation) -> str:
    """The one page of results, self-contained."""
    preview = e.preview()
    preview.pictures = e.charts()
    return page("Evaluation", preview, NOTES, galleries(e))


def galleries(e: Evaluation) -> list[Gallery]:
    """The ledger of errors: missed nodules, largest first, and false findings, most probable first, each to look at."""
    missed = [(_missed(n), e.pictures[n["picture"]]) for n in e.missed if n["picture"] in e.pictures]
    false = [(_false(m), e.pictures[m["picture"]]) for m in e.false if m["picture"] in e.pictures]
    return [
        Gallery(title, rows[:MOST_SHOWN], len(all_of_them))
        for title, rows, all_of_them in (("Missed nodules", missed, e.missed), ("False findings", false, e.false))
        if all_of_them
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a row under a line of names; a centre as coordX, coordY, coordZ."""
    flat = [_flat(r) for r in rows]
    names = list(dict.fromkeys(n for r in flat for n in r))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, value in row.items():
        if name == "center_lps_mm":
            cells |= {f"coord{axis}": round(v, 4) for axis, v in zip("XYZ", value, strict=True)}
        else:
            text = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
            cells[name] = "" if value is None else f"'{value}" if text else value  # a spreadsheet would run a formula
    return cells


def _missed(n: Row) -> str:
    nature = {True: "malignant", False: "benign", None: ""}[n["malignant"]]
    form = ", ".join(w for w in (n["kind"], n["margin"], n["place"], nature) if w)
    p = "no candidate" if n["p_nodule"] is None else f"p {n['p_nodule']:.3f}"
    return f"{n['diameter_mm']:.1f} mm{', ' if form else ''}{form}; lost by {n['lost_by']}; {p}; {_where(n)}"


def _false(m: Row) -> str:
    return f"p {m['p_nodule']:.3f}, {m['diameter_mm']:.1f} mm; {_where(m)}"


def _where(row: Row) -> str:
    scan = f"…\u2060{row['uid'][-8:]}"  # a word joiner: no line breaks here
    return f"LPS {', '.join(f'{v:.0f}' for v in row['center_lps_mm'])} in {scan}"
