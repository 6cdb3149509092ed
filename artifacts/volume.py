"""Volume: a chest CT in Hounsfield units with its place in the patient and what was found wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_array, read_json, write_array, write_json
from artifacts.artifact import Preview
from artifacts.geometry import Geometry

AIR_HU = -1024  # what padding and voxels outside the field of view become

Severity = Literal["info", "warning", "refused"]


@dataclass(frozen=True)
class QCFinding:
    """One thing that quality control noticed. ``refused`` findings end the screening, ``warning`` ones are shown."""

    code: str  # e.g. "missing-slices", "gantry-tilt", "thick-slices", "lungs-cut-off", "not-hu"
    severity: Severity
    message: str  # one line for people; no path, no patient


@dataclass(frozen=True)
class SourceSlice:
    """One slice as it came: what a person needs to find it again in their viewer."""

    sop_instance_uid: str | None
    instance_number: int | None
    position_mm: float  # along the normal of the slices, from the first


@dataclass(frozen=True)
class Series:
    """What is kept of a series. Never a name, id, birth date, institution, description or path."""

    uid: str  # the series instance UID, or a pseudonym "scan-<digest>" where the format has none
    modality: str = "CT"
    source_format: str = "dicom"  # dicom, mhd, nifti, nrrd
    manufacturer: str | None = None
    kernel: str | None = None  # convolution kernel as the maker names it
    slice_thickness_mm: float | None = None
    transfer_syntax: str | None = None
    slices: tuple[SourceSlice, ...] = ()  # in the order of z of the volume as acquired


@dataclass
class Volume:
    """hu: int16 ``[z, y, x]`` in Hounsfield units, -1024 outside the field of view.

    nearest_slice[z] is the index into ``series.slices`` of the acquired slice nearest to plane z (they differ after
    resampling); empty where the format has no slices of its own.
    """

    kind: ClassVar[str] = "volume"

    hu: NDArray[np.int16]
    geometry: Geometry
    series: Series
    qc: list[QCFinding] = field(default_factory=list)
    nearest_slice: tuple[int, ...] = ()

    def slice_of(self, z: float) -> SourceSlice | None:
        """The acquired slice nearest to plane ``z`` (a possibly fractional index)."""
        if not self.nearest_slice:
            return None
        plane = min(max(round(z), 0), len(self.nearest_slice) - 1)
        return self.series.slices[self.nearest_slice[plane]]

    def write(self, folder: Path) -> None:
        write_array(folder, "hu", self.hu)
        meta = {
            "geometry": self.geometry.to_dict(),
            "series": asdict(self.series),
            "qc": [asdict(q) for q in self.qc],
            "nearest_slice": list(self.nearest_slice),
        }
        write_json(folder / "volume.json", meta)

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "volume.json")
        series = dict(meta["series"])
        series["slices"] = tuple(SourceSlice(**s) for s in series["slices"])
        return cls(
            hu=read_array(folder, "hu"),
            geometry=Geometry.from_dict(meta["geometry"]),
            series=Series(**series),
            qc=[QCFinding(**q) for q in meta["qc"]],
            nearest_slice=tuple(meta["nearest_slice"]),
        )

    def summary(self) -> dict[str, Any]:
        return {
            "series": self.series.uid,
            "shape_zyx": list(self.hu.shape),
            "spacing_zyx_mm": [round(v, 4) for v in self.geometry.spacing_zyx],
            "qc_warnings": sum(q.severity != "info" for q in self.qc),
        }

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import volume_preview

        return volume_preview(self)
