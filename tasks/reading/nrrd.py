"""NRRD (.nrrd): the header is text up to an empty line (teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import re
from pathlib import Path

from artifacts.errors import InputError

HEAD = 65536
UNSIGNED = ("uchar", "unsigned", "uint", "ushort", "ulong")


def check_nrrd(path: Path) -> bool:
    """Whether its voxels are signed. Raises InputError."""
    with path.open("rb") as f:
        head = f.read(HEAD)
    if not head.startswith(b"NRRD"):
        raise ValueError
    text, _, _ = head.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = [line.decode("latin-1") for line in text.split(b"\n")[1:] if not line.startswith(b"#")]
    fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    if "data file" in fields or "datafile" in fields:
        raise InputError("the NRRD keeps its voxels in another file: save it as one file")
    sizes = [int(v) for v in fields["sizes"].split()]
    if len(sizes) != 3:
        raise InputError(
            f"the NRRD has {len(sizes)} dimensions ({' x '.join(map(str, sizes))}): give one volume, three dimensions"
        )
    vectors = re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))
    if len(vectors) != 3 or "space" not in fields:
        raise InputError("the NRRD does not say where its voxels lie (space, space directions): save it with its orientation")
    if set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"mm", ""}:
        raise InputError("the NRRD is not in millimetres (space units): save it in millimetres")
    steps = [sum(float(v) ** 2 for v in vector.split(",")) for vector in vectors]
    if not all(0 < s < 1e8 for s in steps):
        raise InputError("the NRRD has zero or undefined spacing (space directions): repair its header")
    return not fields.get("type", "").lower().startswith(UNSIGNED)
