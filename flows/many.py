"""Many scans: some at once, each in a process of its own; through Prefect one task a scan, on this machine or a Dask cluster."""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from artifacts.errors import HounsfieldError
from artifacts.known_stores import is_store
from artifacts.store import Store
from flows.cluster import check_named, check_workers, cluster, threads
from flows.console import watcher
from flows.scan_job import Job, Result
from flows.scan_process import Ended, ScanProcesses
from tasks.stage import RETRY_AFTER_S, gpu_slot, inside_prefect, passes

LIMIT_S = 1800.0
CORES_A_SCAN = 4


@dataclass(frozen=True)
class Crew:
    """Who screens. at_once: scans at a time (0: one for four cores). limit_s: a scan's process is ended after that.

    dask  ``local``: a Dask cluster on this machine; ``tcp://host:port``: one that is there; None: processes of this machine
    """

    at_once: int = 0
    limit_s: float = LIMIT_S
    dask: str | None = None

    def __post_init__(self) -> None:
        if self.dask:
            check_named(self.dask)

    @property
    def settled(self) -> int:
        return self.at_once or max(1, (os.cpu_count() or 1) // CORES_A_SCAN)


def each(jobs: Iterable[Job], crew: Crew) -> Iterator[Result]:
    """The results as they come, each scan on its own: what goes wrong with one is its result and stops no other.

    ``jobs`` is drawn from as there is room, so that neither it nor the results are ever in memory at once.
    """
    if inside_prefect():
        yield from _through_prefect(jobs, crew)
        return
    processes = ScanProcesses(crew.settled)
    with ThreadPoolExecutor(crew.settled) as threads:
        try:

            def submit(job: Job, put: Callable[[Result], None]) -> None:
                threads.submit(lambda: put(patiently_done(processes, job, crew.limit_s)))

            yield from _as_they_come(jobs, submit, crew.settled)
        finally:
            processes.close()


def _as_they_come(jobs: Iterable[Job], submit: Callable[[Job, Callable[[Result], None]], None], most: int) -> Iterator[Result]:
    ended: queue.SimpleQueue[Result] = queue.SimpleQueue()
    going = 0
    for job in jobs:
        submit(job, ended.put)
        going += 1
        if going >= most:
            yield ended.get()
            going -= 1
    for _ in range(going):
        yield ended.get()


def done(processes: ScanProcesses, job: Job, limit_s: float, say: Callable[[str], None] = lambda line: None) -> Result:
    """One scan in a process of its own; that it died or had to be ended is a result too."""
    started = time.perf_counter()
    with processes.one() as process:
        try:
            return process.run(job, limit_s, lambda line: say(f"{job.name}: {line}"), gpu_slot)
        except Ended as e:
            if is_store(place := Path(job.settings.store)):
                Store(place).sweep()
            result = Result(job.name, "failed", str(e))
        except HounsfieldError as e:
            result = Result(job.name, "failed", str(e), passing=e.passing)
    result.seconds = round(time.perf_counter() - started, 3)
    return result


def patiently_done(processes: ScanProcesses, job: Job, limit_s: float) -> Result:
    """``done``, tried again where that may help; nothing gets past this."""
    try:
        for wait_s in RETRY_AFTER_S:
            result = done(processes, job, limit_s)
            if not result.passing:
                return result
            time.sleep(wait_s)
        return done(processes, job, limit_s)
    except Exception as e:
        return Result(job.name, "failed", f"unexpected {type(e).__name__}")


# -- through Prefect ---------------------------------------------------------------------------------------------------------


class Sealed:
    """A job that nobody looks into on its way: not Prefect, and no log of a cluster."""

    def __init__(self, job: Job):
        self.name, self.body = job.name, pickle.dumps(job)

    def open(self) -> Job:
        return pickle.loads(self.body)

    def __repr__(self) -> str:
        return f"Sealed({self.name})"


class NotScreened(Exception):
    """A scan that failed on something that may pass."""

    def __init__(self, result: Result):
        super().__init__(result.why)
        self.result, self.passing = result, result.passing

    def __reduce__(self) -> Any:
        return NotScreened, (self.result,)


@cache
def scan_task() -> Any:
    """The Prefect task of one scan: its report on its page, its state in the run's list."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    return task(
        name="scan",
        task_run_name="{name}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_AFTER_S),
        retry_delay_seconds=list(RETRY_AFTER_S),
        retry_condition_fn=lambda task, run, state: passes(state.result(raise_on_failure=False)),
    )(_scan)


def _scan(name: str, sealed: Sealed, limit_s: float, at_once: int) -> Any:
    from prefect.states import Completed, Failed

    from artifacts.publish import publish

    result = done(processes_here(at_once), sealed.open(), limit_s, watcher().say)
    if result.passing:
        raise NotScreened(result)
    shown, result.shown = result.shown, ""
    if result.state != "done":
        publish("scan", result.state, f"### Not screened\n\n`{name}`: {result.why}\n", result.why)
        return Failed(name=result.state.capitalize(), message=result.why, data=result)
    publish("report", result.reports[-1].partition(":")[2], shown, f"{name}: {result.ran} stages ran, {result.reused} reused")
    return Completed(name="Completed" if result.ran else "Reused", message=f"in {result.seconds:.1f} s", data=result)


_here: dict[int, ScanProcesses] = {}
_making = threading.Lock()


def processes_here(at_once: int) -> ScanProcesses:
    """The processes for scans of this process (a flow run, or a worker of a cluster); they end with it."""
    with _making:
        if at_once not in _here:
            _here[at_once] = ScanProcesses(at_once)
            atexit.register(_here[at_once].close)
        return _here[at_once]


def close_here() -> None:
    with _making:
        while _here:
            _here.popitem()[1].close()


def _through_prefect(jobs: Iterable[Job], crew: Crew) -> Iterator[Result]:
    from prefect.task_runners import ThreadPoolTaskRunner

    with ExitStack() as stack:
        most, at_once = crew.settled, crew.settled
        if crew.dask:
            runner = stack.enter_context(cluster(crew.dask, crew.settled))
            most, at_once = crew.at_once or threads(runner.client), 1
            jobs = _checked(jobs, runner.client)
        else:
            runner = stack.enter_context(ThreadPoolTaskRunner(max_workers=crew.settled))
        stack.callback(close_here)  # before the runner waits for its threads

        def submit(job: Job, put: Callable[[Result], None]) -> None:
            given = {"name": job.name, "sealed": Sealed(job), "limit_s": crew.limit_s, "at_once": at_once}
            future = runner.submit(scan_task(), parameters=given)
            future.wrapped_future.add_done_callback(lambda _: put(_result_of(job.name, future)))

        yield from _as_they_come(jobs, submit, most)


def _checked(jobs: Iterable[Job], client: Any) -> Iterator[Job]:
    for number, job in enumerate(jobs):
        if number == 0:
            check_workers(client, job.settings)
        yield job


def _result_of(name: str, future: Any) -> Result:
    """What the task came to; a worker that died three times with it is a failure like any other."""
    try:
        came = future.wrapped_future.result().result(raise_on_failure=False)
    except Exception as e:
        return Result(name, "failed", f"the worker that had it ended in the middle ({type(e).__name__})")
    if isinstance(came, Result):
        return came
    return getattr(came, "result", None) or Result(name, "failed", f"unexpected {type(came).__name__}")
