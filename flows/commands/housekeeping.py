"""Commands: gc, diff, lineage, doctor. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options import Direct, Json, StoreOption

LISTED = 40


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    app.command()(gc)
    app.command()(diff)
    app.command()(lineage)
    app.command()(doctor)


def gc(
    limit: Annotated[str | None, typer.Option(help="Remove only until the artifacts take this much: 50GB, 1.5TiB")] = None,
    older_than: Annotated[str | None, typer.Option(help="Leave what is younger: 30d, 12h, 2w")] = None,
    keep_last: Annotated[
        int, typer.Option(min=0, help="Reports kept of each scan, newest first, with all they were made of")
    ] = 1,
    crops: Annotated[
        bool, typer.Option("--crops", help="Also what training reads; the next training cuts it again from the scans")
    ] = False,
    prefect_days: Annotated[
        int | None, typer.Option(min=1, help="Forget Prefect's runs that ended more days ago, with their previews and logs")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing")] = False,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Make space: what no kept run needs goes, oldest first. Never what a run in progress uses.

    Kept are the last report of each scan with all it was made of, trained networks and evaluations, and what training reads, as
    it was last cut of each scan. All else is made again by the same command that made it.
    """
    from flows.settle import open_store, use_store
    from flows.tidy import collect
    from flows.units import bytes_of, seconds_of

    use_store(store)
    size, age = bytes_of(limit) if limit else None, seconds_of(older_than) if older_than else None
    collected = collect(open_store(), limit=size, older_than_s=age, keep_last=keep_last, crops=crops, dry=dry_run)
    shown: dict[str, Any] = collected.as_json()
    if not as_json:
        print_collected(collected)
    if prefect_days:
        from flows.prefect_history import forget_old_runs

        forgotten = forget_old_runs(prefect_days, dry_run)
        shown["prefect"] = {"runs": forgotten.runs, "previews": forgotten.pages}
        if not as_json:
            print(forgotten.headline())
    if as_json:
        print(json.dumps(shown, indent=1))


def print_collected(collected: Any) -> None:
    from rich.table import Table

    from flows.console import wide_console
    from flows.tidy import day
    from flows.units import size_text

    console = wide_console()
    verb = "would go" if collected.dry else "gone"
    if collected.items:
        table = Table("artifact", "made", "size", title=f"{verb}, oldest first", title_justify="left")
        for item in collected.items[:LISTED]:
            damaged = " (damaged)" if item.damaged else ""
            table.add_row(f"{item.ref}{damaged}", day(item.made_at), size_text(item.bytes))
        console.print(table)
        if len(collected.items) > LISTED:
            console.print(f"… and {len(collected.items) - LISTED} more (--json lists all)")
    print_rows(collected.rows(), "all artifacts")
    console.print(collected.headline())


def diff(
    before: Annotated[
        str, typer.Argument(help="A report or findings (kind:digest), or weights: a set's name, a checkpoint's digest")
    ],
    after: Annotated[str, typer.Argument(help="The other one")],
    settings: Annotated[list[str], typer.Option("--set", help="PARAMETER=VALUE: match_mm=8, moved_mm=2, shift=0.05")] = [],
    as_json: Json = False,
    direct: Direct = False,
    store: StoreOption = None,
) -> None:
    """What two screenings say differently: findings that appeared, vanished, moved, and probabilities that shifted.

    Two runs of one scan; or two weights sets, over every scan that was screened with both.
    """
    from rich.console import Console

    from flows.console import TerminalWatcher, watching
    from flows.diff import diff as flow
    from flows.diff import overview, shown
    from flows.patience import patient
    from flows.settle import open_store, use_store
    from tasks.compare import compare
    from tasks.line import parse_params

    use_store(store)
    params = parse_params({"compare": compare}, [s if s.startswith("compare.") else f"compare.{s}" for s in settings])
    watching.set(TerminalWatcher(Console(stderr=True)))
    given: Any = params.get("compare") or compare.params()
    with nullcontext() if direct else patient():
        refs = (flow.fn if direct else flow)(before, after, given)
    opened = open_store()
    comparisons = [shown(opened, ref) for ref in refs]
    if as_json:
        print(json.dumps(comparisons, indent=1))
        return
    for ref, comparison in zip(refs, comparisons, strict=True):
        print_comparison(ref, comparison)
    if len(refs) > 1:
        print_rows(overview(opened, refs), "all scans")


def lineage(
    ref: Annotated[str, typer.Argument(help="kind:digest (a prefix will do), report:digest#3, scan:digest; forward also a path")],
    forward: Annotated[bool, typer.Option("--forward", help="All that was made of it")] = False,
    finding: Annotated[
        int | None, typer.Option(min=1, help="Number of a finding of the report: the same as report:digest#3")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the drawing to this PNG file")] = None,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """From a finding back to its voxels, weights, parameters and code; from a scan forward to all that was made of it."""
    from flows.settle import open_store, use_store
    from flows.trace import trace
    from flows.trace_console import print_lineage, scan_at

    use_store(store)
    if Path(ref).exists() and not (Path(ref) / "manifest.json").is_file():
        ref, forward = scan_at(Path(ref)), True
    traced = trace(open_store(), ref, rank=finding, forward=forward or ref.startswith("scan:"))
    if picture:
        picture.write_bytes(traced.picture())
    if as_json:
        print(json.dumps(traced.as_json(), indent=1))
    else:
        print_lineage(traced)


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte of the store, not only names and sizes")] = False,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Look over Python, torch, store, space, weights, Prefect's server, deployments and worker; say what mends what is wrong.

    Ends with 0 where nothing is bad, else with the exit code of the first bad line (5 weights, 6 store, 7 server).
    """
    from flows.doctor import as_json as in_json
    from flows.doctor import examine, exit_code
    from flows.settle import use_store

    use_store(store)
    lines = examine(deep)
    if as_json:
        print(in_json(lines))
    else:
        print_health(lines)
    raise typer.Exit(exit_code(lines))


def print_health(lines: list[Any]) -> None:
    from flows.console import wide_console

    console, colors = wide_console(), {"ok": "green", "warn": "yellow", "bad": "red"}
    for line in lines:
        console.print(f"[{colors[line.state]}]{line.state:<5}[/]", end="", highlight=False)
        console.print(f"{line.what:<13} {line.text}", highlight=False, markup=False)
        if line.mend and line.state != "ok":
            console.print(f"{'':<19}→ {line.mend}", highlight=False, markup=False)


def print_comparison(ref: Any, comparison: dict[str, Any]) -> None:
    from artifacts.comparison import Comparison
    from artifacts.comparison_pictures import change_row
    from flows.console import wide_console

    console = wide_console()
    console.print(f"[bold]{comparison['ref']}[/]  {comparison['headline']}", highlight=False)
    for line in comparison["differs"]:
        console.print(f"  differs: {line}", highlight=False, markup=False)
    rows = [change_row(c) for c in Comparison.read(ref.path).changes]
    if rows:
        print_rows(rows, "findings")
    console.print(f"pictures: {ref.path / 'preview.md'}", highlight=False, markup=False)


def print_rows(rows: list[dict[str, Any]], title: str) -> None:
    """A table whose columns are the first row's."""
    from rich.table import Table

    from flows.console import wide_console

    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*("" if v is None else str(v) for v in row.values()))
    wide_console(markup=False).print(table)
