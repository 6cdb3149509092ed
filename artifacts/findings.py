"""Findings: the nodules, measured and scored, with their outlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_array, read_json, with_tuples, write_array, write_json
from artifacts.artifact import Preview
from artifacts.geometry import Geometry, Vector


@dataclass(frozen=True)
class Finding:
    """One suspected nodule. Measured on its own outline, not on its lump."""

    rank: int  # 1 is the most probable
    label: int  # its value in the label map; equals the rank
    center_lps_mm: Vector
    center_zyx: Vector
    diameter_mm: float  # mean of the longest axial axis and its perpendicular (Lung-RADS, Fleischner)
    long_axis_mm: float
    short_axis_mm: float
    volume_mm3: float
    mean_hu: float
    p_nodule: float
    p_malignant: float | None
    side: Literal["right", "left"]
    pleura_distance_mm: float
    slice_index: int  # z of the middle slice in the volume, from 0
    slice_number: int | None  # the scanner's instance number of that slice
    sop_instance_uid: str | None
    lump_ids: tuple[int, ...] = ()  # the lumps it was found in


@dataclass
class Findings:
    """findings, most probable first; labels: uint16 ``[z, y, x]`` on the volume's grid, 0 or a finding's label.

    nodule_threshold, malignant_threshold: probabilities above which the networks mean yes, as their cards say.
    """

    kind: ClassVar[str] = "findings"

    findings: list[Finding]
    labels: NDArray[np.uint16]
    geometry: Geometry
    nodule_threshold: float = 0.5
    malignant_threshold: float = 0.5

    def write(self, folder: Path) -> None:
        write_array(folder, "labels", self.labels)
        thresholds = {"nodule_threshold": self.nodule_threshold, "malignant_threshold": self.malignant_threshold}
        found = {"findings": [asdict(f) for f in self.findings]}
        write_json(folder / "findings.json", {"geometry": self.geometry.to_dict()} | thresholds | found)

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "findings.json")
        rows = [Finding(**with_tuples(row)) for row in meta["findings"]]
        thresholds = meta.get("nodule_threshold", 0.5), meta.get("malignant_threshold", 0.5)
        return cls(rows, read_array(folder, "labels"), Geometry.from_dict(meta["geometry"]), *thresholds)

    def summary(self) -> dict[str, Any]:
        above = sum(f.p_nodule > self.nodule_threshold for f in self.findings)
        return {"findings": len(self.findings), f"nodule_above_{self.nodule_threshold:g}": above}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import findings_preview

        return findings_preview(self, inputs["volume"])
