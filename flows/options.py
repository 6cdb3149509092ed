"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Scan = Annotated[
    Path, typer.Argument(help="Folder of DICOM (nested, mixed series) or its DICOMDIR, zip, .mhd, .mha, .nii, .nii.gz or .nrrd")
]
Weights = Annotated[str, typer.Option(help="Name of a weights set (`hounsfield weights list`)")]
SeriesOption = Annotated[str, typer.Option(help="best (thinnest, then the kernel the weights ask for), all, or a series UID")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Precision = Annotated[str, typer.Option(help="auto (bfloat16 where the hardware is good at it), float32 or bfloat16")]
Set = Annotated[list[str], typer.Option("--set", help="STAGE.PARAMETER=VALUE, any number of times: group.threshold=0.4")]
Partial = Annotated[bool, typer.Option("--partial", help="Admit a part of a chest; the report says so")]
Refresh = Annotated[list[str], typer.Option(help="Run this stage again although its artifact is whole; any number of times")]
FromStage = Annotated[str | None, typer.Option("--from", help="Run this stage and all after it again")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="Where artifacts are kept (default: $HOUNSFIELD_STORE)")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout")]
Direct = Annotated[bool, typer.Option("--direct", help="Without Prefect's engine: no server starts; store and keys are the same")]
