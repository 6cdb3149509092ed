"""Inbox: folders that fill up, screened: what is new or changed, and has arrived whole. For every night, or every ten minutes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from artifacts.home import find_weights, private_folder
from artifacts.ledger import Entry, Ledger
from artifacts.private_index import PrivateIndex, signature
from artifacts.store import Store
from flows.console import watcher
from flows.flow import flow
from flows.form import Device, PrecisionField, Weights, form
from flows.inbox_policy import Due, Policy, decide, in_hand, retry_after_s
from flows.inbox_run import only_run, written_down
from flows.inbox_status import publish_inbox
from flows.many import LIMIT_S, Crew, each
from flows.nodule_line import STAGES
from flows.progress import Progress
from flows.scan_job import Job, Result, Settings
from flows.settle import open_index, open_store, settle
from tasks.line import parse_params
from tasks.reading.header_index import LAYOUT, HeaderIndex, Look
from tasks.reading.read import READER

Folders = Annotated[
    list[str],
    form("Folders", "Folder trees that fill up, or the source-… tokens that the command line makes of them", min_length=1),
]
OnePolicy = Annotated[
    Literal["best", "all"], form("Series", "Which series of a study: best (thinnest slices, then the weights' kernel), or all")
]
Assignments = Annotated[list[str], form("Parameters", "STAGE.PARAMETER=VALUE, any number: group.threshold=0.4")]
QuietS = Annotated[
    float,
    form("Quiet for, s", "A study is screened once nobody has touched its files for so many seconds", ge=0, le=86_400),
]
AtOnce = Annotated[int, form("At once", "Scans at the same time; 0: one for every four cores", ge=0, le=1000)]
LimitMin = Annotated[float, form("Time limit, min", "A scan that takes longer is ended, and counts as failed", gt=0, le=1440)]
Dask = Annotated[
    str | None,
    form("Dask", "Empty: processes of this machine; local: a Dask cluster on it; tcp://host:port: one that is there"),
]


@flow("inbox")
def inbox(
    folders: Folders,
    series: OnePolicy = "best",
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: PrecisionField = "auto",
    settings: Assignments = [],
    quiet_s: QuietS = 60.0,
    at_once: AtOnce = 0,
    limit_min: LimitMin = LIMIT_S / 60,
    dask: Dask = None,
) -> dict[str, int]:
    """Screen what is new in folders that fill up. One bad scan never stops the rest; the ledger says what became of each.

    Waits for files that are still arriving, tries failed scans again later, refused ones when they change. A run that died is
    continued by the next. Returns how many scans came to what in this run.
    """
    crew = Crew(at_once, limit_min * 60, dask)
    index, ledger = open_index(), Ledger(private_folder() / "inbox.db")
    came: Counter[str] = Counter()
    notes: list[str] = []
    with only_run(), written_down(ledger, came, notes) as run:
        store = open_store()
        given = settings_for(store, weights, device, precision, settings)
        policy = Policy(series, kernel_of(weights), partial_of(given), quiet_s, fingerprint(given, series))
        headers = HeaderIndex(private_folder() / "headers", index.token)
        look = headers.look([index.path(f) for f in folders])
        decided = decide(look, ledger.entries(), headers, policy, time.time())
        ledger.put(*decided.written)
        ledger.drop(*decided.dropped)
        watcher().say(looked(look, len(decided.due), ledger.counts()))
        notes += vanished(look, index)
        rows = ledger.entries("due")
        came.update(e.state for e in decided.written if e.state == "refused")  # by their headers alone
        progress = Progress("inbox", len(decided.due), crew.settled)
        with given_back(ledger):
            for result in each(_jobs(in_hand(decided, rows, look, headers), given, series, index, ledger), crew):
                entry = came_to(rows[result.name], result, given, time.time())
                ledger.put(entry)
                _remember(index, result, look.seen[result.name].folders)
                came[entry.state] += 1
                progress.step(f"{entry.name}: {entry.state}{f': {entry.why}' if entry.why else ''}", result.seconds)
    publish_inbox(ledger, run)
    return dict(came)


@contextmanager
def given_back(ledger: Ledger) -> Iterator[None]:
    """What a cancelled run had in hand is not to blame: it is due again, without waiting, and no try of it counts."""
    try:
        yield
    except BaseException:
        ledger.put(*(replace(e, state="due", tries=max(e.tries - 1, 0)) for e in ledger.entries("running").values()))
        raise


def settings_for(
    store: Store, weights: str, device: str, precision: str, settings: Iterable[str], refresh: frozenset[str] = frozenset()
) -> Settings:
    """What every scan of the run is screened with, settled before the first: a wrong option ends here."""
    settle(device, precision) if device != "auto" else None
    params = parse_params(STAGES, list(settings))
    return Settings(
        weights=weights,
        checkpoints={role: c.digest for role, c in find_weights(weights).items()},
        store=str(store.root),
        store_id=store.identity,
        params={name: p.model_dump(mode="json") for name, p in params.items()},
        device=device,
        precision=precision,
        refresh=refresh,
    )


def kernel_of(weights: str) -> Any:
    return find_weights(weights)["nodule"].card.input.kernel


def partial_of(given: Settings) -> bool:
    return bool(given.params.get("load", {}).get("partial", False))


def fingerprint(given: Settings, series: str) -> str:
    """Of what decides whether a scan is refused: parameters, series policy, what reads and judges it; not the weights."""
    decides = [given.params, series, LAYOUT, dict(given.versions)]
    return hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=8).hexdigest()


def looked(look: Look, due: int, counts: dict[str, int]) -> str:
    closed = f", {look.closed} folders cannot be read" if look.closed else ""
    later = {"waiting": "still arriving", "failed": "failed and tried again later"}
    rest = "".join(f", {counts[state]} {what}" for state, what in later.items() if counts.get(state))
    return f"{len(look.seen)} series in {look.folders} folders ({look.opened} headers read{closed}); {due} to screen{rest}"


def vanished(look: Look, index: PrivateIndex) -> list[str]:
    """A line a folder of which everything went at once, said and kept: emptied by somebody, or a disk that is not there."""
    away = "have gone since the last look: moved away, or is a disk not mounted?"
    lines = [f"all {n} series of {index.token(root)} {away}" for root, n in look.emptied.items()]
    for line in lines:
        watcher().say(line)
    return lines


def _jobs(dues: Iterator[Due], given: Settings, series: str, index: PrivateIndex, ledger: Ledger) -> Iterator[Job]:
    """Each is written down as in hand before it is handed out."""
    for due in dues:
        entry = replace(due.entry, state="running", tries=due.entry.tries + 1)
        ledger.put(entry)
        due.entry.tries = entry.tries
        if due.found is None:
            yield Job(entry.name, given, source=due.seen.folders[0], series=series)
        else:
            known = index.scan_digest(signature(due.found.files, Path(), READER))
            yield Job(entry.name, given, entry.choice, found=due.found, digest=known)


def came_to(entry: Entry, result: Result, given: Settings, now: float) -> Entry:
    """The ledger's row after the scan."""
    row = replace(entry, state=result.state, why=result.why, choice=result.choice or entry.choice, seconds=result.seconds)
    row = replace(row, finished_at=now, reports=result.reports, weights=given.weights, due_at=0.0)
    if result.state == "failed":
        return replace(row, due_at=now + retry_after_s(entry.tries))
    return replace(row, scan=result.scans[-1][1] if result.scans else entry.scan)


def _remember(index: PrivateIndex, result: Result, folders: tuple[Path, ...]) -> None:
    """What was read need not be read again, and is found again from its digest."""
    source = folders[0] if len(folders) == 1 else Path(os.path.commonpath(folders))
    for mark, digest, uid in result.scans:
        index.remember_scan(mark, digest, source, uid)
