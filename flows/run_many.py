"""What the command line does with the flows over many scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from artifacts.errors import UsageError
from flows.console import TerminalWatcher, watching
from flows.run import answered
from flows.settle import open_index, use_store


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
    print(json.dumps(came) if as_json else came_to(came, "the lines above say why"))


def run_flow(flow: Any, direct: bool, **given: Any) -> Any:
    """Through Prefect or without; a server that cannot be reached is one clear line."""
    watcher = TerminalWatcher(Console(stderr=True))
    watching.set(watcher)
    if not direct:
        watcher.say("through Prefect (its embedded server takes some seconds to start; --direct does without)")
    with answered():
        return flow.fn(**given) if direct else flow(**given)


def came_to(came: dict[str, int], where: str = "`hounsfield inbox status` says why") -> str:
    """``12 done, 1 failed; `hounsfield inbox status` says why``"""
    if not came:
        return "nothing new"
    tail = f"; {where}" if came.keys() - {"done"} else ""
    return ", ".join(f"{n} {state}" for state, n in came.items()) + tail
