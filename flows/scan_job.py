"""One scan as a job for a process of its own: what it is told, what it tells while it works, what it comes to.

The job says everything: no database is asked by whoever does it, so that it may run on another machine that sees the same disks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artifacts.checkpoint import Checkpoint, Role
from artifacts.discreet import kept
from artifacts.errors import HounsfieldError, InputError, ScanRefused, StoreError, WeightsError
from artifacts.home import find_weights
from artifacts.known_stores import is_store
from artifacts.private_index import signature
from artifacts.store import Ref, Store
from flows.nodule_line import STAGES, nodule_line
from flows.room import check_room
from flows.scans import Scan
from flows.settle import open_index, settle, without_paths
from tasks.line import Line
from tasks.reading.choose import choose_series
from tasks.reading.find import find_series
from tasks.reading.found import FoundSeries
from tasks.reading.raw import RawScan
from tasks.reading.read import READER, read_scan
from tasks.reading.source import open_source
from tasks.stage import Outcome

Slot = Callable[[str], AbstractContextManager[None]]  # of a GPU


@dataclass(frozen=True)
class Settings:
    """What every scan of a run is screened with. checkpoints: role -> digest, settled once; versions: of the stages."""

    weights: str
    checkpoints: Mapping[str, str]
    store: str
    store_id: str
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # stage name -> parameters
    device: str = "auto"
    precision: str = "auto"
    versions: Mapping[str, int] = field(default_factory=lambda: {name: s.version for name, s in STAGES.items()})
    refresh: frozenset[str] = frozenset()


@dataclass(frozen=True, repr=False)
class Job:
    """One scan.

    found    the series, where the header index knows it; else ``source`` (archive, folder or file) is opened and ``series``
             chosen in it
    digest   of the scan, where its files were read before
    """

    name: str
    settings: Settings
    choice: str = ""
    found: FoundSeries | None = None
    source: Path | None = None
    series: str = "best"
    digest: str | None = None

    def __repr__(self) -> str:  # paths are not for logs
        return f"Job({self.name})"


@dataclass
class Result:
    """state: done, failed or refused; why of the latter two. passing: trying again in a moment may help.

    reports  refs, one a series; scans: (signature of the files, digest, series UID) of what was read
    shown    the report's preview
    """

    name: str
    state: str = "done"
    why: str = ""
    choice: str = ""
    passing: bool = False
    reports: list[str] = field(default_factory=list)
    scans: list[tuple[str, str, str]] = field(default_factory=list)
    ran: int = 0
    reused: int = 0
    seconds: float = 0.0
    shown: str = ""


class Told:
    """Watches the line for whoever started the job: one message a stage."""

    def __init__(self, result: Result, tell: Callable[[str], None]):
        self.result, self.tell_line = result, tell

    def started(self, stage: str) -> None: ...
    def progress(self, share: float) -> None: ...

    def finished(self, stage: str, ref: Ref, outcome: Outcome, seconds: float) -> None:
        self.result.reused += outcome.reused
        self.result.ran += not outcome.reused
        if stage == "report":
            self.result.shown = outcome.markdown
        self.tell_line(f"{stage} {'reused' if outcome.reused else 'ran'} in {seconds:.2f} s: {ref} {outcome.headline}")


def do(job: Job, slot: Slot, tell: Callable[[str], None] = lambda line: None) -> Result:
    """Screen one scan; whatever goes wrong becomes a result. Only the end of the process gets past this."""
    started = time.perf_counter()
    result = Result(job.name, choice=job.choice)
    try:
        _screen(job, slot, result, Told(result, tell))
    except (InputError, ScanRefused) as e:
        result.state, result.why, result.passing = "failed" if e.passing else "refused", str(e), e.passing
    except HounsfieldError as e:
        result.state, result.why, result.passing = "failed", str(e), e.passing
    except MemoryError:
        result.state, result.why = "failed", "it needs more memory than there is"
    except Exception as e:  # a defect, or a scan nobody has thought of: its traceback may hold names, and stays here
        kept(e, job.name)
        result.state, result.why = "failed", f"unexpected {type(e).__name__}; details in $HOUNSFIELD_HOME/private/failures"
    result.seconds = round(time.perf_counter() - started, 3)
    return result


@dataclass
class Remembered:
    """A scan of which the digest is known: its files are looked for only where its volume has to be made again."""

    digest: str
    choice: str
    source: Path | None
    series: str
    mark: str = ""

    def open(self) -> RawScan:
        """Raises InputError where nobody knows its files, they have gone, or they are no longer the same."""
        if self.source is None or not self.source.exists():
            raise InputError("its volume must be made again, and its files are no longer where they were last read")
        with without_paths(), open_index().scratch() as scratch, open_source(self.source, scratch) as opened:
            ((found, _),) = choose_series(find_series(opened), self.series, partial=True)
            raw = read_scan(found)
        if raw.digest() != self.digest:
            raise InputError("its files have changed since they were last read: screen it anew")
        return raw


def _screen(job: Job, slot: Slot, result: Result, told: Told) -> None:
    settings = job.settings
    checkpoints, store = same_weights(settings), same_store(settings)
    device, precision = settle(settings.device, settings.precision)
    params = {name: STAGES[name].params.model_validate(values) for name, values in settings.params.items()}
    refused: list[HounsfieldError] = []
    with scans_of(job, checkpoints) as scans:
        for scan in scans:
            result.choice = scan.choice
            line = Line(
                store, scan.digest, checkpoints, params, precision, settings.refresh, device=device, watcher=told, slot=slot
            )
            try:
                check_room(line, scan)
                ref = nodule_line(line, scan, checkpoints, scan.choice)
                result.reports.append(f"{ref.kind}:{ref.digest}")
            except ScanRefused as e:
                refused.append(e)
            finally:
                store.forget()
            if isinstance(scan, Scan):
                result.scans.append((scan.mark, scan.digest, scan.found.uid))
    if refused and not result.reports:
        raise refused[0]


def same_weights(settings: Settings) -> Mapping[Role, Checkpoint]:
    """The weights of the run; WeightsError where this machine knows others, or other stages, by the same name."""
    checkpoints = find_weights(settings.weights)
    other = [role for role, c in checkpoints.items() if c.digest != settings.checkpoints[role]]
    if other:
        here, wanted = checkpoints[other[0]].digest[:12], settings.checkpoints[other[0]][:12]
        raise WeightsError(
            f"the worker's weights '{settings.weights}' are not those of the run ({other[0]} {here}, wanted {wanted}): "
            "give every worker the same set"
        )
    versions = {name: s.version for name, s in STAGES.items()}
    if versions != settings.versions:
        raise WeightsError("the worker runs another version of Hounsfield than the run was started with: upgrade one of them")
    return checkpoints


def same_store(settings: Settings) -> Store:
    """The store of the run; StoreError where the same place leads to another one on this machine."""
    place = Path(settings.store)
    if not is_store(place) or (store := Store(place)).identity != settings.store_id:  # a mount point is left as it is
        raise StoreError("the worker's store is not the store of the run: mount the shared folder at the same place")
    return store


@contextmanager
def scans_of(job: Job, checkpoints: Mapping[Role, Checkpoint]) -> Iterator[Iterator[Scan | Remembered]]:
    """The job's scans, each read only where its digest is not known."""
    if job.found is not None:
        with without_paths():
            yield iter([recognised(job.found, job.choice, None, job.digest)])
        return
    if job.digest:
        yield iter([Remembered(job.digest, job.choice, job.source, job.series)])
        return
    assert job.source is not None
    partial = bool(job.settings.params.get("load", {}).get("partial", False))
    kernel = checkpoints["nodule"].card.input.kernel
    with without_paths(), open_index().scratch() as scratch, open_source(job.source, scratch) as opened:
        archive = job.source if opened != job.source or job.source.is_file() else None
        chosen = choose_series(find_series(opened), job.series, kernel=kernel, partial=partial)
        yield (recognised(found, job.choice or reason, archive, job.digest) for found, reason in chosen)


def recognised(found: FoundSeries, choice: str, archive: Path | None, digest: str | None) -> Scan:
    """``found`` as the line takes it, with the mark by which its files are known again."""
    mark = signature(found.files, archive or Path(), READER)
    if digest:
        return Scan(found, choice, digest, mark=mark)
    raw = read_scan(found)
    return Scan(found, choice, raw.digest(), raw, mark=mark)
