"""Screen: a chest CT in, a report of nodules out."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow
from pydantic import Field

from artifacts.errors import HounsfieldError
from artifacts.home import find_weights
from artifacts.store import Ref
from flows.console import watcher
from flows.nodule_line import nodule_line
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

StageName = Literal["load", "outline", "segment", "group", "crop", "classify", "grade", "measure", "report"]
Precision = Literal["auto", "float32", "bfloat16"]

Source = Annotated[
    str,
    Field(
        title="Scan",
        min_length=1,
        description="Folder of DICOM (nested and mixed series are fine), zip, .mhd, .mha, .nii, .nii.gz or .nrrd; "
        "or the source-… token that the command line made of a path, which keeps patient names out of this page",
    ),
]
Series = Annotated[
    str, Field(title="Series", description="best: thinnest slices, then the kernel the weights ask for; all; or a series UID")
]
Weights = Annotated[str, Field(title="Weights", description="Name of a weights set, as `hounsfield weights list` shows")]
Device = Annotated[
    str, Field(title="Device", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: CUDA where there is one, else the CPU")
]
PrecisionField = Annotated[
    Precision, Field(title="Precision", description="auto: bfloat16 where the hardware is good at it, else float32")
]


@flow(name="screen", persist_result=False)
def screen(
    source: Source,
    series: Series = "best",
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: PrecisionField = "auto",
    refresh: Annotated[
        list[StageName], Field(title="Refresh", description="Run these stages again although their artifacts are whole")
    ] = [],
    from_stage: Annotated[StageName | None, Field(title="From", description="Run this stage and all after it again")] = None,
    verify: Annotated[
        bool, Field(title="Verify", description="Read every file, also those whose size and time are known")
    ] = False,
    load: LoadParams = LoadParams(),
    outline: OutlineParams = OutlineParams(),
    segment: SegmentParams = SegmentParams(),
    group: GroupParams = GroupParams(),
    crop: CropParams = CropParams(),
    classify: ClassifyParams = ClassifyParams(),
    grade: GradeParams = GradeParams(),
    measure: MeasureParams = MeasureParams(),
    report: ReportParams = ReportParams(),
) -> list[Ref]:
    """Find the nodules of a chest CT, measure them, and say how suspicious each looks. Research use, not a medical device.

    Every stage keeps what it made; what is there whole is reused. Returns the refs of the reports, one a series.
    """
    store, index, checkpoints = open_store(), open_index(), find_weights(weights)
    device, precision_used = settle(device, precision)
    again = refreshed(refresh, from_stage)
    params = {p: v for p, v in locals().items() if p in StageName.__args__}  # type: ignore[attr-defined]
    kernel = checkpoints["nodule"].card.input.kernel
    reports: list[Ref] = []
    failed: list[HounsfieldError] = []
    with scans_in(index.path(source), index, series=series, kernel=kernel, partial=load.partial, verify=verify) as scans:
        for scan in scans:
            watcher().say(f"series {scan.found.uid}: {scan.choice}")
            line = Line(store, scan.digest, checkpoints, params, precision_used, again, device=device, watcher=watcher())
            try:
                reports.append(nodule_line(line, scan, checkpoints, scan.choice))
            except HounsfieldError as e:  # one bad series does not stop the others
                failed.append(e)
                watcher().say(f"series {scan.found.uid}: {e}")
            finally:
                watcher().close()
                store.forget()
    if failed:
        raise failed[0]
    return reports
