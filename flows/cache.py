"""Cache: every scan of a data set cut to crops and patches, once; what training runs read.

Each scan's ``Examples`` and ``Patches`` are artifacts like any other: keyed by the scan, its truth and the parameters, so that a
scan added is cut alone, a run that was killed goes on, and every training that wants the same crops shares them. Volumes,
outlines and heat maps that were made only for cutting are dropped again (``keep`` keeps them).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console

from artifacts import using
from artifacts.checkpoint import Checkpoint, Role
from artifacts.errors import HounsfieldError, InputError, StoreError
from artifacts.garbage import Item, remove
from artifacts.home import find_weights
from artifacts.private_index import PrivateIndex
from artifacts.store import Ref, Store
from flows.console import TerminalWatcher, watcher, watching, wide_console
from flows.dataset import Gathered, gather, known_of
from flows.flow import flow
from flows.form import Device, PrecisionField, form
from flows.scans import Scan, recognised
from flows.settle import open_index, open_store, settle, without_paths
from tasks.cut import CutParams, cut
from tasks.datasets.dataset import DatasetParams
from tasks.datasets.dataset import dataset as dataset_stage
from tasks.datasets.find import Layout
from tasks.group import group
from tasks.line import UNKNOWN, Line, Plan, Runner, Source, parse_params
from tasks.load import LoadParams, load
from tasks.mine import MineParams, mine
from tasks.outline import OutlineParams, outline
from tasks.patch import PatchParams, patch
from tasks.segment import segment
from tasks.stage import Params, Stage
from tasks.training.truth import Truth, truth_of

Want = Literal["examples", "patches", "mined"]
SPARE_BYTES = 2**30  # left free on the disk for everything else


@dataclass
class Cached:
    """What training reads: refs, one a scan that could be cut, in the order of the data set's scans.

    dataset   ref of the Dataset (``artifacts.dataset``)
    examples  refs of Examples; patches: refs of Patches; mined: refs of Examples of a segmenter's proposals, empty without one
    skipped   series UID -> why it could not be cut
    """

    dataset: Ref
    examples: list[Ref] = field(default_factory=list)
    patches: list[Ref] = field(default_factory=list)
    mined: list[Ref] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def cached(
    folder: Path,
    want: Sequence[Want] = ("examples", "patches"),
    params: Mapping[str, Params] | None = None,
    *,
    store: Store | None = None,
    index: PrivateIndex | None = None,
    layout: Layout = "auto",
    table: Path | None = None,
    segmenter: Checkpoint | None = None,
    keep: bool = False,
    device: str = "auto",
    precision: str = "auto",
    most_scans: int | None = None,
) -> Cached:
    """The crops and patches of every scan of the data set in ``folder``, cut where they are not there whole.

    A plain function: call it from a flow (its stages then are tasks of that flow) or from none.

    want       examples (``artifacts.examples.Examples``), patches (``artifacts.patches.Patches``), mined: Examples of what
               ``segmenter`` proposes, its own false lumps above all
    params     stage name -> parameters: dataset, load, outline, cut, patch, mine; absent: the defaults
    most_scans only the first so many, for a quick try

    Raises InputError where there is no data set, or none of its scans can be cut; StoreError where the disk has no room.
    """
    params, store, index = params or {}, store or open_store(), index or open_index()
    data_params = params.get("dataset") or DatasetParams()
    assert isinstance(data_params, DatasetParams)
    found = gather(store, index, folder, data_params, layout, table)
    plan = Cutting(store, index, folder, found, tuple(want), params, segmenter, keep, *settle(device, precision))
    return plan.run(found.dataset.scans[:most_scans])


@dataclass
class Cutting:
    """One run over a data set."""

    store: Store
    index: PrivateIndex
    folder: Path
    found: Gathered
    want: tuple[Want, ...]
    params: Mapping[str, Params]
    segmenter: Checkpoint | None = None
    keep: bool = False
    device: str = "cpu"
    precision: Any = "float32"

    def run(self, scans: Sequence[Any]) -> Cached:
        done = Cached(self.found.ref)
        made: dict[str, dict[Want, Ref]] = {}
        todo = []
        for scan in scans:
            there = self._there(scan.uid)
            if there is None:
                todo.append(scan.uid)
            else:
                made[scan.uid] = there
        watcher().say(f"{len(made)} of {len(scans)} scans are cut already; {len(todo)} to cut")
        self._announce(todo)
        for k, uid in enumerate(todo):
            try:
                made[uid] = self._cut(uid)
                watcher().say(f"scan {k + 1} of {len(todo)} done")
            except StoreError:
                raise  # a full disk is full for all
            except Exception as e:  # one broken scan never stops the others
                why = str(e) if isinstance(e, HounsfieldError) else f"unexpected {type(e).__name__}"
                done.skipped[uid] = why
                watcher().say(f"scan {k + 1} of {len(todo)} skipped, {uid}: {why}")
            finally:
                watcher().close()
                self.store.forget()
        self._gathered(done, [made[s.uid] for s in scans if s.uid in made])
        if scans and not made:
            first = next(iter(done.skipped.values()))
            raise InputError(f"none of the {len(scans)} scans could be cut; the first: {first}")
        return done

    def _gathered(self, done: Cached, made: list[dict[Want, Ref]]) -> None:
        for name in self.want:
            getattr(done, name).extend(refs[name] for refs in made if name in refs)

    def source(self, uid: str, read: bool) -> Scan:
        series = self.found.raw.series[uid]
        with without_paths():
            return recognised(series, "", self.folder, self.folder, self.index, verify=False, read=read)

    def _there(self, uid: str) -> dict[Want, Ref] | None:
        """The scan's artifacts where all that is wanted is there whole by names and sizes; no pixel is read."""
        try:
            source = self.source(uid, read=False)
            if source.digest == UNKNOWN:
                return None
            plan = Plan(self.store, source.digest, self._checkpoints(), self.params, self.precision)
            refs = self.line(plan, source, uid)
        except (HounsfieldError, OSError):  # told when it is cut
            return None
        return refs if all(self.store.state(ref) == "whole" for ref in refs.values()) else None

    def _cut(self, uid: str) -> dict[Want, Ref]:
        source = self.source(uid, read=True)
        line = Line(
            self.store, source.digest, self._checkpoints(), self.params, self.precision, device=self.device, watcher=watcher()
        )
        passing: list[Ref] = []

        def run(stage: Any, **given: Any) -> Ref:
            there = self.store.exists(line.ref(stage, given))
            ref = line(stage, **given)
            if not there and not self.keep and stage.name in ("load", "outline", "segment"):
                passing.append(ref)
            return ref

        try:
            return self.line(run, source, uid)
        finally:
            self.store.forget()
            since = using.begin(self.store.root / "uses")
            for ref in passing:
                remove(self.store, Item(ref, 0, 0.0, source.digest, frozenset()), since)

    def line(self, line: Runner, source: Source, uid: str) -> dict[Want, Ref]:
        """From a scan to what is wanted of it: one line a stage."""
        truth = known_of(self.found, uid, self.index)
        made: dict[Want, Ref] = {}
        volume = line(load, scan=source)
        lung_mask = line(outline, volume=volume)
        if "examples" in self.want:
            made["examples"] = line(cut, volume=volume, lung_mask=lung_mask, truth=truth.for_crops())
        if "patches" in self.want:
            made["patches"] = line(patch, volume=volume, lung_mask=lung_mask, truth=truth.for_patches())
        if "mined" in self.want and self.segmenter:
            heat_map = line(segment, volume=volume, lung_mask=lung_mask)
            how = {"threshold": self._mining.threshold, "blobs": self._mining.blobs}
            lumps = line(group, volume=volume, lung_mask=lung_mask, heat_map=heat_map, **how)
            made["mined"] = line(mine, volume=volume, lumps=lumps, truth=truth.for_crops())
        return made

    @property
    def _mining(self) -> MineParams:
        return self.params.get("mine") or MineParams()  # type: ignore[return-value]

    def _checkpoints(self) -> dict[Role, Checkpoint]:
        return {"segmenter": self.segmenter} if self.segmenter else {}

    def _announce(self, todo: Sequence[str]) -> None:
        """Say how much will be written at most, and refuse where the disk has no room for it."""
        if not todo:
            return
        most = sum(self._most_bytes(truth_of(self.found.dataset, uid)) for uid in todo)
        free = shutil.disk_usage(self.store.root).free
        watcher().say(f"{len(todo)} scans: at most {gigabytes(most)} will be written ({gigabytes(free)} are free)")
        if most + SPARE_BYTES > free:
            raise StoreError(
                f"up to {gigabytes(most)} would be written and {gigabytes(free)} are free: free some space, choose another place "
                "with --store, or keep fewer (--set cut.negatives=50, smaller crops, --scans)"
            )

    def _most_bytes(self, truth: Truth) -> int:
        cuts: Any = self.params.get("cut") or CutParams()
        patches: Any = self.params.get("patch") or PatchParams()
        total = 0
        if "examples" in self.want:
            total += cuts.bytes_a_crop * cuts.most(len(truth.nodules), int((truth.labels == 1).sum()))
        if "patches" in self.want:
            total += patches.bytes_a_patch * patches.most(len(truth.nodules))
        if "mined" in self.want and self.segmenter:
            total += self._mining.bytes_a_crop * self._mining.most_crops
        return total


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


