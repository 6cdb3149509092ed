"""What stands in ``report.json``: the contract with whoever reads a report by program. Described in docs/report-schema.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

SCHEMA_VERSION = "1.1"  # the first number rises when a reader would break, the second when something is added

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Lps = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class Record(BaseModel):
    """Unknown names are errors; no NaN and no infinity anywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FindingRecord(Record):
    """One suspected nodule."""

    rank: int = Field(ge=1, description="1 is the most probable")
    label: int = Field(ge=1, description="its value in nodules.nii.gz")
    center_lps_mm: Lps = Field(description="x to the patient's left, y to the back, z to the head; DICOM patient coordinates")
    diameter_mm: Length = Field(description="mean of the longest axial axis and its perpendicular")
    long_axis_mm: Length = Field(description="longest axis in the axial plane where it is longest")
    short_axis_mm: Length = Field(description="longest axis perpendicular to it in that plane")
    volume_mm3: Length = Field(description="of the outline")
    p_nodule: Probability = Field(description="that it is a nodule, as the nodule network says")
    p_malignant: Probability | None = Field(
        description="that the nodule is malignant, as the malignancy network says; null: not asked"
    )
    side: Literal["right", "left"] = Field(description="the patient's lung")
    slice_number: int | None = Field(description="the scanner's instance number of the middle slice; null where there is none")
    slice_index: int = Field(ge=0, description="the middle slice in the volume as screened, from 0")
    sop_instance_uid: str | None = Field(description="of the middle slice; null where the format has none")
    mean_hu: FiniteFloat | None = Field(description="mean inside the outline, Hounsfield units")
    pleura_distance_mm: FiniteFloat | None = Field(description="from the center to the border of the lung; null: not known")


class QCRecord(Record):
    """One thing that quality control noticed."""

    code: str
    severity: Literal["info", "warning", "refused"]
    message: str


class SeriesRecord(Record):
    """Which series was screened, and how it was sampled."""

    modality: str
    source_format: str
    manufacturer: str | None
    kernel: str | None = Field(description="reconstruction kernel as the maker names it")
    slice_thickness_mm: FiniteFloat | None
    shape_zyx: tuple[int, int, int] = Field(description="voxels of the volume as screened")
    spacing_zyx_mm: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    chosen_because: str = Field(description="why this series of the study was screened")


class LungsRecord(Record):
    right_ml: Length
    left_ml: Length


class CandidatesRecord(Record):
    lumps: int = Field(ge=0, description="connected suspicious regions")
    candidates: int = Field(ge=0, description="places that the classifier looked at")


class ThresholdsRecord(Record):
    """Above which probabilities the networks mean yes, as their cards say."""

    nodule: Probability
    malignant: Probability


class WeightsRecord(BaseModel):
    """A network's weights, from its card."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    role: str
    digest: str
    architecture: str | None = None
    licence: str
    source: str | None = None
    training: dict[str, Any] = Field(default_factory=dict, description="data, split, seeds, as the card says")


class StageRecord(BaseModel):
    """One stage that this report rests on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stage: str
    version: int
    kind: str = Field(description="kind of artifact that it made")
    digest: str = Field(description="key of that artifact")
    parents: dict[str, str] = Field(default_factory=dict, description="argument -> kind:digest")
    params: dict[str, Any] = Field(default_factory=dict)
    precision: str | None = None
    weights: WeightsRecord | None = None
    seconds: Length | None = None
    made_by: str | None = Field(None, description="version of Hounsfield")
    software: dict[str, str] = Field(default_factory=dict, description="versions of the libraries that touched the numbers")


class ProvenanceRecord(Record):
    stages: list[StageRecord] = Field(description="in the order in which they ran")
    software: dict[str, list[str]] = Field(description="library -> every version that a stage ran with")


class ReportDocument(Record):
    """A report of the lung nodules of one series."""

    schema_version: Literal["1.1"]
    notice: str
    title: str
    series_uid: str = Field(description="series instance UID, or a pseudonym; the only name in a report")
    headline: str = Field(description="one line for people")
    findings: list[FindingRecord] = Field(description="most probable first")
    thresholds: ThresholdsRecord
    qc: list[QCRecord]
    lungs: LungsRecord
    candidates: CandidatesRecord
    series: SeriesRecord
    provenance: ProvenanceRecord
