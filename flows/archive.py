"""A whole archive at once: which scans are known, and what of each stage would run for all of them, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artifacts.checkpoint import Checkpoint, Role
from artifacts.errors import HounsfieldError
from artifacts.home import private_folder
from artifacts.private_index import PrivateIndex, signature
from artifacts.store import Store
from flows.inbox_policy import studies_of
from flows.nodule_line import nodule_line
from tasks.line import UNKNOWN, Plan
from tasks.reading.choose import KernelWish, choose_series
from tasks.reading.header_index import HeaderIndex
from tasks.reading.read import READER


@dataclass
class KnownScan:
    """A scan that was screened before. choice: why it was, as its report says; source, series: where it was last read."""

    digest: str
    name: str
    choice: str
    source: Path | None = None
    series: str = ""

    def open(self) -> Any:  # a plan never does
        raise NotImplementedError


@dataclass
class ArchivePlan:
    """stages: name -> action (reuse, run) -> because -> how many scans. due: scans for which any stage would run."""

    scans: int = 0
    due: int = 0
    stages: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)  # of a folder: why a series is not screened

    def add(self, plan: Plan) -> None:
        self.scans += 1
        self.due += any(s.action == "run" for s in plan.steps)
        for step in plan.steps:
            actions = self.stages.setdefault(step.stage, defaultdict(Counter))
            actions[step.action][step.because] += 1

    def as_json(self) -> dict[str, Any]:
        stages = {name: _counted(actions) for name, actions in self.stages.items()}
        return {"scans": self.scans, "due": self.due, "stages": stages, "left_out": dict(self.left_out.most_common())}


def _counted(actions: Mapping[str, Counter[str]]) -> dict[str, Any]:
    because = dict(actions["run"].most_common())
    return {"reuse": actions["reuse"].total(), "run": actions["run"].total(), "because": because}


def known_scans(store: Store, index: PrivateIndex) -> Iterator[KnownScan]:
    """Every scan that the store remembers, by hand or by the inbox, in the order of their digests."""
    for folder in sorted((store.root / "latest").iterdir()):
        if not (folder / "load.json").exists():
            continue
        last = store.last_recipe(folder.name, "report")
        path, uid = index.origin(folder.name) or (None, "")
        name = uid if uid and not uid.startswith("unnamed-") else f"scan-{folder.name[:12]}"
        yield KnownScan(folder.name, name, last.params.get("series_choice", "") if last else "", path, uid)


def scans_under(
    folders: list[Path], index: PrivateIndex, series: str, kernel: KernelWish, partial: bool, left_out: Counter[str]
) -> Iterator[KnownScan]:
    """The scans that the series policy chooses under ``folders``, from headers; unread ones have the digest ``UNKNOWN``."""
    headers = HeaderIndex(private_folder() / "headers", index.token)
    look = headers.look(folders)
    for members in studies_of(look).values():
        found = [headers.found(s) for s in members if s.kind == "series"]
        left_out.update(f"{s.kind}: not looked into" for s in members if s.kind != "series")
        try:
            chosen = choose_series(found, series, kernel=kernel, partial=partial) if found else []
        except HounsfieldError:
            chosen = []
        names = {f.uid for f, _ in chosen}
        left_out.update(f.why_not or "another series of its study was chosen" for f in found if f.uid not in names)
        for f, reason in chosen:
            digest = index.scan_digest(signature(f.files, Path(), READER))
            yield KnownScan(digest or UNKNOWN, f.uid, reason)


def planned(
    scans: Iterable[KnownScan], make: Callable[[str], Plan], checkpoints: Mapping[Role, Checkpoint], into: ArchivePlan
) -> Iterator[KnownScan]:
    """The scans for which any stage would run; everything is counted ``into``. ``make``: a fresh plan for a digest."""
    for scan in scans:
        plan = make(scan.digest)
        nodule_line(plan, scan, checkpoints, scan.choice)
        into.add(plan)
        if any(s.action == "run" for s in plan.steps):
            yield scan
