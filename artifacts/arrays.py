"""Arrays and small records on disk: Zarr for volumes, JSON for the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLICES_A_CHUNK = 16


def write_array(folder: Path, name: str, array: NDArray[Any]) -> None:
    """A ``[z, y, x]`` array as ``name``.zarr, chunks of whole slices, losslessly compressed."""
    import zarr
    from zarr.codecs import BloscCodec, BloscShuffle

    shuffle = BloscShuffle.bitshuffle if array.dtype.itemsize > 1 else BloscShuffle.noshuffle
    codec = BloscCodec(cname="lz4", clevel=5, shuffle=shuffle, typesize=array.dtype.itemsize)
    chunks = (min(SLICES_A_CHUNK, array.shape[0]), *array.shape[1:])
    stored = zarr.create_array(folder / f"{name}.zarr", shape=array.shape, dtype=array.dtype, chunks=chunks, compressors=codec)
    stored[...] = array


def read_array(folder: Path, name: str) -> NDArray[Any]:
    import zarr

    return np.asarray(zarr.open_array(folder / f"{name}.zarr", mode="r")[...])


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def with_tuples(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only; our records hold tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
