"""The header index: which series a folder tree holds, remembered. A file that nobody touched is not opened again.

One record a folder, in diskcache: of each file its size, time and inode, and what its header said. Looking again costs a listing
of every folder; no pixels are read. The index knows paths, so it lies in the private folder.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from artifacts.home import make_private
from artifacts.known_stores import mount_of
from artifacts.private_index import guarded
from tasks.reading.find import OUR_REPORT, by_series, slices_in
from tasks.reading.found import FoundSeries, one_of_each, series_from_slices
from tasks.reading.header import BrokenHeader
from tasks.reading.images import image_series, image_suffix
from tasks.reading.read import READER
from tasks.reading.slices import SliceHeader

LAYOUT = f"3/{READER}"  # rises whenever a record would hold something else
TOLD_EVERY = 200  # folders

File = tuple[int, int, int]  # size, mtime in ns, inode


@dataclass(frozen=True)
class Seen:
    """A series (or an archive, or a folder of broken files) as it lies on the disk now.

    name        series UID or pseudonym; of an archive or a broken folder its ``source-…`` token
    kind        series, archive, broken
    study       study UID; where there is none, ``name``
    mark        of names, sizes, times and inodes of its files: another one as soon as anybody touched them
    changed_ns  when the disk last saw a change of them, by the clock of the disk
    folders     where they lie; of an archive the file itself
    """

    name: str
    kind: str
    study: str
    mark: str
    changed_ns: int
    files: int
    folders: tuple[Path, ...]


@dataclass
class Look:
    """What one look over the folders came to."""

    seen: dict[str, Seen] = field(default_factory=dict)
    folders: int = 0
    files: int = 0
    opened: int = 0  # files whose header was read: new or changed ones
    closed: int = 0  # folders that cannot be read
    emptied: dict[Path, int] = field(default_factory=dict)  # roots that hold no series now -> how many at the last look
    elsewhere: set[str] = field(default_factory=set)  # names of what other roots held at their last look


@dataclass
class _Part:
    """What one folder holds of one series: the summary that a look needs."""

    kind: str
    study: str
    mark: bytes
    changed_ns: int
    files: int
    at: Path | None = None  # of an archive


@dataclass
class _Headers:
    """What the files of one folder said when they were last read."""

    files: dict[str, File] = field(default_factory=dict)
    slices: dict[str, list[SliceHeader]] = field(default_factory=dict)
    images: dict[str, FoundSeries] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)


class HeaderIndex:
    """The index in ``folder``. ``token`` names archives and broken folders without telling their paths."""

    def __init__(self, folder: Path, token: Callable[[Path], str]):
        self.folder, self.token = folder, token

    @cached_property
    def _cache(self) -> Any:
        from diskcache import Cache

        make_private(self.folder)
        return Cache(str(self.folder), size_limit=2**40, eviction_policy="none")

    @guarded
    def look(self, roots: Sequence[Path], tell: Callable[[Look], None] = lambda look: None) -> Look:
        """Every series under ``roots``, by name. Raises InputError where a root is not there, or is an empty mount point now."""
        missing = [r for r in roots if not r.is_dir()]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(roots)} inbox folders are not there: mount or make them, or name other ones",
                private=", ".join(map(str, missing)),
            )
        look, parts, visited = Look(), defaultdict[str, list[tuple[Path, _Part]]](list), set[str]()
        for folder, entries in _folders(roots, look):
            visited.add(str(folder))
            for name, part in self._parts(folder, entries, look).items():
                parts[name].append((folder, part))
            if look.folders % TOLD_EVERY == 0:
                tell(look)
        look.seen = {name: _seen(name, held) for name, held in parts.items()}
        for root in roots:
            self._compare(root, parts, look)
        look.elsewhere = self._forget(roots, visited)
        tell(look)
        return look

    @guarded
    def found(self, seen: Seen) -> FoundSeries:
        """The series with all its slices, from what its headers said; copies of a slice in several folders count once."""
        slices: list[SliceHeader] = []
        images: list[FoundSeries] = []
        elsewhere: set[tuple] = set()
        broken = 0
        for folder in seen.folders:
            headers = self._headers(folder)
            images += [i for i in headers.images.values() if i.uid == seen.name]
            broken += len(headers.broken)
            here = by_series(s for kept in headers.slices.values() for s in kept).get(seen.name, [])
            slices += [s for s in here if (s.sop_uid, s.frame, s.patient) not in elsewhere]
            elsewhere |= {(s.sop_uid, s.frame, s.patient) for s in here if s.sop_uid}
        if not slices and not images:
            raise InputError("the series has gone since the folder was looked over: look again")
        return one_of_each(([series_from_slices(seen.name, slices, broken)] if slices else []) + images)[0]

    @guarded
    def folders_of(self, beginning: str) -> list[Path]:
        """Where the series whose names begin so lay at the last look; of an archive the file."""
        kept = {os.fsdecode(k) for k in self._cache if isinstance(k, bytes)}
        folders = sorted(k.removeprefix("folder/") for k in kept if k.startswith("folder/"))
        held = [(f, self._get(f"folder/{f}")) for f in folders]
        return [p.at or Path(f) for f, known in held if known for name, p in known[1].items() if name.startswith(beginning)]

    # -- one folder ---------------------------------------------------------------------------------------------------

    def _parts(self, folder: Path, entries: dict[str, tuple[File, int]], look: Look) -> dict[str, _Part]:
        """Series name -> what ``folder`` holds of it; from memory where no file of the folder has changed."""
        mark = hashlib.blake2b(repr(sorted((n, f) for n, (f, _) in entries.items())).encode(), digest_size=16).digest()
        known = self._get(f"folder/{folder}")
        if known is not None and known[0] == mark:
            return known[1]
        if not entries and known is None:
            return {}
        headers = self._read(folder, {n: f for n, (f, _) in entries.items()}, look)
        parts = self._summed_up(folder, headers, entries)
        self._cache[_key(f"headers/{folder}")] = (LAYOUT, headers)
        self._cache[_key(f"folder/{folder}")] = (LAYOUT, (mark, parts))
        return parts

    def _read(self, folder: Path, files: dict[str, File], look: Look) -> _Headers:
        """The headers of the folder's files; only new and changed ones are opened."""
        before, now = self._headers(folder), _Headers(files=files)
        for name, file in files.items():
            path = folder / name
            if image_suffix(path):
                with suppress(OSError):  # a sibling with the voxels may have changed: always read again, it is one header
                    now.images[name] = image_series(path)
                    look.opened += 1
            elif not _is_archive(name) and before.files.get(name) == file:
                if name in before.broken:
                    now.broken.add(name)
                elif name in before.slices:
                    now.slices[name] = before.slices[name]
            elif not _is_archive(name):
                look.opened += 1
                try:
                    if slices := slices_in(path):
                        now.slices[name] = slices
                except (BrokenHeader, OSError):
                    now.broken.add(name)
        return now

    def _summed_up(self, folder: Path, headers: _Headers, entries: dict[str, tuple[File, int]]) -> dict[str, _Part]:
        parts: dict[str, _Part] = {}
        touched = folder.stat().st_mtime_ns if folder.exists() else 0  # a file that went away tells of itself no more

        def add(name: str, kind: str, study: str, files: set[str], at: Path | None = None) -> None:
            held = sorted((n, entries[n][0]) for n in files if n in entries)
            mark = hashlib.blake2b(repr((str(folder), held)).encode(), digest_size=16).digest()
            changed = max([touched, *(max(entries[n][0][1], entries[n][1]) for n, _ in held)])
            parts[name] = _Part(kind, study, mark, changed, len(held), at)

        series = by_series(s for kept in headers.slices.values() for s in kept)
        files = {name: {s.path.name for s in slices} | headers.broken for name, slices in series.items()}
        for image in headers.images.values():
            files.setdefault(image.uid, set()).update(p.name for p in image.files)
        for name, own in files.items():
            add(name, "series", next((s.study_uid for s in series.get(name, ()) if s.study_uid), name), own)
        for name in filter(_is_archive, entries):
            token = self.token(folder / name)
            add(token, "archive", token, {name}, folder / name)
        if headers.broken and not series:
            token = self.token(folder)
            add(token, "broken", token, headers.broken)
        return parts

    # -- what is remembered -------------------------------------------------------------------------------------------

    def _headers(self, folder: Path) -> _Headers:
        return self._get(f"headers/{folder}") or _Headers()

    def _get(self, key: str) -> Any:
        """None for what is not there, or was written by another version."""
        try:
            layout, value = self._cache[_key(key)]
        except (KeyError, ValueError, TypeError, AttributeError, ImportError, EOFError):
            return None
        return value if layout == LAYOUT else None

    def _compare(self, root: Path, parts: dict[str, list[tuple[Path, _Part]]], look: Look) -> None:
        """How many series ``root`` holds, against the last look. Raises InputError where its disk is no longer mounted."""
        top, mount = root.absolute(), mount_of(root.absolute())
        held = sum(any(folder.is_relative_to(top) for folder, _ in where) for where in parts.values())
        before, place = self._get(f"root/{top}") or (0, mount)
        if before and not held:
            if place != mount:
                why = f"an inbox folder held {before} series and holds none, for its disk is not mounted: mount it"
                raise InputError(why, private=str(root))
            look.emptied[root] = before
        self._cache[_key(f"root/{top}")] = (LAYOUT, (held, mount))

    def _forget(self, roots: Sequence[Path], visited: set[str]) -> set[str]:
        """Records of folders that are no longer under ``roots`` go. Returns the names that lie outside of ``roots``."""
        tops, elsewhere = [str(r.absolute()) for r in roots], set[str]()
        for key in list(self._cache):
            kind, _, folder = os.fsdecode(key).partition("/") if isinstance(key, bytes) else ("", "", "")
            under = any(folder == top or folder.startswith(top + os.sep) for top in tops)
            if kind in ("folder", "headers") and under and folder not in visited:
                del self._cache[key]
            elif kind == "folder" and not under:
                elsewhere |= (self._get(os.fsdecode(key)) or (b"", {}))[1].keys()
        return elsewhere


