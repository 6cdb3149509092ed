"""A label map as NIfTI-1 bytes, so that a viewer lays it on the scan. Standard library and numpy only.

Source: the NIfTI-1 standard (nifti1.h, R. W. Cox and others, 2003). NIfTI is RAS: x and y of LPS change sign.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry

_HEADER = struct.Struct("<i35sB8h3f4h8f3fh2B4f2i80s24s2h6f4f4f4f16s4s4x")  # 348 bytes and four for "no extension"
_UINT8, _UINT16, _LABELS, _SCANNER, _MILLIMETRES = 2, 512, 1002, 1, 2


def label_map(labels: NDArray[Any], geometry: Geometry, description: str = "") -> bytes:
    """``[z, y, x]`` labels from 0 as the bytes of a ``.nii.gz``: uint8 where they fit, else uint16; the affine is the sform."""
    top = int(labels.max(initial=0))
    values = np.ascontiguousarray(labels, dtype=np.uint8 if top <= 255 else np.uint16).astype(
        "<u2" if top > 255 else "u1", copy=False
    )
    matrix = geometry.matrix[:, ::-1] * np.array([[-1], [-1], [1]])  # columns x, y, z in RAS
    origin = np.array(geometry.origin_lps_mm) * (-1, -1, 1)
    rows = np.column_stack([matrix, origin])
    nz, ny, nx = values.shape
    dz, dy, dx = geometry.spacing_zyx
    header = _HEADER.pack(
        348, b"", 0,
        3, nx, ny, nz, 1, 1, 1, 1,
        0, 0, 0, _LABELS,
        _UINT16 if top > 255 else _UINT8, values.itemsize * 8, 0,
        1, dx, dy, dz, 0, 0, 0, 0,
        352, 1, 0,
        0, 0, _MILLIMETRES, 0, 0, 0, 0,
        0, 0,
        description.encode("ascii", "replace")[:79], b"",
        0, _SCANNER,
        *[0.0] * 6,
        *rows[0], *rows[1], *rows[2],
        b"", b"n+1\0",
    )  # fmt: skip
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    return deflate.compress(header) + deflate.compress(values.data) + deflate.flush()
