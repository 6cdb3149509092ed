"""Train: a data set, phantoms or both in, a weights set that `screen` uses out; one flow a network.

Data set, candidate cache, training: each step an artifact. A run that was stopped goes on from its last whole epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from artifacts.checkpoint import ROLES, Card, Checkpoint, Role, read_checkpoint, write_checkpoint
from artifacts.errors import UsageError, WeightsError
from artifacts.home import find_weights, weights_folder, weights_sets
from artifacts.store import Ref, Store
from artifacts.trained import Trained
from flows.cache import cached
from flows.console import watcher, watching
from flows.flow import flow
from flows.form import Device, form
from flows.phantom_cuts import cut_phantoms
from flows.settle import open_index, open_store
from flows.tensorboard import TensorBoard
from tasks.cut import CutParams
from tasks.datasets.dataset import DatasetParams
from tasks.datasets.find import Layout
from tasks.line import Line
from tasks.load import LoadParams
from tasks.mine import MineParams
from tasks.outline import OutlineParams
from tasks.patch import PatchParams
from tasks.stage import Compute, Params, Stage
from tasks.train_malignancy import TrainMalignancyParams, train_malignancy
from tasks.train_nodule import TrainNoduleParams, train_nodule
from tasks.train_segmenter import TrainSegmenterParams, as_before, train_segmenter
from tasks.training.crops import ClassifierParams, as_in
from tasks.training.parts import device_of
from tasks.training.ready import CheckpointSource

STAGES: dict[Role, Stage] = {"segmenter": train_segmenter, "nodule": train_nodule, "malignancy": train_malignancy}
STARTS_FROM: dict[Role, Role] = {"segmenter": "segmenter", "nodule": "nodule", "malignancy": "nodule"}
BASE = "phantom"  # gives the roles that a new set does not have yet

Data = Annotated[
    str | None,
    form("Data set", "Folder of a data set, or the source-… token that the command line makes of it; empty: phantoms alone"),
]
Phantoms = Annotated[
    int, form("Phantoms", "So many phantoms beside the data set: to train on, a fifth to watch", ge=0, le=10_000)
]
Name = Annotated[
    str, form("Name", "Weights set to write: lowercase letters, digits, dashes", pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
]
LayoutField = Annotated[Layout, form("Layout", "auto: recognised by what lies in the folder; luna16, lidc or table")]
Table = Annotated[str | None, form("Table", "CSV of nodules, where the folder holds none or several; or its source-… token")]
Scans = Annotated[int | None, form("Scans", "Only the first so many, for a quick try", ge=1)]
Segmenter = Annotated[str | None, form("Segmenter", "Weights set whose segmenter's own false lumps are learnt from; empty: none")]
Start = Annotated[str | None, form("Start", "Weights set whose network of this kind training goes on from; empty: from nothing")]
GraderStart = Annotated[
    str | None, form("Start", "Weights set whose nodule classifier the grader starts from; empty: from nothing")
]
Devices = Annotated[int, form("Devices", "How many GPUs or CPU processes; more than one takes the strategy ddp", ge=1, le=64)]
Strategy = Annotated[str, form("Strategy", "auto (one device) or ddp", pattern="^(auto|ddp)$")]
TrainPrecision = Annotated[str, form("Precision", "float32, or bfloat16 (mixed)", pattern="^(float32|bfloat16)$")]
Boards = Annotated[str | None, form("TensorBoard", "Folder for event files, or its source-… token; empty: none")]
DatasetField = Annotated[DatasetParams, form("Data set", "How truth is read, and how patients are shared out")]
LoadField = Annotated[LoadParams, form("Load", "Read slices to Hounsfield units")]
OutlineField = Annotated[OutlineParams, form("Outline", "Find the lungs")]
CutField = Annotated[CutParams, form("Cut", "Crops for the classifiers")]
PatchField = Annotated[PatchParams, form("Patch", "Slices for the segmenter")]
MineField = Annotated[MineParams, form("Mine", "What the segmenter proposes")]


@dataclass
class Job:
    """What one of the flows was asked for."""

    role: Role
    source: str | None
    phantoms: int
    name: str
    train: Params
    cutting: Mapping[str, Params]
    compute: Compute
    layout: Layout = "auto"
    table: str | None = None
    scans: int | None = None
    segmenter: str | None = None
    start: str | None = None
    tensorboard: str | None = None
    store: Store = field(default_factory=open_store)

    def run(self) -> Ref:
        """Cut, train, write the weights set; the ref of the ``Trained``."""
        if not self.source and not self.phantoms:
            raise UsageError("nothing to train on: give --data FOLDER, --phantoms N, or both")
        if self.compute.devices > 1 and self.compute.strategy != "ddp":
            raise UsageError(f"{self.compute.devices} devices need --strategy ddp")
        stage = STAGES[self.role]
        given: dict[str, Any] = {}
        if self.start:
            given["start"] = CheckpointSource(self.fitting_start(self.start))
        given["patches" if self.role == "segmenter" else "examples"] = parts = self.parts()
        if "validation" not in {self.store.manifest(p).summary.get("split") for p in parts}:
            watcher().say("! no scan is in the validation part: nothing is watched, the last epoch is kept")
        settled = {"params": {stage.name: self.train}, "compute": self.compute, "device": device_of(self.compute)}
        line = Line(self.store, f"train-{self.role}", watcher=watcher(), **settled)  # type: ignore[arg-type]
        try:
            ref = line(stage, **given)
        finally:
            watcher().close()
        trained = self.store.read(ref, Trained)
        write_set(self.name, trained)
        watcher().say(f"weights '{self.name}' have a new {self.role}: hounsfield screen PATH --weights {self.name}")
        return ref

    def parts(self) -> list[Ref]:
        """What there is to train on: of every scan of the data set, of every phantom."""
        index, segmenter = open_index(), self.miner()
        parts: list[Ref] = []
        if self.source:
            want: Any = ("patches",) if self.role == "segmenter" else ("examples", "mined") if segmenter else ("examples",)
            found = cached(
                Path(index.path(self.source)),
                want,
                self.cutting,
                store=self.store,
                index=index,
                layout=self.layout,
                table=Path(index.path(self.table)) if self.table else None,
                segmenter=segmenter,
                device=self.compute.device,
                most_scans=self.scans,
            )
            parts += [*found.patches, *found.examples, *found.mined]
        if self.phantoms:
            parts += cut_phantoms(self.store, self.phantoms, self.role == "segmenter", segmenter, self.cutting)
        return parts

    def fitting_start(self, name: str) -> Checkpoint:
        """The network to go on from. TrainingError, before anything is cut, where it wants other crops or slices."""
        start, train = find_weights(name)[STARTS_FROM[self.role]], self.train
        card = start.card.model_dump(mode="json")
        if isinstance(train, TrainSegmenterParams):
            patch = self.cutting.get("patch") or PatchParams()
            as_before(train, card, 2 * patch.context + 1)  # type: ignore[attr-defined]
        elif isinstance(train, ClassifierParams):
            cut = self.cutting.get("cut") or CutParams()
            as_in(train, card, cut.spec)  # type: ignore[attr-defined]
        return start

    def miner(self) -> Checkpoint | None:
        """The segmenter whose false lumps the classifiers learn from."""
        return find_weights(self.segmenter)["segmenter"] if self.segmenter and self.role != "segmenter" else None


def write_set(name: str, trained: Trained) -> Path:
    """The network into the user's weights set ``name``; roles that the set does not have yet come from the shipped one."""
    folder, card = weights_folder() / name, Card.model_validate(trained.card)
    base = weights_sets().get(BASE)
    write_checkpoint(folder, card, trained.tensors)
    for role in ROLES:
        try:
            read_checkpoint(folder, role)
        except WeightsError:
            if base:
                lent = read_checkpoint(base, role)
                write_checkpoint(folder, lent.card, lent.tensors())
    return folder


