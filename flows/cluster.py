"""The Dask cluster that scans are sent to: named rightly, there, and of workers that may take part, all before the first scan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from artifacts.errors import HounsfieldError, ServerError, UsageError, WeightsError
from flows.scan_job import Settings, same_store, same_weights
from tasks.stage import inside_prefect

LOCAL = "local"  # one on this machine, for the run
ADDRESS = re.compile(r"[a-z]+://[^\s/]+:\d+")
WORKERS_S = 30  # for the first worker to be there


def check_named(dask: str) -> None:
    """Raises UsageError where ``dask`` names no cluster, or nothing would use it."""
    if not inside_prefect():
        raise UsageError("--dask goes through Prefect: leave --direct out")
    if dask != LOCAL and not ADDRESS.fullmatch(dask):
        raise UsageError(f"--dask is {LOCAL} or the scheduler's address, as tcp://host:8786, not '{dask}'")


@contextmanager
def cluster(dask: str, workers: int) -> Iterator[Any]:
    """Prefect's runner of tasks on the cluster; a local one has so many workers. Raises ServerError where nobody is there."""
    from prefect_dask import DaskTaskRunner

    if dask == LOCAL:
        runner = DaskTaskRunner(cluster_kwargs={"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None})
    else:
        runner = DaskTaskRunner(address=dask)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(runner).client
        except OSError as e:
            raise ServerError(f"no Dask scheduler answers at {dask}: start it with `dask scheduler`") from e
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as e:
            again = f"`dask worker {dask} --nworkers N --nthreads 1` starts N"
            raise ServerError(f"the Dask cluster at {dask} has no workers: {again}") from e
        yield runner


def check_workers(client: Any, settings: Settings) -> None:
    """Raises WeightsError where a worker would refuse every scan: it would have them all failed before the others did one."""
    told = client.run(refusal, settings, on_error="return")
    wrong = {name: why if isinstance(why, str) else f"unexpected {type(why).__name__}" for name, why in told.items() if why}
    if wrong:
        name, why = next(iter(wrong.items()))
        raise WeightsError(f"{len(wrong)} of the cluster's {len(told)} workers cannot take part: {name}: {why}")


def refusal(settings: Settings) -> str:
    """Why this machine cannot screen with ``settings``; empty where it can."""
    try:
        same_weights(settings)
        same_store(settings)
    except HounsfieldError as e:
        return str(e)
    return ""


def threads(client: Any) -> int:
    """How many tasks the cluster takes at once."""
    return max(1, sum(client.nthreads().values()))
