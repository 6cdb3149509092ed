"""How the inbox stands: counts, last runs, the oldest that waits, what failed; at the terminal, as JSON, and in the UI."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from artifacts.errors import HounsfieldError
from artifacts.home import private_folder, store_folder
from artifacts.known_stores import check_known
from artifacts.ledger import Entry, Ledger, Run
from artifacts.manifest import Damaged
from artifacts.preview_markdown import escaped
from artifacts.publish import shown
from artifacts.store import Ref, Store
from flows.console import wide_console
from flows.inbox_run import goes_on
from flows.progress import duration

REMOVED = "its report was removed: `hounsfield backfill` makes it again"
NAMED = 10  # scans listed one by one
TABLE_ROWS = 500


def status(ledger: Ledger, now: float, going: bool = False) -> dict[str, Any]:
    """As plain values; times are ISO 8601 in UTC. going: whether a run is at work now."""
    waiting = list(ledger.entries("waiting").values())
    failed = sorted(ledger.entries("failed").values(), key=lambda e: e.due_at)
    refused = sorted(ledger.entries("refused").values(), key=lambda e: -e.finished_at)
    done = sorted(ledger.entries("done").values(), key=lambda e: -e.finished_at)
    return {
        "counts": ledger.counts(),
        "oldest_waiting": _scan(min(waiting, key=lambda e: e.first_seen), now) if waiting else None,
        "waiting": [_scan(e, now) for e in waiting],
        "failed": [_scan(e, now) for e in failed],
        "refused": [_scan(e, now) for e in refused],
        "last_done": [_done(e) for e in done[:NAMED]],
        "runs": [_run(r, going and place == 0) for place, r in enumerate(ledger.runs())],
    }


def _scan(e: Entry, now: float) -> dict[str, Any]:
    about: dict[str, Any] = {"scan": e.name, "state": e.state, "why": e.why, "since": _iso(e.first_seen), "tries": e.tries}
    about["waits_s"] = round(max(0.0, now - e.first_seen))
    return about | ({"again_at": _iso(e.due_at)} if e.due_at else {})


def _done(e: Entry) -> dict[str, Any]:
    """What was found stands in the report's summary."""
    reports, found = [r[: r.index(":") + 13] for r in e.reports], ""
    with suppress(HounsfieldError):
        check_known(store_folder())
        store = Store(store_folder())
        refs = _reports(e, store)
        reports = [str(r) for r in refs] or reports
        found = "; ".join(filter(None, (_found(store, r) for r in refs))) if refs else REMOVED
    return {"scan": e.name, "finished": _iso(e.finished_at), "seconds": e.seconds, "reports": reports, "found": found}


def _reports(e: Entry, store: Store) -> list[Ref]:
    """The scan's reports that are there; where a backfill replaced them and gc removed the old ones, its newest."""
    refs = [store.ref(kind, digest) for kind, _, digest in (r.partition(":") for r in e.reports)]
    if not any(map(store.exists, refs)) and e.scan and (newest := store.last_recipe(e.scan, "report")):
        refs = [store.ref("report", newest.digest)]
    return [r for r in refs if store.exists(r)]


def _found(store: Store, ref: Ref) -> str:
    with suppress(HounsfieldError, Damaged):
        return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in store.manifest(ref).summary.items())
    return ""


def _run(r: Run, going: bool) -> dict[str, Any]:
    ended = _iso(r.ended) if r.ended else None
    how = (r.how or "done") if r.ended else "going on" if going else "died; the next run continues it"
    return {"run": r.number, "started": _iso(r.started), "ended": ended, "how": how, "counts": r.counts}


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")


