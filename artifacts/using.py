"""In use: which artifacts the runs in progress have named, so that nothing is removed under them.

A run keeps one file open and locked, a digest a line. The lock goes when the process goes, however it goes. The file stays
for a day, so that a removal that began before a run ended still sees what that run used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

KEPT_S = 24 * 3600.0  # of files whose run has ended, or whose run is on another machine and cannot be asked


class Uses:
    """What one run uses. The file appears with the first digest; ``end`` or the end of the process gives all of it free."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._file: IO[str] | None = None
        self._named: set[str] = set()

    def add(self, digests: Iterable[str]) -> None:
        """On disk when this returns: only then may the run rely on the artifacts to stay. Raises OSError."""
        new = [d for d in digests if d not in self._named]
        if new:
            file = self._file or self._begun()
            file.write("".join(f"{d}\n" for d in new))
            file.flush()
            self._named.update(new)

    def _begun(self) -> IO[str]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            path = self.folder / f"{host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            file = path.open("a", encoding="ascii")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():  # nobody took it for a dead run's between opening and locking
                self._file = file
                return file
            file.close()

    def end(self) -> None:
        """Nothing is used any more."""
        if self._file:
            self._file.close()
        self._file, self._named = None, set()


def in_use(folder: Path, since: float | None = None) -> set[str]:
    """Digests that runs in progress use, and those used by runs that ended after ``since`` (a time of ``begin``)."""
    used: set[str] = set()
    for path in _files(folder):
        with suppress(OSError):
            if _alive(path) or (since is not None and path.stat().st_mtime >= since):
                used |= set(path.read_text(encoding="ascii", errors="replace").split())
    return used


def begin(folder: Path) -> float:
    """The present by the clock of the disk that holds ``folder``: what ``in_use`` compares with."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = folder / f".now-{uuid.uuid4().hex[:8]}"
    mark.touch()
    try:
        return mark.stat().st_mtime
    finally:
        mark.unlink(missing_ok=True)


def sweep(folder: Path, kept_s: float = KEPT_S) -> int:
    """Remove the files of runs that ended long ago. Returns how many."""
    removed = 0
    for path in _files(folder):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > kept_s and not _alive(path):
                path.unlink()
                removed += 1
    return removed


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.glob("*-*-*") if not p.name.startswith(".")]


def _alive(path: Path) -> bool:
    """Whether its run goes on. Locks of other machines are not to be trusted on every shared disk: those count for a day."""
    if not path.name.startswith(f"{host()}-"):
        return time.time() - path.stat().st_mtime < KEPT_S
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def host() -> str:
    """A name for this machine that says nothing of it."""
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
