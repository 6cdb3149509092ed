"""The private index: the only place that knows which path a scan came from. It stays on this machine, readable by its owner.

Everything else (artifacts, logs, the Prefect UI) speaks of ``source-…`` tokens and of series UIDs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from artifacts.errors import StoreError, UsageError
from artifacts.home import make_private
from artifacts.store import explained

Result = TypeVar("Result")

TOKEN = "source-"
PLACE = ("private index", "$HOUNSFIELD_HOME")


def guarded(method: Callable[..., Result]) -> Callable[..., Result]:
    """A full disk or a damaged index becomes one clear line."""

    @wraps(method)
    def call(*args: Any) -> Result:
        try:
            with explained("write", *PLACE):
                return method(*args)
        except sqlite3.OperationalError as e:
            if "locked" in str(e):
                raise StoreError("the private index is busy: another run is writing to it", passing=True) from e
            raise StoreError("the private index cannot be written (disk full or read-only): see $HOUNSFIELD_HOME/private") from e
        except sqlite3.DatabaseError as e:
            again = "remove $HOUNSFIELD_HOME/private, it is only an index and is made again"
            raise StoreError(f"the private index is damaged: {again}") from e

    return call


class PrivateIndex:
    """Tokens for paths, and what is known of files already read. roots: outside of these no path is opened; None: anywhere."""

    def __init__(self, folder: Path, roots: Sequence[Path] | None = None):
        self.folder = folder
        self.roots = roots

    @cached_property
    def _cache(self) -> Any:
        from diskcache import Cache

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Cache(str(self.folder), size_limit=2**40, eviction_policy="none")

    @guarded
    def token(self, path: Path) -> str:
        """A name for ``path`` that says nothing of it, and opens it from now on."""
        token = self.name(path)
        self._cache[f"path/{token}"] = os.fsencode(path.expanduser().absolute())
        return token

    @guarded
    def name(self, path: Path) -> str:
        """The same name, which opens nothing unless it did before."""
        absolute = os.fsencode(path.expanduser().absolute())
        return TOKEN + hashlib.blake2b(absolute, key=self._salt, digest_size=6).hexdigest()

    @guarded
    def path(self, source: str) -> Path:
        """The path behind a token; any other text is a path itself. Raises UsageError for one outside the roots.

        A token was made by this machine's owner and speaks for itself.
        """
        known = self.known_path(source) if source.startswith(TOKEN) else None
        path = known or Path(source)
        nameless = source.startswith(TOKEN) and self.roots is not None  # what a refused path is called on a run's page
        if known is None and (nameless or not self.inside(path.expanduser())):
            allowed = f"{len(self.roots)} folders are open to deployments" if self.roots else "no folder is open to deployments"
            raise UsageError(
                f"the path lies outside what deployments may read here ({allowed}): start `hounsfield ui --root FOLDER`, or name "
                "it in HOUNSFIELD_ROOTS of the worker",
                private=str(path),
            )
        return path

    @guarded
    def known_path(self, token: str) -> Path | None:
        """The path behind a token; None for one that was not made here."""
        known = self._cache.get(f"path/{token}")
        return Path(os.fsdecode(known)) if known else None

    def inside(self, path: Path) -> bool:
        """Whether the roots hold ``path``: links and ``..`` are followed first. A word that names no file here is no path."""
        if self.roots is None:
            return True
        if len(path.parts) == 1 and not path.is_absolute() and not os.path.lexists(path) and path.name not in ("..", "~"):
            return True
        return any(path.resolve().is_relative_to(root.resolve()) for root in self.roots)

    @cached_property
    def _salt(self) -> bytes:
        import secrets

        self._cache.add("salt", secrets.token_hex(16))  # so that nobody can guess a name and check it
        return str(self._cache["salt"]).encode()

    @guarded
    def scan_digest(self, signature: str) -> str | None:
        return self._cache.get(f"scan/{signature}")

    @guarded
    def remember_scan(self, signature: str, digest: str, source: Path, series_uid: str) -> None:
        self._cache[f"scan/{signature}"] = digest
        self._cache[f"origin/{digest}"] = json.dumps([str(source.absolute()), series_uid])

    @guarded
    def header(self, signature: str) -> Any:
        """What was remembered of the header of a file that nobody touched since; None where nothing was."""
        return self._cache.get(f"header/{signature}")

    @guarded
    def remember_header(self, signature: str, header: Any) -> None:
        self._cache[f"header/{signature}"] = header

    @guarded
    def origin(self, scan: str) -> tuple[Path, str] | None:
        """Where the scan of this digest was last read from: path and series UID."""
        found = self._cache.get(f"origin/{scan}")
        if found is None:
            return None
        path, uid = json.loads(found)
        return Path(path), uid

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of this process's own, gone afterwards; what killed processes left is swept first."""
        place, locks = self.folder / "scratch", self.folder / "scratch-locks"
        with explained("write", *PLACE):
            for folder in (place, locks):
                make_private(folder)
            for left in place.iterdir():
                with suppress(Timeout), FileLock(locks / left.name, timeout=0, mode=0o600):
                    shutil.rmtree(left, ignore_errors=True)
                    (locks / left.name).unlink(missing_ok=True)
        own = uuid.uuid4().hex
        with FileLock(locks / own, mode=0o600):
            try:
                with explained("write", *PLACE):
                    (place / own).mkdir(mode=0o700)
                yield place / own
            finally:
                shutil.rmtree(place / own, ignore_errors=True)
                (locks / own).unlink(missing_ok=True)


def signature(files: tuple[Path, ...], root: Path, reader: str) -> str:
    """Of names, sizes, times and inodes: equal as long as nobody touched the files. ``reader`` names what reads them.

    Files unpacked from an archive are new each time; there, ``root`` is the archive and stands for its members.
    """
    h = hashlib.blake2b(reader.encode(), digest_size=16)
    if root.is_file():
        s = root.stat()
        h.update(repr((str(root), s.st_size, s.st_mtime_ns, s.st_ino)).encode())
        for f in files:
            h.update(repr((f.name, f.stat().st_size)).encode())
        return h.hexdigest()
    for f in files:
        s = f.stat()
        h.update(repr((str(f), s.st_size, s.st_mtime_ns, s.st_ino)).encode())
    return h.hexdigest()