def _key(text: str) -> bytes:
    return os.fsencode(text)  # names need not be valid text


def _is_archive(name: str) -> bool:
    return name.lower().endswith(".zip")


def _seen(name: str, held: list[tuple[Path, _Part]]) -> Seen:
    first = held[0][1]
    mark = hashlib.blake2b(b"".join(part.mark for _, part in held), digest_size=16).hexdigest()
    return Seen(
        name=name,
        kind=first.kind,
        study=min({part.study for _, part in held} - {name}, default=name),
        mark=mark,
        changed_ns=max(part.changed_ns for _, part in held),
        files=sum(part.files for _, part in held),
        folders=tuple(part.at or folder for folder, part in held),
    )


def _folders(roots: Sequence[Path], look: Look) -> Iterator[tuple[Path, dict[str, tuple[File, int]]]]:
    """Each folder with its files: name -> (size, mtime, inode), ctime. Links to folders are not followed; each folder once."""
    todo, done = sorted({r.absolute() for r in roots}, reverse=True), set[str]()
    while todo:
        folder = todo.pop()
        if str(folder) in done:
            continue
        done.add(str(folder))
        try:
            files, below = _listing(folder)
        except OSError:
            look.closed += 1
            continue
        look.folders += 1
        look.files += len(files)
        todo += [folder / name for name in sorted(below, reverse=True)]
        yield folder, files


def _listing(folder: Path) -> tuple[dict[str, tuple[File, int]], list[str]]:
    """Its files and the names of its folders; hidden ones (a copy in progress hides its parts) and our reports are left out."""
    files: dict[str, tuple[File, int]] = {}
    below = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            with suppress(OSError):  # gone meanwhile, or a link to nothing
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                elif entry.is_file():
                    s = entry.stat()
                    files[entry.name] = ((s.st_size, s.st_mtime_ns, s.st_ino), s.st_ctime_ns)
    if files.keys() >= OUR_REPORT:
        for name in OUR_REPORT:
            del files[name]
    return files, below
