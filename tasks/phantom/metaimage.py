"""A Volume as MetaImage, the way LUNA16 comes: a text header ``<series>.mhd`` and its voxels ``<series>.raw`` beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from artifacts.geometry import Geometry
from artifacts.volume import Volume


def write_metaimage(volume: Volume, folder: Path) -> Path:
    """``<uid>.mhd`` and ``.raw`` into ``folder`` (made where missing), the header last and whole; returns the header's path."""
    folder.mkdir(parents=True, exist_ok=True)
    raw, header = (folder / f"{volume.series.uid}{suffix}" for suffix in (".raw", ".mhd"))
    unfinished = header.with_suffix(".mhd.part")
    np.ascontiguousarray(volume.hu, dtype="<i2").tofile(raw)
    unfinished.write_text(header_text(volume.geometry, raw.name), encoding="ascii")
    unfinished.replace(header)
    return header


def header_text(geometry: Geometry, voxels: str) -> str:
    """Axes in the order x, y, z; directions and origin are LPS."""

    def line(values: object) -> str:
        return " ".join(repr(float(v)) for v in values)  # type: ignore[attr-defined]

    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": line(np.ravel(geometry.directions_zyx[::-1])),
        "Offset": line(geometry.origin_lps_mm),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": line(geometry.spacing_zyx[::-1]),
        "DimSize": " ".join(str(n) for n in geometry.shape_zyx[::-1]),
        "ElementType": "MET_SHORT",
        "ElementDataFile": voxels,
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items())
