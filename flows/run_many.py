"""What the command line does with the flows over many scans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from artifacts.errors import UsageError
from artifacts.home import find_weights
from flows.console import TerminalWatcher, engine, watching, wide_console
from flows.patience import patient
from flows.settle import open_index, open_store, refreshed, settle, use_store
from tasks.line import Plan
from tasks.stage import Params

if TYPE_CHECKING:
    from flows.archive import ArchivePlan

REASONS = 5  # named a stage


def run_inbox(folders: list[Path], direct: bool, as_json: bool, store: Path | None, **options: Any) -> None:
    """Run the inbox with its lines at the terminal; Prefect is told tokens, never paths."""
    from flows.inbox import inbox

    if options["series"] not in ("best", "all"):
        raise UsageError(f"--series is best or all, not '{options['series']}': one series is screened with `hounsfield screen`")
    use_store(store)
    index = open_index()
    tokens = [index.token(folder) for folder in folders]
    came = run_flow(inbox, direct, folders=tokens, **options)
    print(json.dumps(came) if as_json else came_to(came))


def run_backfill(direct: bool, as_json: bool, store: Path | None, **options: Any) -> None:
    """Every known scan again, with progress and the time left at the terminal."""
    from flows.backfill import backfill

    use_store(store)
    came = run_flow(backfill, direct, **options)
    print(json.dumps(came) if as_json else came_to(came, "the lines above say why", "nothing had to be made"))


def run_flow(flow: Any, direct: bool, **given: Any) -> Any:
    """Through Prefect or without; a server that cannot be reached is one clear line."""
    watcher = TerminalWatcher(Console(stderr=True))
    watching.set(watcher)
    if not direct:
        watcher.say(engine())
        with patient():
            return flow(**given)
    return flow.fn(**given)


def came_to(came: dict[str, int], where: str = "`hounsfield inbox status` says why", nothing: str = "nothing to screen") -> str:
    """``12 done, 1 failed; `hounsfield inbox status` says why``"""
    if not came:
        return nothing
    tail = f"; {where}" if came.keys() - {"done"} else ""
    return ", ".join(f"{n} {state}" for state, n in came.items()) + tail


def plan_archive(
    folder: Path | None,
    params: Mapping[str, Params],
    series: str,
    weights: str,
    device: str,
    precision: str,
    refresh: list[str],
    from_stage: str | None,
    as_json: bool,
) -> None:
    """Print how many of each stage would run for a whole archive, and why. Reads headers, no pixels."""
    from flows.archive import ArchivePlan, known_scans, planned, scans_under

    store, index, checkpoints = open_store(), open_index(), find_weights(weights)
    again, settled = refreshed(refresh, from_stage), settle(device, precision)[1]
    partial = bool(getattr(params.get("load"), "partial", False))
    kernel = checkpoints["nodule"].card.input.kernel
    plan = ArchivePlan()
    scans = scans_under([folder], index, series, kernel, partial, plan.left_out) if folder else known_scans(store, index)
    for _ in planned(scans, lambda digest: Plan(store, digest, checkpoints, params, settled, again), checkpoints, plan):
        pass
    print(json.dumps(plan.as_json(), indent=1)) if as_json else print_plan(plan)


def print_plan(plan: ArchivePlan) -> None:
    console = wide_console(markup=False)
    table = Table("stage", "reuse", "run", "because", title=f"{plan.scans} scans, {plan.due} to screen", title_justify="left")
    for name, about in plan.as_json()["stages"].items():
        why = "; ".join(f"{n} {reason}" for reason, n in list(about["because"].items())[:REASONS])
        table.add_row(name, str(about["reuse"]), str(about["run"]), why)
    console.print(table)
    for reason, n in plan.left_out.most_common(REASONS):
        console.print(f"left out: {n} {reason}", highlight=False)
