"""Lumps: connected suspicious voxels, and the places in them that a classifier should look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, with_tuples, write_json
from artifacts.artifact import Preview
from artifacts.geometry import Geometry, Vector

NO_LUMP = 0


@dataclass(frozen=True)
class Lump:
    """One connected component of the heat map above the threshold; lengths in mm."""

    id: int  # 1, 2, … by falling peak probability
    center_zyx: Vector  # centre of mass weighted by probability
    center_lps_mm: Vector
    volume_mm3: float
    long_axis_mm: float  # 4 sqrt(eigenvalue) of the voxels' covariance, largest and smallest of the three
    short_axis_mm: float
    equivalent_diameter_mm: float  # of the ball of the same volume
    peak_probability: float
    mean_probability: float
    pleura_distance_mm: float  # from the centre to the border of the lung mask


@dataclass(frozen=True)
class Candidate:
    """A place where a nodule may be: a lump's centre of mass, one of its peaks, or a blob, which belongs to no lump."""

    lump_id: int  # of a blob NO_LUMP
    source: Literal["center", "peak", "blob"]
    center_zyx: Vector
    center_lps_mm: Vector
    radius_mm: float  # distance to the lump's border at the candidate; of a blob its own
    probability: float  # of the heat map there


@dataclass
class Lumps:
    """lumps, and candidates in the order in which they are cropped and classified."""

    kind: ClassVar[str] = "lumps"

    lumps: list[Lump]
    candidates: list[Candidate]
    geometry: Geometry

    @property
    def centers_zyx(self) -> NDArray[np.float64]:
        """``[n, 3]`` of the candidates."""
        return np.array([c.center_zyx for c in self.candidates], dtype=np.float64).reshape(-1, 3)

    @property
    def is_blob(self) -> NDArray[np.bool_]:
        """``[n]`` of the candidates."""
        return np.array([c.source == "blob" for c in self.candidates], dtype=bool)

    def write(self, folder: Path) -> None:
        meta = {
            "geometry": self.geometry.to_dict(),
            "lumps": [asdict(x) for x in self.lumps],
            "candidates": [asdict(c) for c in self.candidates],
        }
        write_json(folder / "lumps.json", meta)

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "lumps.json")
        return cls(
            lumps=[Lump(**with_tuples(x)) for x in meta["lumps"]],
            candidates=[Candidate(**with_tuples(c)) for c in meta["candidates"]],
            geometry=Geometry.from_dict(meta["geometry"]),
        )

    def summary(self) -> dict[str, Any]:
        blobs = int(self.is_blob.sum())
        return {"lumps": len(self.lumps), "candidates": len(self.candidates)} | ({"blobs": blobs} if blobs else {})

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import lumps_preview

        return lumps_preview(self, inputs["volume"])
