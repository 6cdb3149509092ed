"""Load 300 uncompressed DICOM slices to a Volume, against SimpleITK's series reader."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.side_by_side import compare, row

SLICES = 300


def series_of(folder: Path, slices: int = SLICES) -> Path:
    """A synthetic series, 512 x 512, 1 mm: a phantom's slices repeated up and down."""
    from artifacts.geometry import Geometry
    from artifacts.volume import Volume
    from tasks.phantom import make_phantom
    from tasks.phantom.dicom import write_dicom_series

    phantom = make_phantom(0)
    hu = np.concatenate([phantom.volume.hu] * (slices // len(phantom.volume.hu) + 1))[:slices]
    geometry = Geometry(hu.shape, (1.0, *phantom.volume.geometry.spacing_zyx[1:]), phantom.volume.geometry.origin_lps_mm)
    write_dicom_series(Volume(np.ascontiguousarray(hu), geometry, phantom.volume.series), folder)
    return folder


def run(n: int = 5) -> list[dict[str, Any]]:
    """Both read the same warm files; ours finds the series, sorts, rescales and checks quality as well."""
    import SimpleITK as sitk

    from tasks.load import LoadParams, load
    from tasks.reading.choose import choose_series
    from tasks.reading.find import find_series
    from tasks.reading.read import read_scan

    with tempfile.TemporaryDirectory() as scratch:
        folder = series_of(Path(scratch) / "series")

        def ours() -> Any:
            found, _ = choose_series(find_series(folder), "best")[0]
            return load(read_scan(found), LoadParams())

        def theirs() -> Any:
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
            return sitk.GetArrayFromImage(reader.Execute())

        assert np.array_equal(ours().hu, theirs())
        mine, other = compare(ours, theirs, n)
    return [
        row(f"load {SLICES} DICOM slices", mine, other, ">= 2x SimpleITK's series reader", n, "find, sort, rescale, QC included")
    ]


if __name__ == "__main__":
    for line in run():
        print(line)
