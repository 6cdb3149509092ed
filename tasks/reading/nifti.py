"""NIfTI-1 and -2 headers (nifti1.h, nifti2.h): dimensions, spacing, whether there is an affine at all."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError
from tasks.reading.slices import MOST_MM

# offsets in the header: (dim, datatype, bitpix, pixdim, vox_offset, scl_slope, qform_code, quatern, srow, xyzt_units), formats
LAYOUTS = {
    348: {
        "dim": (40, "8h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"), "vox_offset": (108, "f"),
        "scale": (112, "2f"), "units": (123, "B"), "codes": (252, "2h"), "quatern": (256, "6f"), "srow": (280, "12f"),
    },
    540: {
        "dim": (16, "8q"), "datatype": (12, "h"), "bitpix": (14, "h"), "pixdim": (104, "8d"), "vox_offset": (168, "q"),
        "scale": (176, "2d"), "units": (500, "i"), "codes": (344, "2i"), "quatern": (352, "6d"), "srow": (400, "12d"),
    },
}  # fmt: skip
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
UNSIGNED = frozenset((2, 512, 768, 1280))
MILLIMETRES_OR_UNSAID = (0, 2)
MOST_OFFSET = 2**31
GZIP = b"\x1f\x8b"


def check_nifti(path: Path) -> bool:
    """Whether its values can be below zero. Raises InputError."""
    if _packed(path) and not path.name.lower().endswith(".gz"):
        raise InputError("the file is packed with gzip and its name does not say so: name it .nii.gz")
    try:
        with _open(path) as f:
            read = _Header.of(f.read(540))
    except (zlib.error, gzip.BadGzipFile):
        raise ValueError from None
    dim, pixdim = read("dim"), read("pixdim")
    if not 1 <= dim[0] <= 7:
        raise ValueError
    sizes = dim[1 : dim[0] + 1]
    if dim[0] < 3 or any(n > 1 for n in sizes[3:]):
        shape = " x ".join(map(str, sizes))
        raise InputError(f"the NIfTI has {dim[0]} dimensions ({shape}): give one volume, three dimensions")
    if min(sizes[:3]) < 1:
        raise ValueError
    if read("datatype")[0] not in TYPES:
        raise InputError("the NIfTI holds colours, bits or complex numbers: give one volume of Hounsfield units")
    qform, sform = read("codes")
    if qform <= 0 and sform <= 0:
        raise InputError(
            "the NIfTI has no affine (qform_code and sform_code are 0): where its voxels lie is unknown; save it with one"
        )
    _check_spacing(pixdim[1:4], read("srow") if sform > 0 else None)
    if not all(np.abs(affine).max() < MOST_MM for affine in _affines(read).values()):  # false for NaN too
        raise InputError("the NIfTI's affine (sform, qform) is no place of a patient, or no rotation: repair its header")
    if (read("units")[0] & 7) not in MILLIMETRES_OR_UNSAID:
        raise InputError("the NIfTI is not in millimetres (xyzt_units): save it in millimetres")
    if not read.size <= read("vox_offset")[0] < MOST_OFFSET:  # false for NaN too
        raise InputError("the NIfTI does not say where its voxels begin (vox_offset): save it as one file, or repair its header")
    _check_length(path, int(read("vox_offset")[0]), sizes, read("bitpix")[0])
    slope, inter = read("scale")
    return read("datatype")[0] not in UNSIGNED or (slope != 0 and inter < 0)


def affines_of(path: Path) -> dict[str, NDArray[np.float64]]:
    """The affines that the header holds, ``sform`` and ``qform``: 3x4, from index ``(x, y, z, 1)`` to LPS mm (nifti1.h)."""
    with _open(path) as f:
        return _affines(_Header.of(f.read(540)))


def _affines(read: _Header) -> dict[str, NDArray[np.float64]]:
    qform, sform = read("codes")
    found = {}
    if sform > 0:
        found["sform"] = np.array(read("srow"), dtype=np.float64).reshape(3, 4)
    if qform > 0:
        found["qform"] = _of_quaternion(read("quatern"), read("pixdim"))
    return {name: affine * [[-1.0], [-1.0], [1.0]] for name, affine in found.items()}  # NIfTI is RAS


def _of_quaternion(quatern: tuple[float, ...], pixdim: tuple[float, ...]) -> NDArray[np.float64]:
    """NaN where it is no rotation."""
    b, c, d = quatern[:3]
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest > -1e-3:
        return np.full((3, 4), np.nan)
    a = max(rest, 0.0) ** 0.5
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    steps = np.array([pixdim[1], pixdim[2], pixdim[3] * (-1.0 if pixdim[0] < 0 else 1.0)])
    return np.column_stack([rotation * steps, quatern[3:6]])


def nifti_voxels(path: Path) -> NDArray:
    """``[z, y, x]``, scaled as the header says. SimpleITK would turn NaN into 0 without a word. Raises InputError."""
    try:
        with _open(path) as f:
            header = _Header.of(f.read(540))
        dim = header("dim")
        kind = np.dtype(header.order + TYPES[header("datatype")[0]])
        offset, voxels = int(header("vox_offset")[0]), int(np.prod(dim[1:4], dtype=np.int64))
        with _open(path) as f:
            f.seek(offset)
            values = np.frombuffer(f.read(voxels * kind.itemsize), dtype=kind, count=voxels).reshape(dim[3:0:-1])
            f.read(values.nbytes)  # on to the end: gzip compares its checksum there
    except (OSError, EOFError, zlib.error, ValueError, KeyError):
        raise InputError("the NIfTI is damaged or cut short: its voxels cannot be read") from None
    slope, inter = header("scale")
    if slope == 0 or (slope, inter) == (1, 0) or not np.isfinite([slope, inter]).all():  # 0: not to be scaled (nifti1.h)
        return values.astype(kind.newbyteorder("="), copy=False)
    return values * np.float64(slope) + np.float64(inter)


def _open(path: Path) -> Any:
    return gzip.open(path) if _packed(path) else path.open("rb")


def _packed(path: Path) -> bool:
    """By content: browsers unpack what they fetch and leave it its name."""
    with path.open("rb") as f:
        return f.read(2) == GZIP


@dataclass(frozen=True)
class _Header:
    """Fields by name."""

    size: int
    head: bytes
    order: str
    layout: dict[str, tuple[int, str]]

    @classmethod
    def of(cls, head: bytes) -> _Header:
        """Raises ValueError where this is no NIfTI."""
        for order in "<>":
            size = struct.unpack_from(order + "i", head)[0] if len(head) >= 348 else 0
            if size in LAYOUTS and len(head) >= size:
                return cls(size, head, order, LAYOUTS[size])
        raise ValueError

    def __call__(self, name: str) -> tuple:
        at, form = self.layout[name]
        return struct.unpack_from(self.order + form, self.head, at)


def _check_spacing(pixdim: tuple[float, ...], srow: tuple[float, ...] | None) -> None:
    steps = [sum(srow[4 * row + k] ** 2 for row in range(3)) ** 0.5 for k in range(3)] if srow else [1.0]
    if not all(0 < v < 1e4 for v in (*pixdim, *steps)):  # false for NaN too
        raise InputError("the NIfTI has zero, negative or undefined spacing (pixdim, sform): repair its header")


def _check_length(path: Path, offset: int, sizes: tuple[int, ...], bits: int) -> None:
    voxels = 1
    for n in sizes:
        voxels *= n
    need = offset + voxels * bits // 8
    if _packed(path):  # gzip ends with the length of what its last member holds, modulo 2^32 (RFC 1952)
        with path.open("rb") as f:
            f.seek(-4, 2)
            short = need < 2**32 and struct.unpack("<I", f.read(4))[0] < need and not _holds(path, need)
    else:
        short = path.stat().st_size < need
    if short:
        raise InputError("the NIfTI is cut short: fewer voxels in the file than its header says")


def _holds(path: Path, need: int) -> bool:
    """Whether a packed file, of several members perhaps (bgzip, pigz), holds ``need`` bytes: unpacked piece by piece."""
    have = 0
    try:
        with _open(path) as f:
            while have < need and (piece := f.read(1 << 20)):
                have += len(piece)
    except (OSError, EOFError, zlib.error):
        return False
    return have >= need
