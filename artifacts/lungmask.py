"""LungMask: which voxels are lung, and which lung."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_array, read_json, write_array, write_json
from artifacts.artifact import Preview
from artifacts.geometry import Geometry
from artifacts.volume import QCFinding

RIGHT, LEFT = 1, 2  # the patient's


@dataclass
class LungMask:
    """labels: uint8 ``[z, y, x]`` on the volume's grid: 0 outside, 1 right lung, 2 left lung (the patient's sides).

    Nodules on the pleura are inside, the trachea and main bronchi are out. qc: what is odd about the lungs themselves.
    """

    kind: ClassVar[str] = "lungmask"

    labels: NDArray[np.uint8]
    geometry: Geometry
    qc: list[QCFinding] = field(default_factory=list)

    def volume_ml(self, label: int | None = None) -> float:
        count = np.count_nonzero(self.labels if label is None else self.labels == label)
        return float(count * self.geometry.voxel_mm3 / 1000)

    def write(self, folder: Path) -> None:
        write_array(folder, "labels", self.labels)
        about = {"geometry": self.geometry.to_dict(), "qc": [asdict(q) for q in self.qc]}
        write_json(folder / "lungmask.json", about)

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "lungmask.json")
        qc = [QCFinding(**q) for q in meta.get("qc", ())]  # absent before version 2 of outline
        return cls(read_array(folder, "labels"), Geometry.from_dict(meta["geometry"]), qc)

    def summary(self) -> dict[str, Any]:
        warned = {"qc": ", ".join(q.code for q in self.qc)} if self.qc else {}
        return {"right_ml": round(self.volume_ml(RIGHT)), "left_ml": round(self.volume_ml(LEFT))} | warned

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import lungmask_preview

        return lungmask_preview(self, inputs["volume"])
