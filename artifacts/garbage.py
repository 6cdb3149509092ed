"""Garbage: which artifacts nothing kept needs, which of them go first, and how one goes.

Kept are the last reports of each scan and what runs in progress use, with all that those were made of; everything of a kind that
no scan's line makes (evaluations, trained networks, …: they cost hours), for itself: the volumes that were evaluated can be made
again; and what training reads, as it was last cut of each scan. Everything else can be computed again from its scan.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from filelock import Timeout

from artifacts import using
from artifacts.errors import StoreError
from artifacts.manifest import NAME, Damaged, Manifest
from artifacts.store import Ref, Store

# what a scan's line makes is made again in minutes; everything else is kept for itself
KINDS = ("volume", "lungmask", "heatmap", "lumps", "crops", "scores", "findings", "report", "comparison")
CUT = ("examples", "patches")  # what training reads: seconds a scan, hours a data set
STAGES = ("load", "outline", "segment", "group", "crop", "classify", "grade", "measure", "report", "compare")


@dataclass(frozen=True)
class Item:
    """One artifact as it lies there. needs: digests of what it was made of; made_at: seconds since 1970."""

    ref: Ref
    bytes: int
    made_at: float
    scan: str
    needs: frozenset[str]
    stage: str = ""
    damaged: bool = False

    @property
    def remade(self) -> bool:
        """Whether screening its scan, or cutting it for training, makes it again."""
        return self.ref.kind in CUT or (self.ref.kind in KINDS and (self.damaged or self.stage in STAGES))


@dataclass
class Census:
    """All artifacts of a store: those to be kept, and the rest, first to go first.

    since: when the counting began; in_use: bytes that are kept for runs in progress alone
    """

    since: float
    in_use: int = 0
    kept: list[Item] = field(default_factory=list)
    garbage: list[Item] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(i.bytes for i in [*self.kept, *self.garbage])


def census(store: Store, keep_last: int = 1, crops: bool = False) -> Census:
    """Tell what is to be kept from the rest. ``keep_last``: reports of each scan, the newest ones.

    crops: what training reads goes too, though no other cut has taken its place.
    """
    counted = Census(using.begin(store.root / "uses"))
    items = {i.ref.digest: i for i in (_item(store, r) for r in store.refs()) if i}
    used = using.in_use(store.root / "uses", counted.since)
    remembered = _remembered_needs(store)
    kept = _with_ancestors(items, _last_reports(store, items.values(), keep_last), remembered)
    last_cut: set[str] = set() if crops else set(remembered)
    kept |= {d for d, i in items.items() if not i.remade or (i.ref.kind in CUT and not i.damaged and d in last_cut)}
    for_runs = (_with_ancestors(items, used, remembered) & items.keys()) - kept
    counted.in_use = sum(items[d].bytes for d in for_runs)
    kept |= for_runs
    counted.kept = [i for d, i in items.items() if d in kept]
    counted.garbage = _in_order({d: i for d, i in items.items() if d not in kept})
    return counted


def chosen(counted: Census, limit: int | None = None, older_than: float | None = None) -> list[Item]:
    """What is to go of the garbage: made before ``older_than``, and only until the store has ``limit`` bytes."""
    going, left = [], counted.bytes
    stay: set[str] = set()  # what an item that stays was made of stays too
    for item in counted.garbage:
        young = older_than is not None and item.made_at >= older_than
        if young or item.ref.digest in stay or (limit is not None and left <= limit):
            stay |= {item.ref.digest, *item.needs}
            continue
        going.append(item)
        left -= item.bytes
    return going


def remove(store: Store, item: Item, since: float) -> bool:
    """Remove one artifact, whole; False where a run works on it or has named it since the census began."""
    folder = item.ref.path
    try:
        with store.lock(item.ref.digest, wait=False):
            if item.ref.digest in using.in_use(store.root / "uses", since):
                return False
            aside = folder.parent / f".tmp-{item.ref.digest}-removed-{uuid.uuid4().hex[:8]}"
            folder.rename(aside)
    except (Timeout, FileNotFoundError):
        return False
    shutil.rmtree(aside, ignore_errors=True)  # what is left of it is swept
    return True


def stale_workspaces(store: Store, older_than: float) -> list[Path]:
    """Workspaces whose artifact is there, or that nobody touched since ``older_than``; none that is being worked in."""
    made = {r.digest for r in store.refs()}
    stale = []
    for folder in (store.root / "work").glob("*"):
        with suppress(Timeout, OSError, StoreError), store.lock(folder.name, wait=False):
            touched = max((p.stat().st_mtime for p in [folder, *folder.rglob("*")]), default=0.0)
            if folder.name in made or touched < older_than:
                stale.append(folder)
    return stale


def size_of(folder: Path) -> int:
    """Bytes of all files under ``folder``, as far as they can be looked at."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _item(store: Store, ref: Ref) -> Item | None:
    try:
        m = store.manifest(ref)
    except Damaged:
        try:
            return Item(ref, size_of(ref.path), ref.path.stat().st_mtime, "", frozenset(), damaged=True)
        except OSError:
            return None
    except OSError:
        return None
    return Item(ref, m.bytes + _size(ref.path / NAME), _time_of(m), m.scan, _needs(m), m.recipe.stage)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _time_of(m: Manifest) -> float:
    try:
        return datetime.fromisoformat(m.made_at).timestamp()
    except ValueError:
        return 0.0


