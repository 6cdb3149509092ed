"""Evaluate: a data set's scans screened and measured against what is known to be in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from artifacts.checkpoint import Checkpoint, Role
from artifacts.dataset import SPLITS, Dataset, DatasetScan
from artifacts.errors import HounsfieldError, InputError, StoreError
from artifacts.evaluation import Evaluation
from artifacts.home import find_weights
from artifacts.private_index import PrivateIndex
from artifacts.store import Ref, Store
from flows.console import watcher
from flows.dataset import Gathered, gather, known_of
from flows.flow import flow
from flows.form import Device, PrecisionField, Weights, form
from flows.nodule_line import STAGES as LINE
from flows.nodule_line import findings_line
from flows.scans import recognised
from flows.settle import open_index, open_store, settle, without_paths
from tasks.assess import AssessParams, assess
from tasks.datasets.dataset import DatasetParams
from tasks.datasets.dataset import dataset as dataset_stage
from tasks.datasets.find import Layout
from tasks.evaluate import EvaluateParams
from tasks.evaluate import evaluate as evaluate_stage
from tasks.evaluation.in_memory import LEAST_P
from tasks.evaluation.reference import reference_of_scan
from tasks.line import UNKNOWN, Line, Plan, Runner, Source, parse_params
from tasks.load import LoadParams
from tasks.measure import MeasureParams
from tasks.stage import Params, Stage

SplitName = Literal["train", "validation", "test", "all"]
STAGES: dict[str, Stage] = LINE | {s.name: s for s in (dataset_stage, assess, evaluate_stage)}
LOW = MeasureParams(min_probability=LEAST_P)  # down to here, so that the curve reaches 8 false positives a scan


@flow("evaluate")
def evaluate(
    source: Annotated[
        str, form("Data set", "Folder of a data set, or the source-… token that the command line makes of it", min_length=1)
    ],
    weights: Weights = "phantom",
    split: Annotated[SplitName, form("Split", "Which scans: those never trained on (test), or others")] = "test",
    fold: Annotated[int | None, form("Fold", "Only this fold, whatever its split: for cross-validation", ge=0, le=99)] = None,
    layout: Annotated[Layout, form("Layout", "auto: recognised by what lies in the folder; luna16, lidc or table")] = "auto",
    table: Annotated[
        str | None, form("Table", "CSV of nodules, where the folder holds none or several; or its source-… token")
    ] = None,
    scans: Annotated[int | None, form("Scans", "Only the first so many, for a quick try", ge=1)] = None,
    device: Device = "auto",
    precision: PrecisionField = "auto",
    dataset: Annotated[DatasetParams, form("Data set", "How truth is read, and how patients are shared out")] = DatasetParams(),
    load: Annotated[LoadParams, form("Load", "Read slices to Hounsfield units")] = LoadParams(),
    measure: Annotated[MeasureParams, form("Measure", "Merge, outline and measure")] = LOW,
    assess: Annotated[AssessParams, form("Assess", "What is kept to look at")] = AssessParams(),
    evaluation: Annotated[EvaluateParams, form("Evaluate", "How sure the numbers are")] = EvaluateParams(),
) -> Ref:
    """How well a weights set finds, tells apart and grades the nodules of a data set. Research use, not a medical device.

    Scans that are screened already are not screened again; one that breaks is skipped and listed.
    """
    params: dict[str, Params] = {"load": load, "measure": measure, "assess": assess, "evaluate": evaluation, "dataset": dataset}
    index = open_index()
    found = gather(open_store(), index, index.path(source), dataset, layout, index.path(table) if table else None)
    chosen = chosen_scans(found.dataset, split, fold)[:scans]
    which = f"fold {fold}" if fold is not None else f"split {split}"
    run = Evaluating(index.path(source), found, weights, params, *settle(device, precision), index=index)
    return run.all(chosen, f"{found.dataset.layout}, {which}, {len(chosen)} scans")


def chosen_scans(found: Dataset, split: SplitName, fold: int | None) -> list[DatasetScan]:
    """The scans of a split or a fold; InputError says what there is instead where there is none."""
    if fold is not None:
        chosen, asked = found.in_fold(fold), f"fold {fold}"
    else:
        chosen, asked = (found.scans if split == "all" else found.in_split(split)), f"split {split}"
    if not chosen:
        there = ", ".join(f"{name} {len(found.in_split(name))}" for name in SPLITS)
        folds = ", ".join(str(f) for f in sorted({s.fold for s in found.scans}))
        raise InputError(f"no scan is in {asked}: there are {there}; folds {folds}; --split all takes every scan")
    return chosen


@dataclass
class Evaluating:
    """One weights set on one data set."""

    folder: Path
    found: Gathered
    weights: str
    params: Mapping[str, Params]
    device: str
    precision: Any
    index: PrivateIndex

    def __post_init__(self) -> None:
        self.store: Store = open_store()
        self.checkpoints: Mapping[Role, Checkpoint] = find_weights(self.weights)
        self.settings = {n: p for n, p in self.params.items() if n not in ("dataset", "evaluate")}

    def all(self, chosen: list[DatasetScan], data: str) -> Ref:
        """Every scan's assessment, then the evaluation."""
        assessments: list[Ref] = []
        skipped: list[str] = []
        for k, scan in enumerate(chosen):
            try:
                assessments.append(self._there(scan.uid) or self._assessed(scan.uid))
                watcher().say(f"scan {k + 1} of {len(chosen)} done")
            except StoreError:
                raise  # a full disk is full for all
            except Exception as e:  # one broken scan never stops the others
                why = str(e) if isinstance(e, HounsfieldError) else f"unexpected {type(e).__name__}"
                skipped.append(f"{scan.uid}: {why}")
                watcher().say(f"scan {k + 1} of {len(chosen)} skipped, {scan.uid}: {why}")
            finally:
                watcher().close()
                self.store.forget()
        if not assessments:
            raise InputError(f"none of the {len(chosen)} scans could be evaluated; the first: {skipped[0]}")
        given = self.params["evaluate"]
        digests = {role: c.digest for role, c in self.checkpoints.items()}
        about = {"weights": self.weights, "checkpoints": digests, "data": data, "skipped": tuple(skipped)}
        told = given.model_copy(update=about)
        line = Line(self.store, self.found.ref.digest, params={"evaluate": told}, watcher=watcher())
        try:
            return line(evaluate_stage, assessments=assessments)
        finally:
            watcher().close()

    def _source(self, uid: str, read: bool) -> Source:
        with without_paths():
            return recognised(self.found.raw.series[uid], "", self.folder, self.folder, self.index, verify=False, read=read)

    def _there(self, uid: str) -> Ref | None:
        """The scan's assessment where it is there whole by names and sizes; no pixel is read."""
        source = self._source(uid, read=False)
        if source.digest == UNKNOWN:
            return None
        ref = self._line(Plan(self.store, source.digest, self.checkpoints, self.settings, self.precision), source, uid)
        return ref if self.store.state(ref) == "whole" else None

    def _assessed(self, uid: str) -> Ref:
        source = self._source(uid, read=True)
        line = Line(
            self.store, source.digest, self.checkpoints, self.settings, self.precision, device=self.device, watcher=watcher()
        )
        return self._line(line, source, uid)

    def _line(self, line: Runner, source: Source, uid: str) -> Ref:
        found = findings_line(line, source, self.checkpoints)
        return line(
            assess,
            volume=found.volume,
            lung_mask=found.lung_mask,
            heat_map=found.heat_map,
            lumps=found.lumps,
            nodule_scores=found.nodule_scores,
            findings=found.findings,
            reference=reference_of_scan(known_of(self.found, uid, self.index)),
            suspicious_above=self.checkpoints["segmenter"].card.threshold,
        )


def parsed(settings: list[str], partial: bool = False) -> dict[str, Params]:
    """``--set`` as parameters of the flow, the others at their defaults; UsageError says what was allowed."""
    allowed = {name: STAGES[name] for name in ("dataset", "load", "measure", "assess", "evaluate")}
    given = parse_params(allowed, [*settings, *(["load.partial=true"] if partial else [])])
    if "measure" in given and given["measure"].model_dump()["min_probability"] is None:
        given["measure"] = given["measure"].model_copy(update={"min_probability": LEAST_P})
    return given


def read_evaluation(text: str) -> Evaluation:
    """An evaluation by its ref, or the folder that ``hounsfield evaluate --out`` wrote."""
    folder = Path(text)
    if (folder / "evaluation.json").is_file():
        try:
            return Evaluation.read(folder)
        except (ValueError, KeyError, TypeError, OSError) as e:
            raise InputError("the folder holds no whole evaluation: export it again", private=str(folder)) from e
    store = open_store()
    ref = store.resolve(text)
    if ref.kind != Evaluation.kind:
        raise InputError(f"{ref} is no evaluation: give what `hounsfield evaluate` printed, or its folder")
    made: Evaluation = store.open(ref, Evaluation)
    return made
