"""Spreading a network's jobs over a CPU: one thread a job, not all threads on each layer of one job.

A layer shared by all threads ends when the slowest is done. With layers of a millisecond, a core that something else is using
then holds up the others all the time: on two busy cores the segmenter took eight times as long.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Job = TypeVar("Job")
Result = TypeVar("Result")

M_ARENA_MAX = -8  # of glibc's malloc.h

_lock = threading.Lock()
_users, _threads = 0, 1


def spread(work: Callable[[Job], Result], jobs: Sequence[Job], device: torch.device) -> Iterator[Result]:
    """``work`` of each job, in their order, in inference mode; on a CPU by as many threads as torch has, else one by one."""
    import torch

    def infer(job: Job) -> Result:
        with torch.inference_mode():
            return work(job)

    if device.type != "cpu":
        yield from map(infer, jobs)
        return
    _share_one_heap()
    with _threads_of_torch() as threads:
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield from pool.map(infer, jobs)
        finally:
            pool.shutdown(cancel_futures=True)  # so that an error or CTRL-C does not wait for what is still to come


def _share_one_heap() -> None:
    """Threads to come take memory from one heap, with glibc: heaps of their own give large maps back to the kernel each time."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


@contextmanager
def _threads_of_torch() -> Iterator[int]:
    """How many threads torch has, given back afterwards: a thread that sets its own number sets that of threads to come too."""
    import torch

    global _users, _threads
    with _lock:
        if not _users:
            _threads = torch.get_num_threads()
        _users += 1
    try:
        yield _threads
    finally:
        with _lock:
            _users -= 1
            if not _users:
                torch.set_num_threads(_threads)
