"""One at a time on this machine: a lock that every process on it heeds, whichever store, home or user it works for."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from artifacts.store import explained

FOLDER = Path("/tmp")  # not TMPDIR: that is often a session's own
WAIT_S = 0.2  # short waits, so that CTRL-C and cancellation are heard


@contextmanager
def machine_lock(name: str) -> Iterator[None]:
    """Held by one process (or thread) at a time; given back when the process dies, however it dies."""
    with explained("lock"):
        lock = _opened(FOLDER / f"hounsfield-{name}.lock")
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(WAIT_S)
        yield
    finally:
        os.close(lock)


def _opened(path: Path) -> int:
    """The file of the lock, which everybody may lock and which is never removed.

    No link is followed, and what another user made is opened without O_CREAT (Linux refuses that in sticky folders).
    """
    with suppress(FileExistsError):
        made = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
        os.fchmod(made, 0o444)
        return made
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