STAGES: dict[str, Stage] = {s.name: s for s in (dataset_stage, load, outline, cut, patch, mine)}


def parsed(settings: list[str]) -> dict[str, Params]:
    """``--set`` as parameters by stage, the others at their defaults; UsageError says what was allowed."""
    return {name: stage.params() for name, stage in STAGES.items()} | parse_params(STAGES, settings)


def run_cache(folder: Path, params: Mapping[str, Params], *, direct: bool, table: Path | None, **options: Any) -> Cached:
    """``cache`` at the terminal, with or without Prefect's engine, which is told tokens and never a path."""
    if not folder.is_dir():
        raise InputError("there is no folder at the given path: give the folder of a data set", private=str(folder))
    index = open_index()
    watching.set(TerminalWatcher(Console(stderr=True)))
    settle(options["device"], options["precision"])
    run: Any = cache.fn if direct else cache
    return run(source=index.token(folder), table=index.token(table) if table else None, **options, **params)


def show_cached(done: Cached, as_json: bool) -> None:
    """How many artifacts there are, and what was skipped and why."""
    import json

    counts = {name: len(getattr(done, name)) for name in ("examples", "patches", "mined")}
    if as_json:
        refs = {name: [str(r) for r in getattr(done, name)] for name in counts}
        print(json.dumps({"dataset": str(done.dataset), **refs, "skipped": done.skipped}, indent=1))
        return
    console = wide_console(markup=False)
    console.print(f"{done.dataset}  " + ", ".join(f"{n} of {name}" for name, n in counts.items() if n), highlight=False)
    for uid, why in done.skipped.items():
        console.print(f"! skipped {uid}: {why}", highlight=False, markup=False)


