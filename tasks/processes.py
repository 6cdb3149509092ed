"""Work spread over processes: one thread each, and none of them outlives the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")


def unsaid(_result: Any) -> None:
    """The ``said`` of a caller who does not listen."""


def in_processes(
    work: Callable[[Given], Result], over: Sequence[Given], workers: int, said: Callable[[Result], None] = unsaid
) -> list[Result]:
    """``work`` on every one, ``workers`` at once; results in the order of ``over``. ``said`` hears each as it is done.

    ``work`` and what it is given must be picklable. With one worker, or one thing to do, it is done in this process. CTRL-C and
    an exception of ``work`` end it: what runs is waited for, what has not begun is not begun.
    """
    results: dict[int, Result] = {}
    if workers == 1 or len(over) <= 1:
        for k, one in enumerate(over):
            said(results.setdefault(k, work(one)))
        return list(results.values())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(over)), context, initializer=one_thread_while_parent_lives) as pool:
        futures = {pool.submit(work, one): k for k, one in enumerate(over)}
        try:
            for future in as_completed(futures):
                said(results.setdefault(futures[future], future.result()))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[k] for k in range(len(over))]


def one_thread_while_parent_lives() -> None:
    """For a process of a pool: one thread for torch, and an end when its parent is killed."""

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    os.environ["OMP_NUM_THREADS"] = "1"  # of a torch that is imported later
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    threading.Thread(target=end_with_parent, daemon=True).start()
