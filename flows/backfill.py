"""Backfill: every known scan again with new weights or parameters; only what changes. Stopped at any time, it goes on there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from artifacts.home import find_weights
from artifacts.private_index import PrivateIndex
from artifacts.publish import shown
from artifacts.store import Store
from flows.archive import ArchivePlan, KnownScan, known_scans, planned
from flows.console import watcher
from flows.flow import flow
from flows.form import Device, FromStage, PrecisionField, Refresh, Weights
from flows.inbox import Assignments, AtOnce, Dask, LimitMin, settings_for
from flows.many import LIMIT_S, Crew, each
from flows.nodule_line import STAGES
from flows.progress import Progress
from flows.scan_job import Job, Result, Settings
from flows.settle import open_index, open_store, refreshed, settle
from tasks.line import Plan, parse_params
from tasks.stage import inside_prefect

TABLE_ROWS = 500


@flow("backfill")
def backfill(
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: PrecisionField = "auto",
    settings: Assignments = [],
    refresh: Refresh = [],
    from_stage: FromStage = None,
    at_once: AtOnce = 0,
    limit_min: LimitMin = LIMIT_S / 60,
    dask: Dask = None,
) -> dict[str, int]:
    """Screen every scan that was ever screened once more, with these weights and parameters; stages that are whole are reused.

    A scan for which nothing would change is not touched. Run again, it goes on where it stopped. Returns how many came to what.
    """
    crew = Crew(at_once, limit_min * 60, dask)
    store, index = open_store(), open_index()
    again = refreshed(refresh, from_stage)
    given = settings_for(store, weights, device, precision, settings, again)
    plan = ArchivePlan()
    due = list(_due(store, index, given, settings, plan))
    watcher().say(f"{plan.scans} known scans: {plan.due} to screen again, {plan.scans - plan.due} are as they would be")
    came: Counter[str] = Counter()
    troubled: list[Result] = []
    progress = Progress("backfill", len(due), crew.settled)
    for result in each(_jobs(due, given), crew):
        came[result.state] += 1
        if result.state != "done":
            troubled.append(result)
        progress.step(f"{result.name}: {result.state}{f': {result.why}' if result.why else ''}", result.seconds)
    _publish(plan, came, troubled)
    return dict(came)


def _due(store: Store, index: PrivateIndex, given: Settings, settings: list[str], plan: ArchivePlan) -> Iterator[KnownScan]:
    checkpoints, precision = find_weights(given.weights), settle(given.device, given.precision)[1]
    params = parse_params(STAGES, settings)

    def make(digest: str) -> Plan:
        return Plan(store, digest, checkpoints, params, precision, given.refresh)

    return planned(known_scans(store, index), make, checkpoints, plan)


def _jobs(due: Iterable[KnownScan], given: Settings) -> Iterator[Job]:
    for scan in due:
        yield Job(scan.name, given, scan.choice, source=scan.source, series=scan.series, digest=scan.digest)


def _publish(plan: ArchivePlan, came: Counter[str], troubled: list[Result]) -> None:
    """On the run's page: what each stage had to do, and the scans that came to nothing."""
    if not inside_prefect():
        return
    from prefect.artifacts import create_table_artifact

    rows = [
        {"stage": name, "run": about["run"], "reuse": about["reuse"], "because": ", ".join(about["because"])[:500]}
        for name, about in plan.as_json()["stages"].items()
    ]
    failed = [{"scan": r.name, "state": r.state, "why": r.why} for r in troubled[:TABLE_ROWS]]
    about_it = ", ".join(f"{n} {state}" for state, n in came.items()) or "nothing had to be made"
    about = f"{plan.scans} known scans: {about_it}"
    shown(create_table_artifact, "the backfill's table", table=rows or [{"stage": "none"}], key="backfill", description=about)
    if failed:
        about = "scans that gave no report"
        shown(create_table_artifact, "the table of those", table=failed, key="backfill-not-screened", description=about)
