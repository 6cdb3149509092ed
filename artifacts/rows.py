"""Rows: many equal boxes of voxels on disk, HDF5 with one chunk a row or Zarr shards; read whole, or any row at random."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Layout = Literal["hdf5", "zarr"]
SUFFIX = {"hdf5": ".h5", "zarr": ".zarr"}
ROWS_A_SHARD = 100
OPEN_FILES = 256  # of one process; a system gives 1,024


@dataclass(frozen=True)
class Rows:
    """One array ``[n, …]`` on disk, read when it is indexed: a number, a slice, or an array of numbers or of bools, any order.

    Small, picklable, safe in forked and spawned processes (each opens its own file). ``np.asarray`` reads all of it.
    """

    path: Path
    name: str

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._stored().shape)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._stored().dtype)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | np.integer[Any] | slice | ArrayLike) -> NDArray[Any]:
        stored = self._stored()
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"row {index} of {len(self)}")
            return np.asarray(stored[int(index) % len(self)])
        if isinstance(index, slice) and index.step in (None, 1):
            return np.asarray(stored[index])
        numbers = np.arange(len(self))[index if isinstance(index, slice) else np.asarray(index)]
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for row, k in zip(out, numbers.tolist(), strict=True):
            row[...] = stored[k]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._stored()[...], dtype=dtype)

    def _stored(self) -> Any:
        at = os.stat(self.path)
        return _opened(self.path, os.getpid(), at.st_ino, at.st_mtime_ns)[self.name]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name}


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, _process: int, _inode: int, _modified_ns: int) -> Any:
    """One a process, for an HDF5 handle does not survive a fork; another where the file was replaced."""
    if path.suffix == ".h5":
        import h5py

        return h5py.File(path, "r", rdcc_nbytes=0)
    import zarr

    return zarr.open_group(path, mode="r")


Voxels = NDArray[Any] | Rows


def write_rows(folder: Path, name: str, boxes: Mapping[str, Voxels], columns: Mapping[str, NDArray[Any]], layout: Layout) -> None:
    """``boxes`` (one chunk a row, not compressed) and small ``columns`` into ``name``.h5 or ``name``.zarr."""
    path = folder / f"{name}{SUFFIX[layout]}"
    (_write_hdf5 if layout == "hdf5" else _write_zarr)(path, {k: np.asarray(v) for k, v in boxes.items()}, columns)


def read_rows(folder: Path, name: str, boxes: tuple[str, ...], columns: tuple[str, ...], layout: Layout) -> dict[str, Any]:
    """``boxes`` as ``Rows``, ``columns`` as arrays."""
    path = folder / f"{name}{SUFFIX[layout]}"
    return {b: Rows(path, b) for b in boxes} | {c: np.asarray(Rows(path, c)) for c in columns}


def _write_hdf5(path: Path, boxes: Mapping[str, NDArray[Any]], columns: Mapping[str, NDArray[Any]]) -> None:
    import h5py

    # In memory first: HDF5 takes the whole process down when a disk fills up under it.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as f:
        for name, box in boxes.items():
            f.create_dataset(name, data=box, chunks=(1, *box.shape[1:]) if len(box) else None)
        for name, column in columns.items():
            f.create_dataset(name, data=column)
        f.flush()
        image = f.id.get_file_image()
    path.write_bytes(image)


def _write_zarr(path: Path, boxes: Mapping[str, NDArray[Any]], columns: Mapping[str, NDArray[Any]]) -> None:
    import zarr

    written = zarr.open_group(path, mode="w")
    for name, box in boxes.items():
        shards = (min(len(box), ROWS_A_SHARD), *box.shape[1:]) if len(box) else None
        made = written.create_array(
            name, shape=box.shape, dtype=box.dtype, chunks=(1, *box.shape[1:]), shards=shards, compressors=None
        )
        made[...] = box
    for name, column in columns.items():
        written.create_array(name, data=column, compressors=None)
