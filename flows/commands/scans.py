"""Commands over many scans: inbox, backfill, plan of an archive. Heavy things are imported by the command that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options import Device, Direct, FromStage, Json, Precision, Refresh, Set, StoreOption, Weights

AtOnce = Annotated[int, typer.Option("--at-once", min=0, help="Scans at the same time (default: one for every four cores)")]
LimitMin = Annotated[float, typer.Option("--limit-min", min=0.01, help="Minutes after which a scan's process is ended")]
Dask = Annotated[str | None, typer.Option(help="local: a Dask cluster on this machine; tcp://host:port: one that is there")]

inbox_app = typer.Typer(no_args_is_help=True, help="Folders that fill up: screen what is new, and see how it stands.")


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    app.add_typer(inbox_app, name="inbox")
    app.command()(backfill)
    app.command()(worker)
    app.command()(slots)


@inbox_app.command("run")
def inbox_run(
    folders: Annotated[list[Path], typer.Argument(help="Folder trees of scans: any depth, mixed series, archives")],
    series: Annotated[str, typer.Option(help="Which series of a study: best or all")] = "best",
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: Precision = "auto",
    settings: Set = [],
    quiet: Annotated[float, typer.Option(min=0, help="Seconds that nobody may have touched a study's files for")] = 60.0,
    at_once: AtOnce = 0,
    limit_min: LimitMin = 30.0,
    dask: Dask = None,
    direct: Direct = False,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Screen what is new or changed in these folders, and has arrived whole. The same command again continues.

    A failed scan is tried again later, a refused one when its files change; none stops the rest.
    """
    from flows.run_many import run_inbox

    options: dict[str, Any] = {"series": series, "weights": weights, "device": device, "precision": precision}
    options |= {"settings": settings, "quiet_s": quiet, "at_once": at_once, "limit_min": limit_min, "dask": dask}
    run_inbox(folders, direct, as_json, store, **options)


@inbox_app.command("status")
def inbox_status(as_json: Json = False) -> None:
    """How the inbox stands: counts, last runs, the oldest that waits, what failed or was refused and why."""
    from flows.inbox_status import show_status

    show_status(as_json)


@inbox_app.command("where")
def inbox_where(
    scan: Annotated[
        str, typer.Argument(help="As status or a log names it: a series UID, source-…; or kind:digest of any artifact")
    ],
    store: StoreOption = None,
) -> None:
    """Where a scan lies on this machine. Only here: logs, ledger and UI never name a path."""
    from flows.settle import use_store
    from flows.whereabouts import whereabouts

    use_store(store)
    for path in whereabouts(scan):
        print(path)


def backfill(
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: Precision = "auto",
    settings: Set = [],
    refresh: Refresh = [],
    from_stage: FromStage = None,
    at_once: AtOnce = 0,
    limit_min: LimitMin = 30.0,
    dask: Dask = None,
    direct: Direct = False,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Screen every known scan again with other weights or parameters; only what changes. The same command again continues."""
    from flows.run_many import run_backfill

    options: dict[str, Any] = {"weights": weights, "device": device, "precision": precision, "settings": settings}
    options |= {"refresh": refresh, "from_stage": from_stage, "at_once": at_once, "limit_min": limit_min, "dask": dask}
    run_backfill(direct, as_json, store, **options)


def worker(
    api: Annotated[str, typer.Option(envvar="PREFECT_API_URL", help="The server's address: http://host:4200/api")],
) -> None:
    """Start a further worker for a Prefect server that runs elsewhere, and this machine's GPU slots on it. CTRL-C ends it."""
    from flows.ui import work

    work(api)


def slots(
    api: Annotated[str, typer.Option(envvar="PREFECT_API_URL", help="The server's address: http://host:4200/api")],
) -> None:
    """Make the slots of this machine's GPUs on the Prefect server, one job a GPU. `ui` and `worker` do that by themselves."""
    from flows.slots import make_slots

    print(", ".join(make_slots(api)) or "no GPU here: no slot is needed")
