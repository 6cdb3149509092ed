"""NRRD (.nrrd): the header is text up to an empty line (teem.sourceforge.net/nrrd/format.html).

Packed voxels are unpacked here: SimpleITK hands out damaged ones without a word.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError
from tasks.reading.metaimage import unpacked

HEAD = 65536
UNSIGNED = ("uchar", "unsigned", "uint", "ushort", "ulong")
MILLIMETRES = frozenset(("mm", "millimeter", "millimeters", "millimetre", "millimetres", ""))
GZIP, OTHERS = ("gzip", "gz"), ("raw", "txt", "text", "ascii", "hex")
TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "f4": "float",
    "f8": "double",
}
KINDS = {name: kind for kind, names in TYPES.items() for name in names.split(", ")}


def _parsed(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and where the bytes after the header begin. Raises ValueError."""
    with path.open("rb") as f:
        head = f.read(HEAD)
    if not head.startswith(b"NRRD"):
        raise ValueError
    end = re.search(rb"\r?\n\r?\n|\Z", head)
    assert end is not None  # \Z is always there
    lines = [line.decode("latin-1") for line in head[: end.start()].splitlines()[1:] if not line.startswith(b"#")]
    return {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}, end.end()


def packed_voxels(path: Path, shape_zyx: tuple[int, int, int]) -> NDArray | None:
    """``[z, y, x]`` of a gzip-packed NRRD, checked by its checksum; None for others. Raises InputError where it is damaged."""
    fields, start = _parsed(path)
    kind = KINDS.get(fields.get("type", "").lower())
    if fields.get("encoding", "").lower() not in GZIP or kind is None or {"line skip", "byte skip"} & fields.keys():
        return None
    order = ">" if fields.get("endian", "").lower() == "big" else "<"
    need = int(np.prod(shape_zyx, dtype=np.int64)) * np.dtype(kind).itemsize
    try:
        with path.open("rb") as f:
            f.seek(start)
            return np.frombuffer(unpacked(f.read(), need), dtype=order + kind).reshape(shape_zyx)
    except (OSError, ValueError, zlib.error):
        raise InputError("the NRRD is damaged or cut short: its voxels cannot be unpacked") from None


def check_nrrd(path: Path) -> bool:
    """Whether its voxels are signed. Raises InputError."""
    fields, _ = _parsed(path)
    if "data file" in fields or "datafile" in fields:
        raise InputError("the NRRD keeps its voxels in another file: save it as one file")
    if fields.get("encoding", "").lower() not in GZIP + OTHERS:
        raise InputError("the NRRD is packed in a way that is not read (encoding): save it as gzip or raw")
    sizes = [int(v) for v in fields["sizes"].split()]
    if len(sizes) != 3:
        raise InputError(
            f"the NRRD has {len(sizes)} dimensions ({' x '.join(map(str, sizes))}): give one volume, three dimensions"
        )
    vectors = re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))
    if len(vectors) != 3 or "space" not in fields:
        raise InputError("the NRRD does not say where its voxels lie (space, space directions): save it with its orientation")
    if set(re.findall(r'"([^"]*)"', fields.get("space units", "").lower())) - MILLIMETRES:
        raise InputError("the NRRD is not in millimetres (space units): save it in millimetres")
    steps = [sum(float(v) ** 2 for v in vector.split(",")) for vector in vectors]
    if not all(0 < s < 1e8 for s in steps):
        raise InputError("the NRRD has zero or undefined spacing (space directions): repair its header")
    return not fields.get("type", "").lower().startswith(UNSIGNED)
