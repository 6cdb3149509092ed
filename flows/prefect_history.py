"""Prefect's own database: runs that ended long ago go, with what their pages showed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from artifacts.errors import ServerError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

PAGE = 100
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Forgotten:
    """What was removed (or, dry, would have been)."""

    dry: bool
    days: int
    runs: int
    pages: int  # artifacts in Prefect's sense: previews and tables on a run's page

    def headline(self) -> str:
        verb = "would be forgotten" if self.dry else "forgotten"
        return (
            f"Prefect: {self.runs} runs that ended more than {self.days} days ago {verb}, with {self.pages} previews and tables"
        )


def forget_old_runs(days: float, dry: bool = False) -> Forgotten:
    """Delete Prefect's runs that ended more than ``days`` ago, their task runs, logs and previews. Raises ServerError."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    runs = pages = 0
    try:
        with get_client(sync_client=True) as client:
            while batch := _ended_before(client, datetime.now(UTC) - timedelta(days=days), offset=runs if dry else 0):
                for run in batch:
                    pages += _forget(client, run.id, dry)
                runs += len(batch)
    except (OSError, PrefectHTTPStatusError, RuntimeError) as e:
        raise ServerError(f"the Prefect server did not let old runs go ({type(e).__name__}): {_mend()}") from e
    return Forgotten(dry, round(days), runs, pages)


def _mend() -> str:
    return "start it with `hounsfield ui`, or unset PREFECT_API_URL"


def _ended_before(client: SyncPrefectClient, moment: datetime, offset: int) -> list[Any]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterEndTime, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    wanted = FlowRunFilter(
        end_time=FlowRunFilterEndTime(before_=moment),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType(s) for s in ENDED])),
    )
    return client.read_flow_runs(flow_run_filter=wanted, limit=PAGE, offset=offset, sort=FlowRunSort.END_TIME_DESC)


def _forget(client: SyncPrefectClient, run_id: Any, dry: bool) -> int:
    """Delete a run and what its page showed; returns how many previews and tables that were. Gone meanwhile is fine."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.exceptions import ObjectNotFound

    shown = 0
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    while page := client.read_artifacts(artifact_filter=mine, limit=PAGE, offset=shown if dry else 0):
        shown += len(page)
        for artifact in () if dry else page:
            with suppress(ObjectNotFound):
                client.delete_artifact(artifact.id)
    if not dry:
        with suppress(ObjectNotFound):
            client.delete_flow_run(run_id)
    return shown
