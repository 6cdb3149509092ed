"""A run over the inbox: one at a time, and how it ended, which is written down however it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout

from artifacts.errors import HounsfieldError, UsageError
from artifacts.home import private_folder
from artifacts.ledger import Ledger

LOOKED_AT_S = 1.0  # whoever asks whether a run goes on holds the lock for a moment


class InboxBusy(UsageError):
    """Two runs over the same inbox at once."""


@contextmanager
def only_run() -> Iterator[None]:
    """One run over the inbox at a time. Raises InboxBusy."""
    lock = _lock()
    try:
        lock.acquire(timeout=LOOKED_AT_S)
    except Timeout:
        raise InboxBusy("another run is at work on the inbox: `hounsfield inbox status` shows it") from None
    try:
        yield
    finally:
        lock.release()


def goes_on() -> bool:
    """Whether a run is at work on the inbox now; one that was killed is not."""
    try:
        with _lock().acquire(timeout=0):
            return False
    except Timeout:
        return True


def _lock() -> FileLock:
    private_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    return FileLock(private_folder() / "inbox.lock", mode=0o600)


@contextmanager
def written_down(ledger: Ledger, came: Mapping[str, int], notes: list[str]) -> Iterator[int]:
    """A run's number; how it ended goes to the ledger, with what its scans came to and what else is to be known of it.

    Only a run that was killed outright writes nothing.
    """
    run = ledger.begin(time.time())
    try:
        yield run
    except BaseException as e:
        with suppress(HounsfieldError):
            ledger.end(run, time.time(), came, how_it_ended(e))
        raise
    ledger.end(run, time.time(), came, "; ".join(["done", *notes]) if notes else "")


def how_it_ended(e: BaseException) -> str:
    """``cancelled``, or why the run failed. An unexpected error's words may hold paths: they are not kept."""
    if not isinstance(e, Exception):  # CTRL-C, SIGTERM, the UI's Cancel
        return "cancelled"
    return f"failed: {e}" if isinstance(e, HounsfieldError) else f"failed: unexpected {type(e).__name__}"
