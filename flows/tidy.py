"""Tidy: what no kept run needs goes, to a size limit; Prefect's own database forgets old runs. `gc`, and on a schedule."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect.artifacts import create_table_artifact

from artifacts.garbage import Census, Item, census, chosen, remove, size_of, stale_workspaces
from artifacts.store import Store
from flows.console import watcher
from flows.flow import flow
from flows.form import form
from flows.prefect_history import Forgotten, forget_old_runs
from flows.settle import open_store
from flows.units import bytes_of, seconds_of, size_text

WORKSPACE_S = 7 * 24 * 3600.0  # a training run left alone for longer is not taken up again


@dataclass(frozen=True)
class Collected:
    """What a collection removed (or, dry, would have), artifact by artifact, and what is left."""

    dry: bool
    items: list[Item]  # oldest first
    kept_by_runs: int  # that a run in progress named while it went on
    workspaces: int
    before: int  # bytes of all artifacts
    kept: list[Item]
    stays: list[Item]  # not needed, but younger than asked or within the limit
    over: int  # bytes above the limit that cannot go
    in_use: int  # bytes that runs in progress alone hold

    @property
    def freed(self) -> int:
        return sum(i.bytes for i in self.items)

    def rows(self) -> list[dict[str, Any]]:
        """One row a kind, and their sum."""
        kinds = sorted({i.ref.kind for part in (self.items, self.kept, self.stays) for i in part})
        rows = [_row(kind, *([i for i in part if i.ref.kind == kind] for part in self._parts())) for kind in kinds]
        return [*rows, _row("all", *self._parts())]

    def _parts(self) -> tuple[list[Item], list[Item], list[Item]]:
        return self.items, self.stays, self.kept

    def headline(self) -> str:
        verb = "would go" if self.dry else "removed"
        text = f"{len(self.items)} artifacts {verb}, {size_text(self.freed)}; {size_text(self.before - self.freed)} left"
        if self.kept_by_runs:
            text += f"; {self.kept_by_runs} stayed because a run uses them"
        if self.workspaces:
            text += f"; {self.workspaces} abandoned work folders {verb}"
        if self.over:
            text += f"; still {size_text(self.over)} above the limit: {self._held()}"
        return text

    def _held(self) -> str:
        """By what the rest is held."""
        runs = f"runs in progress use {size_text(self.in_use)}" if self.in_use else ""
        needed = sum(i.bytes for i in self.kept) - self.in_use
        kept = f"what is kept needs {size_text(needed)} (--keep-last keeps fewer runs)" if needed else ""
        return ", ".join(filter(None, (runs, kept))) or "more was made meanwhile"

    def as_json(self) -> dict[str, Any]:
        items = [{"ref": str(i.ref), "digest": i.ref.digest, "bytes": i.bytes, "made_at": day(i.made_at)} for i in self.items]
        about = {k: v for k, v in asdict(self).items() if k not in ("items", "kept", "stays")}
        return {**about, "freed": self.freed, "left": self.before - self.freed, "items": items, "kinds": self.rows()}


def collect(
    store: Store,
    *,
    limit: int | None = None,
    older_than_s: float | None = None,
    keep_last: int = 1,
    crops: bool = False,
    dry: bool = False,
    each: Callable[[int, int], None] = lambda _done, _of: None,
) -> Collected:
    """Remove the garbage of ``store``, oldest first. limit: bytes at which to stop; older_than_s: leave what is younger;
    crops: what training reads too."""
    counted: Census = census(store, keep_last, crops)
    before = time.time() - older_than_s if older_than_s is not None else None
    going = chosen(counted, limit, before)
    stale = stale_workspaces(store, time.time() - WORKSPACE_S)
    gone: list[Item] = []
    for number, item in enumerate(going, 1):
        if dry or remove(store, item, counted.since):
            gone.append(item)
        each(number, len(going))
    if not dry:
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
    taken = {i.ref.digest for i in going}
    left = counted.bytes - sum(i.bytes for i in gone)
    return Collected(
        dry=dry,
        items=gone,
        kept_by_runs=len(going) - len(gone),
        workspaces=len(stale),
        before=counted.bytes,
        kept=counted.kept,
        stays=[i for i in counted.garbage if i.ref.digest not in taken],
        over=max(left - limit, 0) if limit is not None and before is None else 0,
        in_use=counted.in_use,
    )


@flow("tidy")
def tidy(
    limit: Annotated[
        str | None, form("Limit", "Stop when the store's artifacts take this much: 50GB; empty: all garbage goes")
    ] = None,
    older_than: Annotated[str | None, form("Older than", "Leave what is younger: 30d, 12h")] = None,
    keep_last: Annotated[int, form("Keep last", "Reports kept of each scan, with all they were made of", ge=0, le=1000)] = 1,
    crops: Annotated[bool, form("Crops", "Also what training reads; the next training cuts it again from the scans")] = False,
    prefect_days: Annotated[
        int | None,
        form("Prefect days", "Forget Prefect's runs that ended longer ago, with their pages; empty: none", ge=1, le=3650),
    ] = None,
    dry_run: Annotated[bool, form("Dry run", "Say what would go; remove nothing")] = False,
) -> dict[str, Any]:
    """Make space: what no kept run needs goes, oldest first; never what a run in progress uses."""
    store = open_store()
    collected = collect(
        store,
        limit=bytes_of(limit) if limit else None,
        older_than_s=seconds_of(older_than) if older_than else None,
        keep_last=keep_last,
        crops=crops,
        dry=dry_run,
    )
    watcher().say(collected.headline())
    create_table_artifact(collected.rows(), key="tidy", description=collected.headline())
    result: dict[str, Any] = {"artifacts": len(collected.items), "bytes": collected.freed}
    if prefect_days:
        forgotten: Forgotten = forget_old_runs(prefect_days, dry_run)
        watcher().say(forgotten.headline())
        result["prefect_runs"] = forgotten.runs
    return result


def disk(store: Store) -> dict[str, int]:
    """Bytes: of the store's folder, and free and total of its disk."""
    usage = shutil.disk_usage(store.root)
    return {"store": size_of(store.root), "free": usage.free, "total": usage.total}


def day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes") if at else "unknown"


def _row(kind: str, going: Iterable[Item], stays: Iterable[Item], kept: Iterable[Item]) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": kind}
    for name, part in (("going", list(going)), ("staying", list(stays)), ("needed", list(kept))):
        row |= {name: len(part), f"{name}, size": size_text(sum(i.bytes for i in part))}
    return row
