"""Rows: many equal boxes of voxels on disk, HDF5 with one chunk a row or Zarr shards; read whole, or any row at random."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Layout = Literal["hdf5", "zarr"]
SUFFIX = {"hdf5": ".h5", "zarr": ".zarr"}
ROWS_A_SHARD = 100
HEADER_BYTES, ENTRY_BYTES = 8192, 128  # more than HDF5 writes about an array, and about one of its chunks
OPEN_FILES = 256  # of one process; a system gives 1,024


@dataclass(frozen=True)
class Rows:
    """One array ``[n, …]`` on disk, read when it is indexed: a number, a slice, or an array of numbers or of bools, any order.

    Small, picklable, safe in forked and spawned processes. ``np.asarray`` reads all of it.
    """

    path: Path
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self._stored().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._stored().dtype

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | np.integer[Any] | slice | ArrayLike) -> NDArray[Any]:
        stored = self._stored()
        n = stored.shape[0]
        if isinstance(index, int | np.integer):
            if not -n <= index < n:
                raise IndexError(f"row {index} of {n}")
            return stored.rows([int(index) % n])[0]
        numbers = np.arange(n)[index if isinstance(index, slice) else np.asarray(index)]
        return stored.rows(numbers.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def _stored(self) -> _Hdf5 | _Zarr:
        at = os.stat(self.path)
        return _opened(self.path, self.name, at.st_ino, at.st_mtime_ns)


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, name: str, _inode: int, _modified_ns: int) -> _Hdf5 | _Zarr:
    """Another one where the file was replaced."""
    return _Hdf5(path, name) if path.suffix == SUFFIX["hdf5"] else _Zarr(path, name)


class _Hdf5:
    """Where each row's bytes lie in the file, asked of HDF5 once; then plain reads: no lock, no copy, safe after a fork."""

    def __init__(self, path: Path, name: str):
        import h5py

        with h5py.File(path, "r") as f:
            stored = f[name]
            self.shape, self.dtype = tuple(stored.shape), np.dtype(stored.dtype)
            self.starts: list[int] = []
            self.whole = None
            if stored.chunks == (1, *self.shape[1:]) and not stored.id.get_create_plist().get_nfilters():
                self.starts = [0] * len(stored)
                stored.id.chunk_iter(lambda c: self.starts.__setitem__(c.chunk_offset[0], c.byte_offset))
            else:  # small, or not written here
                self.whole = stored[...]
        self.file = path.open("rb", buffering=0)

    def rows(self, numbers: list[int]) -> NDArray[Any]:
        if self.whole is not None:
            return self.whole[numbers]
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        bytes_of = memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        size = len(bytes_of) // max(len(numbers), 1)
        for at, k in enumerate(numbers):
            if os.preadv(self.file.fileno(), [bytes_of[at * size : (at + 1) * size]], self.starts[k]) != size:
                raise OSError("the file ends inside a row")
        return out


class _Zarr:
    def __init__(self, path: Path, name: str):
        import zarr

        group: Any = zarr.open_group(path, mode="r")
        self.stored = group[name]
        self.shape, self.dtype = tuple(self.stored.shape), np.dtype(self.stored.dtype)

    def rows(self, numbers: list[int]) -> NDArray[Any]:
        if numbers == list(range(self.shape[0])):
            return np.asarray(self.stored[...])
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for row, k in zip(out, numbers, strict=True):
            row[...] = self.stored[k]
        return out


Voxels = NDArray[Any] | Rows


class Indexed(Protocol):
    """Rows by an array of numbers: an array, ``Rows``, or several of them seen as one."""

    def __getitem__(self, index: Any, /) -> NDArray[Any]: ...


def read_ahead(rows: Indexed, batches: Iterable[NDArray[np.integer[Any]]], workers: int = 2) -> Iterator[NDArray[Any]]:
    """``rows[batch]`` for every batch of numbers, in order, read by threads while the batch before is used; 0: read when asked.

    Threads are enough: reading lets go of the interpreter's lock, and nothing is copied from process to process.
    """
    if not workers:
        yield from (rows[batch] for batch in batches)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[NDArray[Any]]] = deque()
        for batch in batches:
            ahead.append(pool.submit(lambda numbers: rows[numbers], batch))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def write_rows(folder: Path, name: str, boxes: Mapping[str, Voxels], columns: Mapping[str, NDArray[Any]], layout: Layout) -> None:
    """``boxes`` (one chunk a row, not compressed) and small ``columns`` into ``name``.h5 or ``name``.zarr."""
    path = folder / f"{name}{SUFFIX[layout]}"
    (_write_hdf5 if layout == "hdf5" else _write_zarr)(path, {k: np.asarray(v) for k, v in boxes.items()}, columns)


def read_rows(folder: Path, name: str, boxes: tuple[str, ...], columns: tuple[str, ...], layout: Layout) -> dict[str, Any]:
    """``boxes`` as ``Rows``, ``columns`` as arrays."""
    path = folder / f"{name}{SUFFIX[layout]}"
    return {b: Rows(path, b) for b in boxes} | {c: np.asarray(Rows(path, c)) for c in columns}


def _write_hdf5(path: Path, boxes: Mapping[str, NDArray[Any]], columns: Mapping[str, NDArray[Any]]) -> None:
    """OSError where the disk has no room. It is asked for beforehand: HDF5 takes the whole process down when a disk fills up."""
    import h5py

    arrays = [*boxes.values(), *columns.values()]
    room = sum(a.nbytes + HEADER_BYTES + ENTRY_BYTES * len(a) for a in arrays)
    with path.open("wb+", buffering=0) as raw, h5py.File(raw, "w") as f:
        _ask_for(room, raw.fileno())
        for name, box in boxes.items():
            f.create_dataset(name, data=box, chunks=(1, *box.shape[1:]) if len(box) else None)
        for name, column in columns.items():
            f.create_dataset(name, data=column)


def _ask_for(room: int, file: int) -> None:
    """OSError where the disk of an open file has not so many bytes left."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, room)
        return
    disk = os.fstatvfs(file)  # macOS
    if disk.f_bavail * disk.f_frsize < room:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