@flow("cache")
def cache(
    source: Annotated[
        str, form("Data set", "Folder of a data set, or the source-… token that the command line makes of it", min_length=1)
    ],
    layout: Annotated[Layout, form("Layout", "auto: recognised by what lies in the folder; luna16, lidc or table")] = "auto",
    table: Annotated[
        str | None, form("Table", "CSV of nodules, where the folder holds none or several; or its source-… token")
    ] = None,
    segmenter: Annotated[
        str | None, form("Segmenter", "Weights set whose segmenter's false lumps are cut too; empty: none")
    ] = None,
    scans: Annotated[int | None, form("Scans", "Only the first so many, for a quick try", ge=1)] = None,
    keep: Annotated[bool, form("Keep volumes", "Keep volumes, lung masks and heat maps in the store after cutting")] = False,
    device: Device = "auto",
    precision: PrecisionField = "auto",
    dataset: Annotated[DatasetParams, form("Data set", "How truth is read, and how patients are shared out")] = DatasetParams(),
    load: Annotated[LoadParams, form("Load", "Read slices to Hounsfield units")] = LoadParams(),
    outline: Annotated[OutlineParams, form("Outline", "Find the lungs")] = OutlineParams(),
    cut: Annotated[CutParams, form("Cut", "Crops for the classifiers")] = CutParams(),
    patch: Annotated[PatchParams, form("Patch", "Slices for the segmenter")] = PatchParams(),
    mine: Annotated[MineParams, form("Mine", "What the segmenter proposes")] = MineParams(),
) -> Cached:
    """Cut every scan of a data set to what training reads; what is cut already is reused, a scan that breaks is skipped."""
    params: dict[str, Params] = {"dataset": dataset, "load": load, "outline": outline, "cut": cut, "patch": patch, "mine": mine}
    index = open_index()
    return cached(
        index.path(source),
        ("examples", "patches", "mined") if segmenter else ("examples", "patches"),
        params,
        index=index,
        layout=layout,
        table=index.path(table) if table else None,
        segmenter=find_weights(segmenter)["segmenter"] if segmenter else None,
        keep=keep,
        device=device,
        precision=precision,
        most_scans=scans,
    )
