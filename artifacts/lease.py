"""Locks of the store: file locks on a disk of this machine, leases with a heartbeat on a shared folder.

File locks cannot be trusted on every shared disk. A lease is a small file there, ``<name>.<number>``, made so that only one can
make it (O_EXCL); its holder rewrites it every ``HEARTBEAT_S``. Whoever waits reads it, and takes the lease over (by making the
next number) once it has not changed for ``EXPIRY_S`` by the waiter's own steady clock: the clocks of two machines are never
compared, and one that jumps harms nothing. The highest number holds; a given-back lease says so and stays, so that a number
is never used twice.

A holder that was asleep for longer than ``EXPIRY_S`` may find its lease taken. Nothing breaks: an artifact appears whole by a
rename, and both would write the same.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from artifacts.using import host

HEARTBEAT_S, EXPIRY_S, LOOK_S = 10.0, 60.0, 0.5
FREE = "free"
NETWORK = re.compile(r"nfs\d*|cifs|smb\w*|9p|afs|ceph|lustre|beegfs|gpfs|gfs2|ocfs2|glusterfs|fuse\.(?!ext|ntfs)\w+|virtiofs")


def locks_for(root: Path) -> str:
    """``leases`` for a store on a network disk or where HOUNSFIELD_SHARED is 1; else ``files``. Settled when a store is made."""
    asked = os.environ.get("HOUNSFIELD_SHARED")
    if asked in ("0", "1"):
        return "leases" if asked == "1" else "files"
    return "leases" if NETWORK.fullmatch(_filesystem(root)) else "files"


def _filesystem(path: Path) -> str:
    """The type of the disk that ``path`` lies on, as Linux tells it; empty where nobody does."""
    best = ("", "")
    with suppress(OSError):
        real = os.path.realpath(path)
        for line in Path("/proc/mounts").read_text().splitlines():
            _, where, kind, *_ = line.split(" ")
            if len(where) >= len(best[0]) and (real == where or real.startswith(where.rstrip("/") + "/")):
                best = (where, kind)
    return best[1]


@contextmanager
def file_lock(folder: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Held by one process at a time; given back when the process dies, however it dies. Timeout where it is not to ``wait``."""
    lock = FileLock(folder / f"{name}.lock", mode=0o600)
    while True:
        try:
            lock.acquire(timeout=1 if wait else 0)  # short waits, so that CTRL-C and cancellation are heard
            break
        except Timeout:
            if not wait:
                raise
    try:
        yield
    finally:
        lock.release()


@contextmanager
def lease(
    folder: Path, name: str, *, wait: bool = True, heartbeat_s: float = HEARTBEAT_S, expiry_s: float = EXPIRY_S
) -> Iterator[None]:
    """Held by one process of all machines that share ``folder``. Timeout where it is held and not to ``wait``."""
    owner = f"{host()} {os.getpid()} {uuid.uuid4().hex}"
    path = _acquired(folder, name, owner, wait, expiry_s)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, owner, stop, heartbeat_s), daemon=True, name=f"lease-{name[:12]}")
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
        with suppress(OSError):
            _write(path, FREE)


def _acquired(folder: Path, name: str, owner: str, wait: bool, expiry_s: float) -> Path:
    seen, since = "", time.monotonic()
    while True:
        number, text = _highest(folder, name)
        if text != seen:
            seen, since = text, time.monotonic()
        if number == 0 or text == FREE or _died_here(text) or time.monotonic() - since > expiry_s:
            path = _made(folder / f"{name}.{number + 1}", owner)
            if path and _highest(folder, name)[0] == number + 1:
                for old in range(max(1, number - 2), number + 1):
                    (folder / f"{name}.{old}").unlink(missing_ok=True)
                return path
            if path:  # somebody had made a higher number before: this one was used already, and cleared away
                path.unlink(missing_ok=True)
            continue
        if not wait:
            raise Timeout(str(folder / name))
        time.sleep(LOOK_S)


def _highest(folder: Path, name: str) -> tuple[int, str]:
    """Number and text of the lease that counts; (0, "") where there was never one."""
    numbers = [int(n) for entry in os.listdir(folder) if entry.startswith(f"{name}.") and (n := entry[len(name) + 1 :]).isdigit()]
    number = max(numbers, default=0)
    try:
        return number, (folder / f"{name}.{number}").read_text() if number else ""
    except FileNotFoundError:  # a higher one has come meanwhile
        return _highest(folder, name)


def _made(path: Path, owner: str) -> Path | None:
    """The lease, ours; None where somebody else was quicker."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return None
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{owner} 0")
    return path


def _died_here(text: str) -> bool:
    """Whether its holder was a process of this machine that is no more: nobody need wait for its lease to run out."""
    machine, pid, *_ = [*text.split(" "), "", ""]
    if machine != host() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _beat(path: Path, owner: str, stop: threading.Event, every_s: float) -> None:
    beats = 0
    while not stop.wait(every_s):
        beats += 1
        with suppress(OSError):
            if path.exists():  # else it was taken over
                _write(path, f"{owner} {beats}")


def _write(path: Path, text: str) -> None:
    with path.open("r+") as file:  # never made anew: a lease that was cleared away stays away
        file.write(text)
        file.truncate()
