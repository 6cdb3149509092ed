"""MetaImage (.mhd, .mha): the header is text, one ``Key = value`` a line, and ends with where the voxels are."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from artifacts.errors import InputError

HEAD = 65536
BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4, "MET_ULONG": 4,
    "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip


def header_fields(path: Path) -> dict[str, str]:
    with path.open("rb") as f:
        head = f.read(HEAD)
    fields: dict[str, str] = {}
    for line in head.split(b"\n"):
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals:
            continue
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    return fields


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
    sizes = [int(v) for v in fields.get("DimSize", "").split()]
    if len(sizes) < 3:
        raise InputError(f"the image has {len(sizes)} dimensions: give one volume, three dimensions")
    text = fields.get("ElementSpacing") or fields.get("ElementSize")
    spacing = [float(v) for v in (text or "").split()]
    if len(spacing) < 3 or not all(0 < v < 1e4 for v in spacing[:3]):
        raise InputError("the image has no, zero or negative spacing (ElementSpacing): repair its header")
    voxels = voxel_file(path)
    kind = fields.get("ElementType", "")
    if fields.get("CompressedData", "False").lower() != "true":
        need = BYTES.get(kind, 0)
        for n in sizes:
            need *= n
        if voxels.stat().st_size < need:
            raise InputError("the image is cut short: fewer voxels in the file than its header says")
    return not kind.startswith("MET_U")
