"""The store: every artifact in a folder of its own, named by its key, whole or not there.

    <root>/format.json                    version of this layout, the store's id, whether its locks are files or leases
    <root>/artifacts/<kind>/<digest>/     manifest.json, preview.md, the artifact's own files
    <root>/artifacts/<kind>/.tmp-…        being written; renamed into place whole, or swept
    <root>/latest/<scan>/<stage>.json     the recipe last used for a scan: how `plan` knows *because*
    <root>/locks/                         one lock a key
    <root>/uses/                          a file a run: which artifacts it uses, so that nothing is removed under it
    <root>/work/<digest>/                 what a long stage keeps while it works: a training run's last epoch

Files are not forced to the disk one by one: what a run reuses it verifies against its checksums, so that a power cut costs
a stage, never a wrong result.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from artifacts import manifest as manifests
from artifacts import using
from artifacts.artifact import Artifact
from artifacts.errors import PASSING, StoreError, UsageError
from artifacts.lease import file_lock, lease, locks_for
from artifacts.manifest import Damaged, Manifest
from artifacts.recipe import Recipe

FORMAT = 1
KEPT_IN_MEMORY = 10  # artifacts: one scan's line
LEAST_DIGITS = 4  # of a digest that names an artifact
WRITING_S = 3600  # a file that is being written for longer than that is a dead writer's


@dataclass(frozen=True)
class Ref:
    """What stages hand to each other: never an array."""

    kind: str
    digest: str
    path: Path

    def __str__(self) -> str:
        return f"{self.kind}:{self.digest[:12]}"


class Unreadable(StoreError):
    """An artifact whose files are what its manifest promises, and that still cannot be read: of another version, perhaps."""

    def __init__(self, ref: Ref, why: str):
        again = "--refresh with the stage that makes it mends that"
        super().__init__(f"{ref} cannot be read ({why}), another version may have made it: {again}")
        self.ref = ref


class Store:
    """Artifacts on disk under ``root``; see the module's text."""

    def __init__(self, root: Path):
        self.root = Path(root).expanduser().absolute()
        self._memory: OrderedDict[str, Artifact] = OrderedDict()
        self._uses = using.Uses(self.root / "uses")
        with explained("open"):
            for folder in (self.root, *(self.root / name for name in ("artifacts", "latest", "locks", "work"))):
                make_folder(folder)
            self._check_format()

    def _check_format(self) -> None:
        path = self.root / "format.json"
        try:
            known = json.loads(path.read_text())
            version = int(known["version"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            known, version = {}, FORMAT
        if version > FORMAT:
            raise StoreError(f"the store was made by a newer Hounsfield (layout {version}, this one knows {FORMAT}): upgrade")
        if "id" not in known or "locks" not in known:
            fresh = {"version": FORMAT, "id": uuid.uuid4().hex, "locks": locks_for(self.root)}
            write_whole(path, json.dumps(fresh | known))
            known = json.loads(path.read_text())  # another process may have been quicker
        self.identity: str = known["id"]
        self.leases = known["locks"] == "leases"

    # -- looking ------------------------------------------------------------------------------------------------------

    def ref(self, kind: str, digest: str) -> Ref:
        return Ref(kind, digest, self.root / "artifacts" / kind / digest)

    def exists(self, ref: Ref) -> bool:
        return ref.path.is_dir()

    def manifest(self, ref: Ref) -> Manifest:
        """Raises Damaged where there is no whole manifest, or it is another artifact's."""
        found = Manifest.read(ref.path)
        if (found.kind, found.digest) != (ref.kind, ref.digest):
            raise Damaged("its manifest is another artifact's")
        return found

    def refs(self, kind: str | None = None) -> Iterator[Ref]:
        """Every named artifact, oldest first."""
        found = []
        for p in (self.root / "artifacts").glob(f"{kind or '*'}/*"):
            with suppress(OSError):  # removed meanwhile
                if not p.name.startswith("."):
                    found.append((p.stat().st_mtime_ns, p))
        for _, p in sorted(found):
            yield Ref(p.parent.name, p.name, p)

    def resolve(self, text: str) -> Ref:
        """The artifact that ``kind:prefix``, a bare prefix of its digest, or its folder names. Raises UsageError."""
        kind, _, prefix = text.rpartition(":")
        if "/" in text or Path(text).is_dir():
            kind, prefix = Path(text).absolute().parent.name, Path(text).name
        if 0 < len(prefix) < LEAST_DIGITS:
            raise UsageError(f"no artifact '{text}': give at least {LEAST_DIGITS} digits of its digest, as in report:3ba3")
        found = [r for r in self.refs(kind or None) if r.digest.startswith(prefix)] if prefix else []
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(f"no artifact '{text}' in the store: write kind:digest or its beginning, as `screen` prints it")
        raise UsageError(f"'{text}' could be {', '.join(map(str, found))}: write more of it")

    def state(self, ref: Ref) -> str:
        """``whole`` by names and sizes, ``missing``, or ``damaged: what``."""
        if not self.exists(ref):
            return "missing"
        try:
            self.manifest(ref).check_sizes(ref.path)
        except Damaged as e:
            return f"damaged: {e}"
        return "whole"

    def verify(self, ref: Ref) -> str:
        """Like ``state``, by every byte."""
        if not self.exists(ref):
            return "missing"
        try:
            self.manifest(ref).check_sums(ref.path)
        except Damaged as e:
            self._memory.pop(ref.digest, None)
            return f"damaged: {e}"
        return "whole"

    def lineage(self, ref: Ref) -> list[Manifest]:
        """Manifests of everything that ``ref`` was made of, itself last; each once. What is gone is left out."""
        seen: dict[str, Manifest] = {}

        def visit(r: Ref) -> None:
            if r.digest in seen:
                return
            try:
                m = self.manifest(r)
            except Damaged:
                return
            for parent in m.parents.values():
                visit(self.ref(*parent.split(":")))
            seen[r.digest] = m

        visit(ref)
        return list(seen.values())

    # -- opening and writing --------------------------------------------------------------------------------------------

    def open(self, ref: Ref, artifact: type[Artifact]) -> Any:
        """The artifact in memory; not read again if this process has just written or opened it."""
        if ref.digest not in self._memory:
            self._remember(ref.digest, self.read(ref, artifact))
        self._memory.move_to_end(ref.digest)
        return self._memory[ref.digest]

    def read(self, ref: Ref, artifact: type[Artifact]) -> Any:
        """The artifact, read from disk and not kept in memory."""
        try:
            return artifact.read(ref.path)
        except Exception as e:
            raise Unreadable(ref, type(e).__name__) from e

    def workspace(self, ref: Ref) -> Path:
        """A private folder for the making of ``ref``: what is in it outlives a kill, and is gone when ``ref`` is there."""
        folder = self.root / "work" / ref.digest
        with explained("write"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def clear_workspace(self, ref: Ref) -> None:
        shutil.rmtree(self.root / "work" / ref.digest, ignore_errors=True)

    def use(self, *refs: Ref) -> None:
        """From now on nothing removes ``refs``, until ``forget`` or the end of this process."""
        with explained("write"):
            self._uses.add(r.digest for r in refs)

    def forget(self) -> None:
        """Give back the memory of a finished scan, and what it used."""
        self._memory.clear()
        self._uses.end()

    def _remember(self, digest: str, artifact: Artifact) -> None:
        self._memory[digest] = artifact
        while len(self._memory) > KEPT_IN_MEMORY:
            self._memory.popitem(last=False)

    @contextmanager
    def lock(self, name: str, wait: bool = True) -> Iterator[None]:
        """Held by one process at a time; given back when the process dies, however it dies. Timeout where not to ``wait``."""
        held = (lease if self.leases else file_lock)(self.root / "locks", name, wait=wait)
        with explained("lock"):
            held.__enter__()
        try:
            yield
        finally:
            held.__exit__(None, None, None)

    def put(self, ref: Ref, artifact: Artifact, preview: str, **about: Any) -> Manifest:
        """Write ``artifact`` and its rendered ``preview`` under ``ref``, whole or not at all. The caller holds its lock.

        ``about``: the manifest's remaining fields. What stood there before (damaged, or being refreshed) is replaced.
        """
        parent = ref.path.parent
        temporary = parent / f".tmp-{ref.digest}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with explained("write"):
            parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep(ref)
            try:
                temporary.mkdir(mode=0o700)
                artifact.write(temporary)
                (temporary / "preview.md").write_text(preview, encoding="utf-8")
                made = Manifest(kind=ref.kind, digest=ref.digest, files=manifests.inventory(temporary), **about)
                write_whole(temporary / manifests.NAME, made.to_json())
                if os.path.lexists(ref.path):  # a link to nowhere too
                    ref.path.rename(parent / f".tmp-{ref.digest}-replaced-{uuid.uuid4().hex[:8]}")
                temporary.rename(ref.path)
            finally:
                self._sweep(ref)
        self._remember(ref.digest, artifact)
        return made

    def _sweep(self, ref: Ref) -> None:
        """Under the key's lock every temporary folder of the key is a dead writer's."""
        for left in ref.path.parent.glob(f".tmp-{ref.digest}-*"):
            clear(left)

    def sweep(self) -> int:
        """Remove what killed writers left behind, skipping whatever is being written now. Returns how many."""
        removed = 0
        for left in (self.root / "artifacts").glob("*/.tmp-*"):
            digest = left.name.split("-")[1]
            with suppress(Timeout, OSError, StoreError), self.lock(digest, wait=False):
                clear(left)
                removed += 1
        for left in [*self.root.glob(".*"), *(self.root / "latest").glob("*/.*")]:
            removed += unfinished(left)
        return removed + using.sweep(self.root / "uses")

    # -- because ----------------------------------------------------------------------------------------------------------

    def last_recipe(self, scan: str, slot: str) -> Recipe | None:
        """The recipe that this scan's stage last used, kept or not."""
        try:
            return Recipe.from_dict(json.loads((self.root / "latest" / scan / f"{slot}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def scan_of(self, ref: Ref) -> str:
        """The scan whose line last made ``ref``; empty where nobody remembers."""
        for path in (self.root / "latest").glob("*/*.json"):
            last = self.last_recipe(path.parent.name, path.stem)
            if last and last.digest == ref.digest:
                return path.parent.name
        return ""

    def note_recipe(self, scan: str, slot: str, recipe: Recipe) -> None:
        folder = self.root / "latest" / scan
        with explained("write"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(folder / f"{slot}.json", json.dumps(asdict(recipe)))


def make_folder(folder: Path) -> None:
    """For this user alone. StoreError where a file is in its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (FileExistsError, NotADirectoryError):
        raise StoreError("there is a file where the store should be: name a folder with --store", private=str(folder)) from None


def clear(left: Path) -> None:
    """Remove a dead writer's folder; one that was set aside and never replaced gets its name back, whole or not."""
    target = left.parent / left.name.split("-")[1]
    if "-replaced-" in left.name and not target.exists():
        left.rename(target)
    elif left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:  # somebody's file or link where a folder should be
        left.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """The file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def unfinished(path: Path) -> bool:
    """Remove ``path`` if it is what ``write_whole`` had begun in a process that was killed. Returns whether it was."""
    with suppress(OSError):
        if re.fullmatch(r"\..+\.\d+-[0-9a-f]{8}", path.name) and time.time() - path.stat().st_mtime > WRITING_S:
            path.unlink()
            return True
    return False


@contextmanager
def explained(doing: str, of: str = "store", option: str = "--store", private: str | None = None) -> Iterator[None]:
    """A full or read-only disk becomes one clear line: ``of`` is what lies on it, ``option`` what puts that elsewhere."""
    try:
        yield
    except Timeout:  # held by another; whoever asked did not want to wait
        raise
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(e):
            why = f"the disk of the {of} is full: free some space or choose another place with {option}"
        elif e.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            why = f"the {of} cannot be written ({os.strerror(e.errno)}): choose another place with {option}"
        else:
            why = f"could not {doing} in the {of}: {type(e).__name__} {os.strerror(e.errno) if e.errno else e}"
        raise StoreError(why, private=private, passing=e.errno in PASSING) from e


@contextmanager
def exporting(out: Path) -> Iterator[None]:
    """``explained`` for what a person wants in a place of their own. Raises UsageError where that is a file, StoreError."""
    with explained("write", "output folder", "--out", str(out)):
        try:
            yield
        except (FileExistsError, NotADirectoryError) as e:
            raise UsageError("the output folder is a file: name another one with --out", private=str(out)) from e
