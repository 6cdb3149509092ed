"""What the command line does with the flows: run them with or without Prefect's engine, and show what came out."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from artifacts.errors import HounsfieldError, UsageError
from artifacts.home import find_weights
from artifacts.report import Report
from artifacts.store import Ref, exporting
from flows.console import TerminalWatcher, engine, watching, wide_console
from flows.nodule_line import SLOTS, nodule_line
from flows.patience import patient
from flows.scans import scans_in
from flows.settle import known, open_index, open_store, refreshed, settle, without_paths
from tasks.line import Plan
from tasks.reading.source import check_there
from tasks.stage import Params


def run_screen(
    path: Path, params: Mapping[str, Params], *, direct: bool, **options: Any
) -> tuple[list[Ref], HounsfieldError | None]:
    """Screen ``path`` with progress at the terminal. Prefect is told a token, never the path.

    Returns the reports, and what is to be raised once they are exported, where some series gave none.
    """
    with without_paths():
        check_there(path)
    from flows.screen import NotAllScreened, screen

    settle(options.get("device", "auto"), options.get("precision", "auto"))  # a wrong option ends here, before a server starts
    refreshed(options.get("refresh", ()), options.get("from_stage"))
    find_weights(options.get("weights", "phantom"))
    watcher = TerminalWatcher(Console(stderr=True))
    watching.set(watcher)
    if not direct:
        watcher.say(engine())
    run: Callable[..., list[Ref]] = screen.fn if direct else screen
    try:
        with nullcontext() if direct else patient():
            return run(source=open_index().token(path), **options, **params), None
    except NotAllScreened as e:
        return e.reports, e


def plan_screen(
    path: Path,
    params: Mapping[str, Params],
    series: str,
    weights: str,
    device: str,
    precision: str,
    refresh: list[str],
    from_stage: str | None,
) -> dict[str, list[dict[str, str]]]:
    """Series UID -> its steps: stage, action, because, ref."""
    store, index, checkpoints = open_store(), open_index(), find_weights(weights)
    again = refreshed(refresh, from_stage)
    partial = bool(getattr(params.get("load"), "partial", False))
    kernel = checkpoints["nodule"].card.input.kernel
    plans = {}
    with scans_in(path, index, series=series, kernel=kernel, partial=partial, read=False) as scans:
        for scan in scans:
            plan = Plan(store, scan.digest, checkpoints, params, settle(device, precision)[1], again)
            nodule_line(plan, scan, checkpoints, scan.choice)
            plans[scan.name] = [
                {"stage": s.stage, "action": s.action, "because": s.because, "ref": str(s.ref)} for s in plan.steps
            ]
    return plans


def run_single(
    name: str,
    ref: str,
    params: Mapping[str, Params],
    chosen: dict[str, str],
    direct: bool,
    downstream: bool = False,
    **options: Any,
) -> Ref:
    """One stage alone, or with all that comes after it."""
    from flows import stages

    stage = SLOTS[known(name)]
    watching.set(TerminalWatcher(Console(stderr=True)))
    given = params.get(stage.name) or stage.params()
    settle(options["device"], options["precision"])
    ref = str(open_store().resolve(ref))
    if direct:
        return stages.run_stage(stage, ref, given, chosen=chosen, slot=name, after=downstream, params_after=params, **options)
    if downstream and params.keys() - {stage.name}:
        raise UsageError("--set of a later stage goes with --direct; through Prefect each stage's form holds its own parameters")
    with patient():
        return getattr(stages, name.replace("-", "_"))(ref=ref, params=given, inputs=chosen, downstream=downstream, **options)


def check_out(out: Path | None) -> None:
    """A place where no report can be written ends the command before anything is computed. Raises UsageError, StoreError."""
    if out is None:
        return
    there = next(p for p in (out, *out.absolute().parents) if os.path.lexists(p))
    with exporting(there):
        if not there.is_dir():
            raise NotADirectoryError
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def show_reports(refs: list[Ref], out: Path | None, as_json: bool) -> list[dict[str, Any]]:
    """Export each report to ``out`` and print its findings; JSON on stdout where asked."""
    store, shown = open_store(), []
    for ref in refs:
        scan = store.manifest(ref).scan[:12]
        folder = (out if len(refs) == 1 else out / scan) if out else Path(f"hounsfield-{scan}")
        report: Report = store.open(ref, Report)
        report.export(folder)
        shown.append({"ref": str(ref), "out": str(folder), "report": report.document})
        if not as_json:
            if len(refs) > 1:
                wide_console(markup=False).print(f"\nseries {report.document['series_uid']}", highlight=False, markup=False)
            print_findings(report.document, folder)
    if as_json:
        json.dump(shown, sys.stdout, indent=1)
        print()
    return shown


def print_findings(document: Mapping[str, Any], folder: Path) -> None:
    console = wide_console(markup=False)
    table = Table("#", "LPS x, y, z mm", "⌀ mm", "mm³", "nodule p", "malignant p", "lung", "slice")
    for rank, f in enumerate(document["findings"], 1):
        malignant = "" if f["p_malignant"] is None else f"{f['p_malignant']:.2f}"
        center = ", ".join(f"{v:.0f}" for v in f["center_lps_mm"])
        number = "" if f["slice_number"] is None else str(f["slice_number"])
        row = [center, f"{f['diameter_mm']:.1f}", f"{f['volume_mm3']:.0f}", f"{f['p_nodule']:.3f}", malignant, f["side"], number]
        table.add_row(str(rank), *row)
    console.print(table if document["findings"] else "No nodule found.")
    for q in document["qc"]:
        if q["severity"] != "info":
            console.print(f"{q['severity']}: {q['message']}", style="yellow", highlight=False, markup=False)
    console.print(f"report: {folder / 'report.html'}", highlight=False, markup=False)
    console.print(document["notice"], style="dim")
