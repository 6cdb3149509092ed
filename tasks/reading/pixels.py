"""Pixels of DICOM slices into one array of Hounsfield units. Plain files are read straight into their place."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.reading.header import BIG_ENDIAN
from tasks.reading.quiet import quiet_pydicom
from tasks.reading.rescale import other_to_hu, to_hu
from tasks.reading.slices import SliceHeader

TOGETHER = 16  # slices a thread takes at once


def read_pixels(slices: Sequence[SliceHeader]) -> tuple[NDArray[np.int16], list[int]]:
    """int16 HU ``[slice, row, column]`` in the order given, and the indices of slices that could not be read (left undefined)."""
    form = slices[0].format
    hu = np.empty((len(slices), form.rows, form.columns), dtype=np.int16)
    runs = [list(group) for _, group in groupby(range(len(slices)), key=lambda k: _run(slices, k))]
    with ThreadPoolExecutor(2) as two:
        lost = [k for part in two.map(lambda run: _read_run(slices, run, hu), runs) for k in part]
    return hu, lost


def _run(slices: Sequence[SliceHeader], k: int) -> Any:
    """Slices of one multi-frame file are decoded together."""
    s = slices[k]
    return (s.path,) if s.pixels_at is None and _shares_file(slices, k) else k // TOGETHER


def _shares_file(slices: Sequence[SliceHeader], k: int) -> bool:
    return any(0 <= n < len(slices) and slices[n].path == slices[k].path for n in (k - 1, k + 1))


def _read_run(slices: Sequence[SliceHeader], run: list[int], hu: NDArray[np.int16]) -> list[int]:
    decode = _Decoder()
    lost = []
    for k in run:
        try:
            if slices[k].pixels_at is None:
                decode(slices[k], hu[k])
            else:
                _read_plain(slices[k], hu[k])
        except Exception:  # decoders raise whatever they like on broken data
            lost.append(k)
    return lost


def _read_plain(s: SliceHeader, out: NDArray[np.int16]) -> None:
    with s.path.open("rb", buffering=0) as f:
        f.seek(s.pixels_at or 0)
        if f.readinto(out.data.cast("B")) != out.nbytes:  # type: ignore[attr-defined]
            raise EOFError
    if (s.format.transfer_syntax == BIG_ENDIAN) != (np.little_endian is False):
        out.byteswap(inplace=True)
    to_hu(out, s.format, s.slope, s.intercept)


class _Decoder:
    """Packed pixels through pydicom and whichever of its decoders knows the transfer syntax; keeps the last file open."""

    def __init__(self) -> None:
        self._path: Any = None
        self._data: Any = None

    def __call__(self, s: SliceHeader, out: NDArray[np.int16]) -> None:
        from pydicom.pixels import pixel_array

        if self._path != s.path:
            self._data, self._path = quiet_pydicom().dcmread(s.path, force=True), s.path
        frames = int(self._data.get("NumberOfFrames") or 1)
        values = pixel_array(self._data, index=s.frame if frames > 1 else None, raw=True)
        values = values.reshape(out.shape)
        if values.dtype.itemsize == 2:
            out[...] = values.view(np.int16)
            to_hu(out, s.format, s.slope, s.intercept)
        else:
            out[...] = other_to_hu(values, s.slope, s.intercept)