def _job(role: Role, train: Params, given: Mapping[str, Any]) -> Ref:
    """Run a flow's own arguments as a job, with event files where they are asked for."""
    cutting = {k: given[k] for k in ("dataset", "load", "outline", "cut", "patch", "mine")}
    compute = Compute(given["device"], given["devices"], given["strategy"], given["precision"])
    own = {
        k: given.get(k) for k in ("source", "phantoms", "name", "layout", "table", "scans", "segmenter", "start", "tensorboard")
    }
    job = Job(role, train=train.model_copy(update={"name": f"{given['name']}-{role}"}), cutting=cutting, compute=compute, **own)  # type: ignore[arg-type]
    if not job.tensorboard:
        return job.run()
    with TensorBoard(watcher(), Path(open_index().path(job.tensorboard)) / f"{job.name}-{role}") as seen:
        token = watching.set(seen)  # type: ignore[arg-type]
        try:
            return job.run()
        finally:
            watching.reset(token)


@flow("train-segmenter")
def segmenter(
    source: Data = None,
    phantoms: Phantoms = 0,
    name: Name = "mine",
    start: Start = None,
    train: Annotated[TrainSegmenterParams, form("Train", "Network, loss, augmentation, loop")] = TrainSegmenterParams(),
    layout: LayoutField = "auto",
    table: Table = None,
    scans: Scans = None,
    device: Device = "auto",
    devices: Devices = 1,
    strategy: Strategy = "auto",
    precision: TrainPrecision = "float32",
    tensorboard: Boards = None,
    dataset: DatasetField = DatasetParams(),
    load: LoadField = LoadParams(),
    outline: OutlineField = OutlineParams(),
    cut: CutField = CutParams(),
    patch: PatchField = PatchParams(),
    mine: MineField = MineParams(),
) -> Ref:
    """Train the segmenter on patches of a data set, of phantoms or both; what is cut already is reused."""
    return _job("segmenter", train, locals())