def _needs(m: Manifest) -> frozenset[str]:
    return frozenset(parent.rpartition(":")[2] for parent in m.parents.values())


def _last_reports(store: Store, items: Iterable[Item], keep_last: int) -> set[str]:
    """Digests: of each scan the report last asked for, and the newest."""
    roots: set[str] = set()
    reports: dict[str, list[Item]] = {}
    for item in items:
        if item.remade and item.ref.kind == "report" and not item.damaged:
            reports.setdefault(item.scan, []).append(item)
    for scan, made in reports.items():
        last = store.last_recipe(scan, "report")
        asked_last = last.digest if last else ""
        made.sort(key=lambda i: (i.ref.digest == asked_last, i.made_at), reverse=True)
        roots |= {i.ref.digest for i in made[:keep_last]}
    return roots


def _remembered_needs(store: Store) -> dict[str, frozenset[str]]:
    """digest -> inputs of every recipe that a scan last used: what is damaged or gone has no manifest to ask."""
    found = {}
    for path in (store.root / "latest").glob("*/*.json"):
        if recipe := store.last_recipe(path.parent.name, path.stem):
            found[recipe.digest] = frozenset(recipe.inputs.values())
    return found


def _with_ancestors(items: Mapping[str, Item], roots: set[str], remembered: Mapping[str, frozenset[str]]) -> set[str]:
    kept, left = set(), set(roots)
    while left:
        digest = left.pop()
        kept.add(digest)
        item = items.get(digest)
        known = item.needs if item and not item.damaged else remembered.get(digest, frozenset())
        left |= known - kept
    return kept


def _in_order(items: Mapping[str, Item]) -> list[Item]:
    """Oldest first, but nothing before what was made of it: an artifact counts as old as the youngest that needs it."""
    needed_by: dict[str, list[str]] = {}
    for digest, item in items.items():
        for need in item.needs & items.keys():
            needed_by.setdefault(need, []).append(digest)
    ranks: dict[str, tuple[float, int]] = {}

    def rank(digest: str) -> tuple[float, int]:
        """(time of the youngest that needs it, number of steps down to it)"""
        if digest not in ranks:
            below = [rank(d) for d in needed_by.get(digest, ())]
            ranks[digest] = (
                max([items[digest].made_at, *(t for t, _ in below)]),
                max((n + 1 for _, n in below), default=0),
            )
        return ranks[digest]

    return sorted(items.values(), key=lambda i: (*rank(i.ref.digest), i.ref.digest))
