"""Crops: the boxes around candidates that a classifier looks at. HDF5 by default, Zarr as the other layout; same bytes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview
from artifacts.rows import Layout, read_rows, write_rows

COLUMNS = ("centers_lps_mm", "offset_zyx")


@dataclass
class Crops:
    """hu: int16 ``[n, z, y, x]`` Hounsfield units; centers_lps_mm: float64 ``[n, 3]``; spacing_zyx_mm of one crop voxel.

    ``offset_zyx`` int32 ``[n, 3]``: where in its crop, in voxels, the candidate's centre lies (off the middle at borders).
    """

    kind: ClassVar[str] = "crops"

    hu: NDArray[np.int16]
    centers_lps_mm: NDArray[np.float64]
    offset_zyx: NDArray[np.int32]
    spacing_zyx_mm: tuple[float, float, float]
    layout: Layout = "hdf5"

    def write(self, folder: Path) -> None:
        write_rows(folder, "crops", {"hu": self.hu}, {c: getattr(self, c) for c in COLUMNS}, self.layout)
        write_json(folder / "crops.json", {"spacing_zyx_mm": list(self.spacing_zyx_mm), "layout": self.layout})

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "crops.json")
        arrays = read_rows(folder, "crops", ("hu",), COLUMNS, meta["layout"])
        arrays["hu"] = np.asarray(arrays["hu"])
        return cls(**arrays, spacing_zyx_mm=tuple(meta["spacing_zyx_mm"]), layout=meta["layout"])

    def summary(self) -> dict[str, Any]:
        return {"crops": len(self.hu), "shape_zyx": list(self.hu.shape[1:]), "layout": self.layout}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import crops_preview

        return crops_preview(self)
