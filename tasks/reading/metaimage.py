"""MetaImage (.mhd, .mha): the header is text, one ``Key = value`` a line, and ends with where the voxels are.

Its numbers are checked and its voxels are read here: SimpleITK takes 0 for what is no number, and hands out whatever lay in
memory where packed voxels are damaged.
"""

from __future__ import annotations

import zlib
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError

HEAD = 65536
TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
PLACE = ("Offset", "Position", "Origin")  # a number a dimension
AXES = ("TransformMatrix", "Rotation", "Orientation")  # as many numbers a dimension


def header_fields(path: Path) -> dict[str, str]:
    return _parsed(path)[0]


def _parsed(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and where the bytes after the header begin."""
    with path.open("rb") as f:
        head = f.read(HEAD)
    fields: dict[str, str] = {}
    end = 0
    for line in head.split(b"\n"):
        end += len(line) + 1
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals:
            continue
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    return fields, end


def voxel_file(path: Path) -> Path:
    """The file beside the header that holds the voxels. Raises InputError where it points elsewhere."""
    name = header_fields(path).get("ElementDataFile", "")
    if name.upper() == "LOCAL":
        return path
    relative = PurePosixPath(name.replace("\\", "/"))
    if not name or relative.is_absolute() or ".." in relative.parts or name.upper().startswith("LIST") or "%" in name:
        raise InputError("the .mhd file names no plain voxel file beside it (ElementDataFile): write it as one .mhd and one .raw")
    target = path.parent / relative
    if not target.is_file():
        raise InputError("the voxel file that the .mhd names (ElementDataFile) is not there: keep .mhd and .raw together")
    return target


def check_metaimage(path: Path) -> bool:
    """Whether its voxels are signed. Raises InputError (or ValueError) on what SimpleITK would pass over."""
    fields = header_fields(path)
    sizes = _sizes(fields)
    if len(sizes) != int(fields["NDims"]) or int(fields.get("HeaderSize", 0)) < -1:
        raise ValueError
    if len(sizes) < 3:
        raise InputError(f"the image has {len(sizes)} dimensions: give one volume, three dimensions")
    text = fields.get("ElementSpacing") or fields.get("ElementSize")
    spacing = [float(v) for v in (text or "").split()]
    if len(spacing) < 3 or not all(0 < v < 1e4 for v in spacing[:3]):
        raise InputError("the image has no, zero or negative spacing (ElementSpacing): repair its header")
    _check_numbers(fields, len(sizes))
    kind = fields.get("ElementType", "")
    if kind not in TYPES:
        raise InputError("the MetaImage does not hold plain numbers (ElementType): give one volume of Hounsfield units")
    if _yes(fields, "BinaryData", "True") is False:
        raise InputError("the MetaImage holds its voxels as text (BinaryData = False): save it as binary")
    voxels = voxel_file(path)
    if not _yes(fields, "CompressedData") and voxels.stat().st_size < _need(fields):
        raise InputError("the image is cut short: fewer voxels in the file than its header says")
    return not kind.startswith("MET_U")


def _check_numbers(fields: dict[str, str], dimensions: int) -> None:
    for key, count in [(k, dimensions) for k in PLACE] + [(k, dimensions**2) for k in AXES]:
        if key not in fields:
            continue
        try:
            values = [float(v) for v in fields[key].split()]
        except ValueError:
            values = []
        if len(values) != count or not np.isfinite(values).all():
            raise InputError(f"{key} of the MetaImage is not {count} numbers: where its voxels lie is unknown; repair its header")
    for key, plain in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if float(fields.get(key, plain)) != plain:
            raise InputError(f"the MetaImage's values are yet to be rescaled ({key}): save it in Hounsfield units")


def metaimage_voxels(path: Path, shape_zyx: tuple[int, int, int]) -> NDArray:
    """``[z, y, x]`` as stored. Raises InputError where there are fewer than the header says, or they cannot be unpacked."""
    fields, end = _parsed(path)
    file, need = voxel_file(path), _need(fields)
    order = ">" if _yes(fields, "BinaryDataByteOrderMSB") or _yes(fields, "ElementByteOrderMSB") else "<"
    skip = int(fields.get("HeaderSize", 0))
    try:
        with file.open("rb") as f:
            f.seek(end if file == path else file.stat().st_size - need if skip < 0 else skip)
            body = f.read() if _yes(fields, "CompressedData") else f.read(need)
        if _yes(fields, "CompressedData"):
            body = unpacked(body, need)
        return np.frombuffer(body, dtype=order + TYPES[fields["ElementType"]]).reshape(shape_zyx)
    except (OSError, ValueError, zlib.error):
        raise InputError("the MetaImage is damaged or cut short: its voxels cannot be read") from None


def unpacked(packed: bytes, need: int) -> bytes:
    """The ``need`` bytes of a zlib or gzip stream, checked by its checksum. Raises ValueError, zlib.error."""
    stream = zlib.decompressobj(32 + zlib.MAX_WBITS)
    body = stream.decompress(packed, need)
    if stream.decompress(stream.unconsumed_tail, 1) or not stream.eof:
        raise ValueError
    return body


def _sizes(fields: dict[str, str]) -> list[int]:
    return [int(v) for v in fields.get("DimSize", "").split()]


def _need(fields: dict[str, str]) -> int:
    """Bytes of all voxels."""
    need = np.dtype(TYPES[fields["ElementType"]]).itemsize
    for n in _sizes(fields):
        need *= n
    return need


def _yes(fields: dict[str, str], key: str, missing: str = "False") -> bool:
    return fields.get(key, missing).lower() in ("true", "1", "t", "yes")
