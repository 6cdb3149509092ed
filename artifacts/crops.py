"""Crops: the boxes around candidates that a classifier looks at. HDF5 by default, Zarr as the other layout; same bytes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview

Layout = Literal["hdf5", "zarr"]


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
        columns: dict[str, NDArray[Any]] = {"centers_lps_mm": self.centers_lps_mm, "offset_zyx": self.offset_zyx}
        chunk = (1, *self.hu.shape[1:])
        if self.layout == "hdf5":
            import h5py

            # In memory first: HDF5 takes the whole process down when a disk fills up under it.
            with h5py.File("crops.h5", "w", driver="core", backing_store=False) as f:
                f.create_dataset("hu", data=self.hu, chunks=chunk if len(self.hu) else None)
                for name, column in columns.items():
                    f.create_dataset(name, data=column)
                f.flush()
                image = f.id.get_file_image()
            (folder / "crops.h5").write_bytes(image)
        else:
            import zarr

            written = zarr.open_group(folder / "crops.zarr", mode="w")
            hu = written.create_array("hu", shape=self.hu.shape, dtype=self.hu.dtype, chunks=chunk, compressors=None)
            hu[...] = self.hu
            for name, column in columns.items():
                written.create_array(name, data=column, compressors=None)
        write_json(folder / "crops.json", {"spacing_zyx_mm": list(self.spacing_zyx_mm), "layout": self.layout})

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "crops.json")
        if meta["layout"] == "hdf5":
            import h5py

            with h5py.File(folder / "crops.h5") as f:
                arrays = {name: f[name][...] for name in ("hu", "centers_lps_mm", "offset_zyx")}
        else:
            import zarr

            group: Any = zarr.open_group(folder / "crops.zarr", mode="r")
            arrays = {name: np.asarray(group[name][...]) for name in ("hu", "centers_lps_mm", "offset_zyx")}
        return cls(**arrays, spacing_zyx_mm=tuple(meta["spacing_zyx_mm"]), layout=meta["layout"])

    def summary(self) -> dict[str, Any]:
        return {"crops": len(self.hu), "shape_zyx": list(self.hu.shape[1:]), "layout": self.layout}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import crops_preview

        return crops_preview(self)
