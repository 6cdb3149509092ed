"""The run form's fields: what a parameter is called and means in the Prefect UI, and what it may be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

StageName = Literal["load", "outline", "segment", "group", "crop", "crop-for-grade", "classify", "grade", "measure", "report"]
Precision = Literal["auto", "float32", "bfloat16"]


def form(title: str, description: str, **bounds: Any) -> Any:
    """A field of the form. Prefect writes its own title over a plain one, so ours goes in as an extra of the schema."""
    return Field(json_schema_extra={"title": title, "description": description}, **bounds)


Source = Annotated[
    str,
    form(
        "Scan",
        "Folder of DICOM (nested and mixed series are fine), zip, .mhd, .mha, .nii, .nii.gz or .nrrd; or the source-… token that "
        "the command line makes of a path: a path typed here becomes one on the run's page",
        min_length=1,
    ),
]
Series = Annotated[str, form("Series", "best: thinnest slices, then the kernel the weights ask for; all; or a series UID")]
Weights = Annotated[str, form("Weights", "Name of a weights set, as `hounsfield weights list` shows")]
WeightsOrLineage = Annotated[str | None, form("Weights", "Name of a weights set; empty: that of the artifact's lineage")]
Device = Annotated[
    str, form("Device", "auto (CUDA where there is one), cpu, cuda or cuda:N", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
]
PrecisionField = Annotated[Precision, form("Precision", "auto: bfloat16 where the hardware is good at it, else float32")]
Refresh = Annotated[list[StageName], form("Refresh", "Run these stages again although their artifacts are whole")]
FromStage = Annotated[StageName | None, form("From stage", "Run this stage and all after it again")]
Verify = Annotated[bool, form("Verify", "Read every file, also those whose size and time are known")]
Reference = Annotated[
    str, form("From", "Any artifact of the scan, as kind:digest; its other inputs follow from the lineage", min_length=4)
]
Again = Annotated[bool, form("Refresh", "Run again although the artifact is whole")]
Downstream = Annotated[bool, form("Downstream", "Run every stage that comes after it as well, to a new report")]
Chosen = Annotated[dict[str, str], form("Inputs", "Only where the lineage is ambiguous: argument name -> kind:digest")]
