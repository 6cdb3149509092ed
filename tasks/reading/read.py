"""From a found series to a ``RawScan``: every slice in Hounsfield units, with its place; what could not be read is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError
from artifacts.geometry import Geometry, Vector
from artifacts.volume import AIR_HU, QCFinding, Series, SourceSlice
from tasks.reading.eligibility import normal_of
from tasks.reading.facing import facing
from tasks.reading.found import FoundSeries, uid_is_pseudonym
from tasks.reading.images import image_header, itk_reader
from tasks.reading.metaimage import metaimage_voxels
from tasks.reading.nifti import nifti_voxels
from tasks.reading.nrrd import packed_voxels
from tasks.reading.pixels import read_pixels
from tasks.reading.raw import RawScan, check_size
from tasks.reading.slices import SliceHeader

READER = "reading-7"  # rises whenever the same files would be read as another scan
NAMED = 5  # slices named one by one in a message
FEW = 0.1  # of the slices

__all__ = ["READER", "RawScan", "read_scan"]


def read_scan(found: FoundSeries, *, labels: bool = False) -> RawScan:
    """Decode a series: ``RawScan`` in HU. Raises InputError where nothing of it can be read, or it is too large.

    labels  it is a label map, in which a slice of one value throughout is as good as any
    """
    scan = facing(_read_dicom(found) if found.source_format == "dicom" else _read_image(found))
    if not labels:
        scan = _without_blank(scan)
    scan.name_by_content()
    return scan


def _read_dicom(found: FoundSeries) -> RawScan:
    slices = list(found.slices)
    if not slices:
        raise InputError(f"the series cannot be read: {found.why_not or 'it has no slices'}")
    check_size((len(slices), found.rows, found.columns))
    row, column = _axes(slices[0])
    hu, lost = read_pixels(slices)
    gone = [slices[k] for k in lost]
    if gone:
        kept = [k for k in range(len(slices)) if k not in set(lost)]
        if not kept:
            raise InputError("no slice of the series can be decoded: its files are damaged or packed in an unknown way")
        hu, slices = hu[kept], [slices[k] for k in kept]
    places = np.array([s.position for s in slices], dtype=np.float64)
    along = places @ normal_of((*row, *column))
    series = Series(
        uid="" if uid_is_pseudonym(found.uid) else found.uid,
        modality=found.modality,
        source_format="dicom",
        manufacturer=found.manufacturer,
        kernel=found.kernel,
        slice_thickness_mm=found.thickness_mm,
        transfer_syntax=Counter(s.format.transfer_syntax for s in slices).most_common(1)[0][0],
        slices=tuple(
            SourceSlice(s.sop_uid, s.instance, round(float(d - along[0]), 6)) for s, d in zip(slices, along, strict=True)
        ),
    )
    unreadable = found.broken + len(gone)
    return RawScan(
        hu=hu,
        places_lps_mm=places,
        row_lps=row,
        column_lps=column,
        spacing_yx=slices[0].format.spacing_yx or (0.0, 0.0),
        series=series,
        qc=[*found.qc, *_unreadable(slices, [*found.lost, *gone], unreadable), *_rescaled_otherwise(slices)],
        unreadable=unreadable,
        tilt_deg=slices[0].about.tilt_deg,
    )


def _axes(first: SliceHeader) -> tuple[Vector, Vector]:
    """Unit vectors along a row and down a column, made exactly perpendicular. Raises InputError where they are far from it."""
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])  # type: ignore[index]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(row @ column) > 0.01:
        raise InputError("the direction cosines of the slices are no two perpendicular unit vectors: the headers are damaged")
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return tuple(map(float, row)), tuple(map(float, column))  # type: ignore[return-value]


def _without_blank(scan: RawScan) -> RawScan:
    """Slices of one value throughout, between others that are not, hold nothing of the patient: as if they were missing."""
    blank = np.array([_is_blank(plane) for plane in scan.hu])
    whole = np.flatnonzero(~blank)
    if not len(whole) or not blank[whole[0] : whole[-1]].any():
        return scan
    blank[: whole[0]] = blank[whole[-1] :] = False  # room around the scan, as image files have it
    lost, keep = np.flatnonzero(blank), np.flatnonzero(~blank)
    some = ", ".join(str(k + 1) for k in lost[:NAMED]) + (" …" if len(lost) > NAMED else "")
    hold = f"slices {some} of {len(blank)} hold" if len(lost) > 1 else f"slice {some} of {len(blank)} holds"
    series = scan.series
    return replace(
        scan,
        hu=scan.hu[keep],
        places_lps_mm=scan.places_lps_mm[keep],
        series=replace(series, slices=tuple(series.slices[k] for k in keep) if series.slices else ()),
        qc=[*scan.qc, QCFinding("blank-slices", "warning", f"{hold} one value throughout: left out")],
        unreadable=scan.unreadable + len(lost),
    )


def _is_blank(plane: NDArray[np.int16]) -> bool:
    return bool((plane[::16, ::16] == plane[0, 0]).all()) and bool((plane == plane[0, 0]).all())


def _unreadable(kept: Sequence[SliceHeader], lost: Sequence[SliceHeader], count: int) -> list[QCFinding]:
    """Which slices could not be read, as far as their headers say where they belong."""
    if not count:
        return []
    normal = normal_of(kept[0].orientation)  # type: ignore[arg-type]
    known = [s for s in lost if s.position and s.format.rows == kept[0].format.rows]
    order = sorted([*kept, *known], key=lambda s: float(normal @ np.array(s.position)))
    places = sorted(order.index(s) + 1 for s in known)
    total = len(kept) + count
    if places and len(places) == count:
        some = ", ".join(map(str, places[:NAMED])) + (" …" if len(places) > NAMED else "")
        message = f"slice{'s' * (count > 1)} {some} of {total} could not be read (cut short or damaged)"
    else:
        message = f"{count} file{'s' * (count > 1)} among the series' {total} could not be read (cut short or damaged)"
    return [QCFinding("unreadable-files", "warning", message)]


def _rescaled_otherwise(slices: Sequence[SliceHeader]) -> list[QCFinding]:
    """Slices with a rescale of their own; a few among many are rather a fault than meant so."""
    usual, n = Counter((s.slope, s.intercept) for s in slices).most_common(1)[0]
    if n == len(slices):
        return []
    odd = [k for k, s in enumerate(slices, 1) if (s.slope, s.intercept) != usual]
    some = ", ".join(map(str, odd[:NAMED])) + (" …" if len(odd) > NAMED else "")
    message = (
        f"{len(odd)} of {len(slices)} slices ({some}) have another rescale slope or intercept than the rest: read by their own"
    )
    return [QCFinding("mixed-rescale", "warning" if len(odd) <= FEW * len(slices) else "info", message)]


def _read_image(found: FoundSeries) -> RawScan:
    """MetaImage, NIfTI or NRRD: axes permuted, without resampling, so that slices are axial; slants are kept."""
    path = found.files[0]
    header = image_header(path)
    geometry = header.geometry
    values = _voxels(path, geometry, found.source_format)
    hu, geometry = _slices_first(_as_hu(values), geometry)
    step = np.array(geometry.directions_zyx[0]) * geometry.spacing_zyx[0]
    places = np.array(geometry.origin_lps_mm) + np.arange(len(hu))[:, None] * step
    return RawScan(
        hu=hu,
        places_lps_mm=places,
        row_lps=geometry.directions_zyx[2],
        column_lps=geometry.directions_zyx[1],
        spacing_yx=geometry.spacing_zyx[1:],
        series=Series(uid="" if uid_is_pseudonym(found.uid) else found.uid, source_format=found.source_format),
        qc=[QCFinding("modality", "info", "the file format does not say which modality it holds: taken as CT"), *header.qc],
    )


def _voxels(path: Path, geometry: Geometry, kind: str) -> NDArray:
    import SimpleITK as sitk

    if kind == "nifti":
        return nifti_voxels(path)
    if kind == "mhd":
        return metaimage_voxels(path, geometry.shape_zyx)
    if kind == "nrrd" and (packed := packed_voxels(path, geometry.shape_zyx)) is not None:
        return packed
    try:
        image = itk_reader(path).Execute()
    except RuntimeError:
        raise InputError(f"the {kind} file is damaged or cut short: its voxels cannot be read") from None
    return sitk.GetArrayFromImage(image).reshape(geometry.shape_zyx)


def _as_hu(values: NDArray) -> NDArray[np.int16]:
    """Rounded, within -1024..32767. Raises InputError on values that are no numbers."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            bad = values.size - int(np.count_nonzero(finite))
            raise InputError(
                f"{bad} voxel{'s' * (bad > 1)} of the image {'are not numbers' if bad > 1 else 'is not a number'} (NaN or "
                "infinite): replace by -1024 where air is meant"
            )
        values = np.rint(values)
    if values.dtype == np.int16:
        return np.maximum(values, np.int16(AIR_HU))
    return np.clip(values, AIR_HU, 32767).astype(np.int16)


def _slices_first(hu: NDArray[np.int16], g: Geometry) -> tuple[NDArray[np.int16], Geometry]:
    """The array axis that runs most along the body becomes z, the one most along the back y, the one most across x."""
    (x, _), (y, _), (z, _) = g.patient_axes
    if (z, y, x) == (0, 1, 2):
        return hu, g

    def pick(values: tuple) -> tuple:
        return values[z], values[y], values[x]

    turned = Geometry(pick(g.shape_zyx), pick(g.spacing_zyx), g.origin_lps_mm, pick(g.directions_zyx))
    return np.ascontiguousarray(hu.transpose(z, y, x)), turned