def show_status(as_json: bool) -> None:
    """Print it."""
    from rich.table import Column, Table

    path = private_folder() / "inbox.db"
    if not path.exists():
        print(
            json.dumps({"counts": {}, "runs": []}) if as_json else "The inbox was never looked at: `hounsfield inbox run FOLDER`"
        )
        return
    found = status(Ledger(path), time.time(), goes_on())
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console, scan = wide_console(), lambda: Column("scan", no_wrap=True, overflow="fold")  # whole: to be given to `where`
    console.print("  ".join(f"{state} [bold]{n}[/]" for state, n in found["counts"].items()) or "nothing yet", highlight=False)
    if oldest := found["oldest_waiting"]:
        console.print(f"oldest waiting: {oldest['scan']} for {duration(oldest['waits_s'])}: {oldest['why']}", highlight=False)
    runs = Table("run", "started", "ended", "how", "came to", title="last runs", title_justify="left")
    for r in found["runs"]:
        runs.add_row(str(r["run"]), r["started"], r["ended"] or "", r["how"], _came_to(r))
    console.print(runs)
    done = Table(scan(), "finished", "report", "found", title="last screened", title_justify="left")
    for d in found["last_done"]:
        done.add_row(d["scan"], d["finished"], ", ".join(d["reports"]), d["found"])
    if done.rows:
        console.print(done)
    troubled = Table(scan(), "state", "why", "tries", "again at", title="failed and refused", title_justify="left")
    for e in [*found["failed"], *found["refused"]][:NAMED]:
        troubled.add_row(e["scan"], e["state"], e["why"], str(e["tries"]), e.get("again_at", "when it changes"))
    if troubled.rows:
        console.print(troubled)
    console.print("`hounsfield inbox where SCAN` tells its folder, `hounsfield show REPORT` what was found", highlight=False)


def publish_inbox(ledger: Ledger, run: int) -> None:
    """On the run's page: how the inbox stands, and a row for each scan of this run."""
    from tasks.stage import inside_prefect

    if not inside_prefect():
        return
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    started = next(r.started for r in ledger.runs() if r.number == run)
    rows = [row_of(e) for e in ledger.entries().values() if e.finished_at >= started or e.state == "waiting"]
    rows = rows or [row_of(Entry("none", why="nothing new"))]
    markdown = status_markdown(status(ledger, time.time()))
    shown(create_markdown_artifact, "how it stands", markdown=markdown, key="inbox-status", description="how it stands")
    about = f"the scans of run {run}"
    shown(create_table_artifact, "the inbox's table", table=rows[:TABLE_ROWS], key="inbox", description=about)


def row_of(e: Entry) -> dict[str, Any]:
    reports = ", ".join(r[: r.index(":") + 13] for r in e.reports)
    return {"scan": e.name, "state": e.state, "why": e.why or e.choice, "report": reports, "seconds": round(e.seconds, 1)}


def status_markdown(found: dict[str, Any]) -> str:
    lines = ["### Inbox", "", "| state | scans |", "|---|---|"]
    lines += [f"| {state} | {n} |" for state, n in found["counts"].items()]
    oldest = found["oldest_waiting"]
    waits = f"`{escaped(oldest['scan'])}` for {duration(oldest['waits_s'])}: {escaped(oldest['why'])}" if oldest else "none"
    lines += ["", f"Oldest waiting: {waits}", "", "### Last runs", "", "| run | started | ended | how | came to |"]
    lines += ["|---|---|---|---|---|"]
    for r in found["runs"]:
        lines.append(f"| {r['run']} | {r['started']} | {r['ended'] or ''} | {escaped(r['how'])} | {_came_to(r)} |")
    troubled = [*found["failed"], *found["refused"]][:NAMED]
    if troubled:
        lines += ["", "### Failed and refused", "", "| scan | state | why | tries | again at |", "|---|---|---|---|---|"]
        for e in troubled:
            again = e.get("again_at", "when it changes")
            lines.append(f"| `{escaped(e['scan'])}` | {e['state']} | {escaped(e['why'])} | {e['tries']} | {again} |")
    return "\n".join(lines) + "\n"


def _came_to(run: dict[str, Any]) -> str:
    """Of a run that did not end by itself nobody knows whether there was anything new."""
    counts = ", ".join(f"{n} {state}" for state, n in run["counts"].items())
    return counts or ("nothing new" if run["how"].startswith("done") else "")
