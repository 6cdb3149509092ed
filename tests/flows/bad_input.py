"""The phantom's DICOM series with one fault each, image files with broken headers, hostile zips, tiny weights."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.checkpoint import Card, CropSpec, InputSpec, Role, write_checkpoint

RLE = "1.2.840.10008.1.2.5"
CORONAL = ["1", "0", "0", "0", "0", "-1"]
OTHER_UID = "2.25.9"
NETWORKS: dict[Role, tuple[str, dict[str, Any]]] = {
    "segmenter": ("unet2d", {"in_channels": 7, "classes": 1, "depth": 2, "width": 2}),
    "nodule": ("luna3d", {"conv_channels": 1, "crop_zyx": [16, 16, 16]}),
    "malignancy": ("luna3d", {"conv_channels": 1, "crop_zyx": [16, 16, 16]}),
}


def write_tiny_weights(folder: Path) -> None:
    """Networks that run in no time and find nothing: the segmenter says 0.7 % everywhere."""
    import torch

    from tasks.nets.registry import build

    torch.manual_seed(0)
    for role, (architecture, arguments) in NETWORKS.items():
        net = build(architecture, **arguments)
        if role == "segmenter":
            torch.nn.init.zeros_(net.last.weight)  # type: ignore[union-attr,arg-type]
            torch.nn.init.constant_(net.last.bias, -5.0)  # type: ignore[union-attr,arg-type]
        wants = InputSpec() if role == "segmenter" else InputSpec(crop=CropSpec(shape_zyx=(16, 16, 16)))
        card = Card(name=folder.name, role=role, architecture=architecture, arguments=arguments, input=wants, licence="none")
        write_checkpoint(folder, card, {k: v.numpy() for k, v in net.state_dict().items()})


# -- DICOM -------------------------------------------------------------------------------------------------------------------


def copied(series: Path, folder: Path) -> list[Path]:
    """The series' files in ``folder``, in the order of z."""
    shutil.copytree(series, folder, dirs_exist_ok=True)
    return sorted(folder.iterdir())


def edited(files: Iterable[Path], change: Callable[[Any], Any]) -> None:
    """Read each file, ``change`` its data set in place, write it again."""
    import pydicom

    for path in files:
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path)


def attributes(**values: Any) -> Callable[[Any], None]:
    """A change that sets attributes; None removes one."""

    def change(data: Any) -> None:
        for name, value in values.items():
            if value is None:
                delattr(data, name)
            else:
                setattr(data, name, value)

    return change


def smaller(data: Any) -> None:
    """Half the rows and columns of the same slice."""
    data.PixelData = np.ascontiguousarray(data.pixel_array[::2, ::2]).tobytes()
    data.Rows, data.Columns = data.Rows // 2, data.Columns // 2


def huge(data: Any) -> None:
    """Claims 60000 x 60000 pixels in a file of some kilobytes, packed so that its length proves nothing."""
    data.compress(RLE, generate_instance_uid=False)
    data.Rows = data.Columns = 60000


def cut(path: Path, keep: float) -> None:
    """Only the first part of a file."""
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * keep)])


# -- image files -------------------------------------------------------------------------------------------------------------


def nifti(
    hu: NDArray,
    *,
    dim: tuple[int, ...] | None = None,
    codes: tuple[int, int] = (1, 1),
    spacing: tuple[float, ...] = (2.6, 2.6, 4.0),
) -> bytes:
    """A NIfTI-1 file of ``hu`` ``[z, y, x]`` (int16 or float32)."""
    head = bytearray(352)
    shape = dim or hu.shape[::-1]
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", head, 70, {"i": 4, "f": 16}[hu.dtype.kind], hu.dtype.itemsize * 8)
    struct.pack_into("<8f", head, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, 352, 1, 0)
    head[123] = 2
    struct.pack_into("<2h", head, 252, *codes)
    dx, dy, dz = spacing
    struct.pack_into("<12f", head, 280, -dx, 0, 0, 150, 0, -dy, 0, 150, 0, 0, dz, -140)
    head[344:348] = b"n+1\0"
    return bytes(head) + hu.tobytes()


def nifti_2_of_a_million_cubed() -> bytes:
    head = bytearray(544)
    struct.pack_into("<i", head, 0, 540)
    head[4:12] = b"n+2\0\r\n\x1a\n"
    struct.pack_into("<2h", head, 12, 4, 16)
    struct.pack_into("<8q", head, 16, 3, 10**6, 10**6, 10**6, 1, 1, 1, 1)
    struct.pack_into("<8d", head, 104, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<q", head, 168, 544)
    struct.pack_into("<2d", head, 176, 1, 0)
    struct.pack_into("<2i", head, 344, 1, 1)
    struct.pack_into("<12d", head, 400, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    struct.pack_into("<i", head, 500, 2)
    return bytes(head) + bytes(64)


def mhd(spacing: str = "2.6 2.6 4", size: str = "128 128 70", data: str = "LOCAL", more: str = "") -> bytes:
    """A MetaImage header; voxels are to follow."""
    lines = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{more}DimSize = {size}\n"
    return f"{lines}ElementSpacing = {spacing}\nElementType = MET_SHORT\nElementDataFile = {data}\n".encode()


def nrrd(steps: tuple[str, str, str] = ("(2.6,0,0)", "(0,2.6,0)", "(0,0,4)"), sizes: str = "128 128 70") -> bytes:
    lines = ["NRRD0004", "type: short", "dimension: 3", "space: left-posterior-superior", f"sizes: {sizes}"]
    lines += [f"space directions: {' '.join(steps)}", "endian: little", "encoding: raw", "space origin: (0,0,0)"]
    return ("\n".join(lines) + "\n\n").encode()


# -- zips --------------------------------------------------------------------------------------------------------------------


def zip_of(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in entries.items():
            archive.writestr(name, body)
    return path


def zip_with_link(path: Path, target: str) -> Path:
    link = zipfile.ZipInfo("IM1.dcm")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, target)
    return path


def marked_encrypted(path: Path) -> Path:
    """Sets the flag in the local header and in the directory of a zip with one entry."""
    body = bytearray(path.read_bytes())
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        body[body.index(magic) + at] |= 1
    path.write_bytes(body)
    return path


def says(path: Path, size: int) -> Path:
    """Writes ``size`` as what the one entry of a zip unpacks to."""
    body = bytearray(path.read_bytes())
    for magic, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", body, body.index(magic) + at, size)
    path.write_bytes(body)
    return path
