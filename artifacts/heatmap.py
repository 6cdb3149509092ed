"""HeatMap: how suspicious each voxel inside the lungs is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_array, read_json, write_array, write_json
from artifacts.artifact import Preview
from artifacts.geometry import Geometry


@dataclass
class HeatMap:
    """probability: uint8 ``[z, y, x]`` on the volume's grid, ``round(255 p)``; 0 outside the lung mask."""

    kind: ClassVar[str] = "heatmap"

    probability: NDArray[np.uint8]
    geometry: Geometry

    def write(self, folder: Path) -> None:
        write_array(folder, "probability", self.probability)
        write_json(folder / "heatmap.json", {"geometry": self.geometry.to_dict()})

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "heatmap.json")
        return cls(probability=read_array(folder, "probability"), geometry=Geometry.from_dict(meta["geometry"]))

    def summary(self) -> dict[str, Any]:
        return {"suspicious_ml": round(float(np.count_nonzero(self.probability > 127) * self.geometry.voxel_mm3 / 1000), 2)}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import heatmap_preview

        return heatmap_preview(self, inputs["volume"], inputs["lung_mask"])
