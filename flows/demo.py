"""The demo: a phantom chest as a real DICOM series, screened, and compared with its truth."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from artifacts.errors import InputError
from flows.console import wide_console


def make_series(folder: Path, seed: int, small: bool = False) -> Path:
    """Write phantom ``seed`` as DICOM into ``folder``/series and its truth into ``folder``/truth.csv; returns the series."""
    from tasks.phantom import make_phantom
    from tasks.phantom.dicom import write_dicom_series, write_truth_csv

    series, unfinished = folder / "series", folder / ".series-being-written"
    if series.exists():
        raise InputError("the folder already holds a series: give another, or remove it first", private=str(series))
    shutil.rmtree(unfinished, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    phantom = make_phantom(seed, small=small)
    write_dicom_series(phantom.volume, unfinished, patient_name=f"PHANTOM^SEED-{seed}")
    write_truth_csv(phantom, folder / "truth.csv")
    unfinished.rename(series)
    return series


def run_demo(seed: int, out: Path, direct: bool) -> None:
    """Make, screen, compare; ends with where to look."""
    from flows.run import run_screen, show_reports

    console = wide_console()
    folder = out / f"phantom-{seed}"
    series = folder / "series"
    if not series.exists():
        console.print(f"making phantom {seed} as a DICOM series …")
        make_series(folder, seed)
    refs, _ = run_screen(series, {}, direct=direct)
    reports = show_reports(refs, folder / "report", as_json=False)
    with (folder / "truth.csv").open() as f:
        truth = list(csv.DictReader(f))
    console.print(compared(truth, reports[0]["report"]["findings"]))
    console.print(f"\nHTML report:  {(folder / 'report' / 'report.html').absolute()}", highlight=False, markup=False)
    console.print(f"artifact:     hounsfield show {reports[0]['ref']}", highlight=False)
    console.print("this run in the Prefect UI: `make ui`, then http://127.0.0.1:4200/runs", highlight=False)


def compared(truth: Sequence[Mapping[str, str]], findings: Sequence[Mapping[str, Any]]) -> Table:
    """The phantom's nodules beside the findings: each nodule with the nearest finding within its radius (at least 5 mm)."""
    table = Table("true nodule at", "⌀ mm", "found", "⌀ mm", "p", "off by mm", title="the phantom's truth, and what was found")
    left = list(findings)
    for row in truth:
        at = [float(row[c]) for c in ("coordX", "coordY", "coordZ")]
        size = float(row["diameter_mm"])
        near = min(left, key=lambda f: math.dist(at, f["center_lps_mm"]), default=None)
        cells = [", ".join(f"{v:.0f}" for v in at), f"{size:.1f}"]
        if near is not None and math.dist(at, near["center_lps_mm"]) <= max(size / 2, 5):
            left.remove(near)
            off = f"{math.dist(at, near['center_lps_mm']):.1f}"
            cells += ["yes", f"{near['diameter_mm']:.1f}", f"{near['p_nodule']:.3f}", off]
        else:
            cells += ["[red]no[/]", "", "", ""]
        table.add_row(*cells)
    for f in left:
        at_text = ", ".join(f"{v:.0f}" for v in f["center_lps_mm"])
        table.add_row("none", "", f"[yellow]false[/] {at_text}", f"{f['diameter_mm']:.1f}", f"{f['p_nodule']:.3f}", "")
    return table