@flow("train-nodule")
def nodule(
    source: Data = None,
    phantoms: Phantoms = 0,
    name: Name = "mine",
    start: Start = None,
    segmenter: Segmenter = None,
    train: Annotated[TrainNoduleParams, form("Train", "Network, loss, augmentation, loop")] = TrainNoduleParams(),
    layout: LayoutField = "auto",
    table: Table = None,
    scans: Scans = None,
    device: Device = "auto",
    devices: Devices = 1,
    strategy: Strategy = "auto",
    precision: TrainPrecision = "float32",
    tensorboard: Boards = None,
    dataset: DatasetField = DatasetParams(),
    load: LoadField = LoadParams(),
    outline: OutlineField = OutlineParams(),
    cut: CutField = CutParams(),
    patch: PatchField = PatchParams(),
    mine: MineField = MineParams(),
) -> Ref:
    """Train the nodule classifier on crops of nodules, of the table's candidates and of a segmenter's own false lumps."""
    return _job("nodule", train, locals())


@flow("train-malignancy")
def malignancy(
    source: Data = None,
    phantoms: Phantoms = 0,
    name: Name = "mine",
    start: GraderStart = None,
    segmenter: Segmenter = None,
    train: Annotated[TrainMalignancyParams, form("Train", "Network, loss, augmentation, loop")] = TrainMalignancyParams(),
    layout: LayoutField = "auto",
    table: Table = None,
    scans: Scans = None,
    device: Device = "auto",
    devices: Devices = 1,
    strategy: Strategy = "auto",
    precision: TrainPrecision = "float32",
    tensorboard: Boards = None,
    dataset: DatasetField = DatasetParams(),
    load: LoadField = LoadParams(),
    outline: OutlineField = OutlineParams(),
    cut: CutField = CutParams(),
    patch: PatchField = PatchParams(),
    mine: MineField = MineParams(),
) -> Ref:
    """Train the grader on the nodules whose malignancy is known, from a nodule classifier's weights or from nothing."""
    return _job("malignancy", train, locals())


FLOWS: dict[Role, Any] = {"segmenter": segmenter, "nodule": nodule, "malignancy": malignancy}
