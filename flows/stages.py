"""Each stage by itself, from any artifact: one flow a stage, so that each has a form of its own in the UI."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any

from prefect import Flow

from artifacts.errors import InputError, StoreError
from artifacts.home import find_weights
from artifacts.store import Ref, Store
from flows.console import watcher
from flows.downstream import Rest, last_params
from flows.flow import flow
from flows.form import Again, Chosen, Device, Downstream, PrecisionField, Reference, WeightsOrLineage, form
from flows.lineage import inputs_for
from flows.nodule_line import GRADE_CROP, SLOTS, downstream, filled_in, nodule_line
from flows.scan_job import Remembered
from flows.scans import Scan, scans_in
from flows.settle import open_index, open_store, settle
from tasks.line import Line
from tasks.stage import Params, Stage


def run_stage(
    stage: Stage,
    ref: str,
    params: Params,
    *,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    refresh: bool = False,
    chosen: dict[str, str] | None = None,
    slot: str | None = None,
    after: bool = False,
    params_after: Mapping[str, Params] | None = None,
) -> Ref:
    """Run ``stage`` alone. Weights not named are those of the artifact's lineage, else the shipped ones.

    slot   its place in the line, where there are two
    after  run every stage after it too, and return the report: with ``params_after`` (by stage), else as this scan's last run
    """
    store = open_store()
    anchor = store.resolve(ref)
    lineage = store.lineage(anchor)
    scan = lineage[-1].scan if lineage else store.scan_of(anchor)
    checkpoints = find_weights(weights or next((m.weights["name"] for m in lineage if m.weights), "phantom"))
    device, settled_precision = settle(device, precision)
    slot = slot or stage.name
    crops = filled_in(GRADE_CROP if stage.name == "grade" else "crop", checkpoints)["spec"]
    wants = {"spec": crops.model_dump(mode="json")} if stage.name in ("classify", "grade") else {}
    with ExitStack() as stack:
        if stage.name == "load":
            inputs: dict[str, Any] = {"scan": stack.enter_context(_origin(scan))}
        else:
            inputs = dict(inputs_for(store, stage, anchor, chosen or {}, wants))
            for name, given in inputs.items():
                if (state := store.verify(given)) != "whole":
                    raise StoreError(f"{name} {given} is {state}: run the stage that makes it again, then this one")
        inputs |= filled_in(slot, checkpoints, _last_choice(store, scan))
        again = frozenset({slot}) if refresh else frozenset[str]()
        given = {stage.name: params}
        if after:
            again = (again and again | (downstream(slot) - {slot})) or again
            given = last_params(store, scan, checkpoints) | dict(params_after or {}) | given
        line = Line(store, scan, checkpoints, given, settled_precision, again, device=device, watcher=watcher())
        try:
            first = line(stage, slot=slot, **inputs)
            if not after:
                return first
            path, uid = open_index().origin(scan) or (None, "")
            choice = _last_choice(store, scan)
            return nodule_line(Rest(line, slot, first), Remembered(scan, choice, path, uid), checkpoints, choice)
        finally:
            watcher().close()


def _last_choice(store: Store, scan: str) -> str:
    last = store.last_recipe(scan, "report")
    return (last.params.get("series_choice") or "") if last else ""


class _origin:
    """The scan behind a digest, read again from where it was last seen."""

    def __init__(self, scan: str):
        self.scan, self.stack = scan, ExitStack()

    def __enter__(self) -> Scan:
        index = open_index()
        known = index.origin(self.scan)
        if known is None:
            raise InputError("nobody knows where this scan came from: screen its folder instead")
        path, uid = known
        scans = self.stack.enter_context(scans_in(path, index, series=uid, kernel="any", partial=True))
        found = next(iter(scans))
        if found.refused:
            raise found.refused
        if found.digest != self.scan:
            raise InputError("the scan's files have changed since: screen its folder instead")
        return found

    def __exit__(self, *exc: Any) -> None:
        self.stack.close()


def stage_flow(slot: str) -> Flow:
    """A flow that runs one stage alone, with the stage's own parameters as its form."""
    stage = SLOTS[slot]
    parameters = stage.params

    def run(
        ref: Reference,
        params: Annotated[parameters, form("Parameters", "What this stage lets you choose")] = parameters(),  # type: ignore[valid-type]
        weights: WeightsOrLineage = None,
        device: Device = "auto",
        precision: PrecisionField = "auto",
        refresh: Again = False,
        inputs: Chosen = {},
        downstream: Downstream = False,
    ) -> Ref:
        options: dict[str, Any] = {"weights": weights, "device": device, "precision": precision, "refresh": refresh}
        return run_stage(stage, ref, params, chosen=inputs, slot=slot, after=downstream, **options)

    run.__name__ = slot.replace("-", "_")
    first = (stage.function.__doc__ or "").strip().partition("\n")[0]
    run.__doc__ = f"Run the stage {slot} alone, from any artifact of the scan. {first}"
    return flow(f"stage-{slot}")(run)


load = stage_flow("load")
outline = stage_flow("outline")
segment = stage_flow("segment")
group = stage_flow("group")
crop = stage_flow("crop")
crop_for_grade = stage_flow(GRADE_CROP)
classify = stage_flow("classify")
grade = stage_flow("grade")
measure = stage_flow("measure")
report = stage_flow("report")
