"""Volumes for tests: the real scans read the plain way, and the same voxels stored another way round."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry
from artifacts.volume import AIR_HU, Series, SourceSlice, Volume


def geometry_of(image) -> Geometry:
    """Of a SimpleITK image."""
    columns = np.array(image.GetDirection()).reshape(3, 3).T.tolist()
    z, y, x = (tuple(columns[k]) for k in (2, 1, 0))
    shape, spacing = image.GetSize()[::-1], image.GetSpacing()[::-1]
    return Geometry(shape, spacing, tuple(image.GetOrigin()), (z, y, x))


@cache
def read_scan(path: Path) -> Volume:
    """A folder of one DICOM series, or a file, through SimpleITK."""
    import SimpleITK as sitk

    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(path))
    hu = np.clip(sitk.GetArrayFromImage(image), AIR_HU, 32767).astype(np.int16)
    slices = tuple(SourceSlice(f"1.2.{k}", k + 1, k * image.GetSpacing()[2]) for k in range(len(hu)))
    return Volume(hu, geometry_of(image), Series("1.2", slices=slices), nearest_slice=tuple(range(len(hu))))


def stored_otherwise(array: NDArray, geometry: Geometry, order: tuple[int, int, int], flips: tuple[bool, bool, bool]):
    """The same voxels in the same places of the patient, with axes in another ``order``, then some flipped."""
    last = np.array(geometry.shape_zyx) - 1
    corner = np.zeros(3)
    for new, old in enumerate(order):
        corner[old] = last[old] if flips[new] else 0
    ways = [-1.0 if f else 1.0 for f in flips]
    turned = Geometry(
        tuple(geometry.shape_zyx[a] for a in order),
        tuple(geometry.spacing_zyx[a] for a in order),
        tuple(geometry.lps_mm_from_zyx(corner).tolist()),
        tuple(tuple(w * v for v in geometry.directions_zyx[a]) for a, w in zip(order, ways, strict=True)),
    )
    moved = array.transpose(order)[tuple(slice(None, None, -1) if f else slice(None) for f in flips)]
    return np.ascontiguousarray(moved), turned


def volume_otherwise(volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    hu, geometry = stored_otherwise(volume.hu, volume.geometry, order, flips)
    return replace(volume, hu=hu, geometry=geometry, nearest_slice=())


def slab(volume: Volume, low: int, high: int) -> Volume:
    """Some slices of a scan."""
    g = volume.geometry
    hu = volume.hu[low:high]
    origin = tuple(g.lps_mm_from_zyx((low, 0, 0)).tolist())
    return Volume(hu, Geometry(hu.shape, g.spacing_zyx, origin, g.directions_zyx), volume.series)
