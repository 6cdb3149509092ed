"""Commands: gc, diff, lineage, doctor. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from flows.options import Json, StoreOption

LISTED = 40


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    app.command()(gc)


def gc(
    limit: Annotated[str | None, typer.Option(help="Remove only until the artifacts take this much: 50GB, 1.5TiB")] = None,
    older_than: Annotated[str | None, typer.Option(help="Leave what is younger: 30d, 12h, 2w")] = None,
    keep_last: Annotated[
        int, typer.Option(min=0, help="Reports kept of each scan, newest first, with all they were made of")
    ] = 1,
    prefect_days: Annotated[
        int | None, typer.Option(min=1, help="Forget Prefect's runs that ended more days ago, with their previews and logs")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing")] = False,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Make space: what no kept run needs goes, oldest first. Never what a run in progress uses.

    Kept are the last report of each scan with all it was made of, trained networks and evaluations. All else is made again by
    the same command that made it.
    """
    from flows.settle import open_store, use_store
    from flows.tidy import collect
    from flows.units import bytes_of, seconds_of

    use_store(store)
    size, age = bytes_of(limit) if limit else None, seconds_of(older_than) if older_than else None
    collected = collect(open_store(), limit=size, older_than_s=age, keep_last=keep_last, dry=dry_run)
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
    rows = collected.rows()
    table = Table(*rows[0], title="all artifacts", title_justify="left")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
    console.print(collected.headline())
