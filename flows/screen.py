"""Screen: a chest CT in, a report of nodules out."""

from __future__ import annotations

from typing import Annotated, get_args

from artifacts.errors import HounsfieldError, NoLungs
from artifacts.home import find_weights
from artifacts.store import Ref
from flows.console import watcher
from flows.flow import flow
from flows.form import Device, FromStage, PrecisionField, Refresh, Series, Source, StageName, Verify, Weights, form
from flows.nodule_line import nodule_line
from flows.room import check_room
from flows.scans import scans_in
from flows.settle import open_index, open_store, refreshed, settle
from tasks.classify import ClassifyParams
from tasks.crop import CropParams
from tasks.grade import GradeParams
from tasks.group import GroupParams
from tasks.line import Line
from tasks.load import LoadParams
from tasks.measure import MeasureParams
from tasks.outline import OutlineParams
from tasks.report import ReportParams
from tasks.segment import SegmentParams


@flow("screen")
def screen(
    source: Source,
    series: Series = "best",
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: PrecisionField = "auto",
    refresh: Refresh = [],
    from_stage: FromStage = None,
    verify: Verify = False,
    load: Annotated[LoadParams, form("Load", "Read slices to Hounsfield units")] = LoadParams(),
    outline: Annotated[OutlineParams, form("Outline", "Find the lungs")] = OutlineParams(),
    segment: Annotated[SegmentParams, form("Segment", "Find suspicious voxels")] = SegmentParams(),
    group: Annotated[GroupParams, form("Group", "Group them to lumps and candidates")] = GroupParams(),
    crop: Annotated[CropParams, form("Crop", "Cut the boxes that the classifiers look at")] = CropParams(),
    classify: Annotated[ClassifyParams, form("Classify", "Tell nodules from everything else")] = ClassifyParams(),
    grade: Annotated[GradeParams, form("Grade", "Tell malignant from benign")] = GradeParams(),
    measure: Annotated[MeasureParams, form("Measure", "Merge, outline and measure")] = MeasureParams(),
    report: Annotated[ReportParams, form("Report", "What the report shows")] = ReportParams(),
) -> list[Ref]:
    """Find the nodules of a chest CT, measure them, and say how suspicious each looks. Research use, not a medical device.

    Every stage keeps what it made; what is there whole is reused. Returns the refs of the reports, one a series.
    """
    store, index, checkpoints = open_store(), open_index(), find_weights(weights)
    device, precision_used = settle(device, precision)
    again = refreshed(refresh, from_stage)
    params = {p: v for p, v in locals().items() if p in get_args(StageName)}
    kernel = checkpoints["nodule"].card.input.kernel
    reports: list[Ref] = []
    failed: list[HounsfieldError] = []
    with scans_in(index.path(source), index, series=series, kernel=kernel, partial=load.partial, verify=verify) as scans:
        for scan in scans:
            watcher().say(f"series {scan.name}: {scan.choice}")
            line = Line(store, scan.digest, checkpoints, params, precision_used, again, device=device, watcher=watcher())
            try:
                check_room(line, scan)
                reports.append(nodule_line(line, scan, checkpoints, scan.choice))
            except HounsfieldError as e:  # one bad series does not stop the others
                scan.refused = e
                failed.append(e)
                watcher().say(f"series {scan.name}: {e}")
            finally:
                watcher().close()
                store.forget()
    missed = [e for e in failed if not _may_be_passed_over(e, series)]
    if failed and not reports:
        raise failed[0] if len(failed) == 1 else NoneScreened(failed)
    if missed:
        raise NotAllScreened(missed, reports)
    return reports


def _may_be_passed_over(e: HounsfieldError, series: str) -> bool:
    """Of the best a worse one is enough; of all, what has no lungs was never meant."""
    return series == "best" or (series == "all" and isinstance(e, NoLungs))


class NoneScreened(HounsfieldError):
    """No series gave a report; ends with the exit code of the first."""

    def __init__(self, failed: list[HounsfieldError]):
        super().__init__(f"none of {len(failed)} eligible series could be screened; the first: {failed[0]}")
        self.exit_code = failed[0].exit_code


class NotAllScreened(HounsfieldError):
    """Some series gave a report, others failed; ends with the exit code of the first that failed."""

    def __init__(self, failed: list[HounsfieldError], reports: list[Ref]):
        super().__init__(f"{len(failed)} of {len(failed) + len(reports)} series gave no report; the first: {failed[0]}")
        self.reports = reports
        self.exit_code = failed[0].exit_code
