"""Load: a scan as it was read becomes a Volume on an even, upright grid, with what is wrong with it said, mended or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.errors import ScanRefused
from artifacts.geometry import Geometry
from artifacts.volume import QCFinding, Volume
from tasks.reading.eligibility import LEAST_CHEST_MM
from tasks.reading.quality import LUNG_CM2, lung_cm2, why_not_hu
from tasks.reading.raw import RawScan, check_size
from tasks.reading.resample import onto_planes, straightened, straightened_shape
from tasks.reading.stacking import Levels, Stack, levels
from tasks.stage import Params, stage

THICK_MM = 3.0
MOST_FIELD_MM = 2000.0  # the widest scanner sees less than half of it
NAMED = 5  # slices named one by one in a message
MOST_REPEATED = 0.25  # of the slices, where the repeated ones differ: two scans in one


class LoadParams(Params):
    """What is mended and what is refused."""

    partial: bool = Field(
        False, title="Part of a chest", description=f"Take scans that cover less than {LEAST_CHEST_MM:.0f} mm; the report says so"
    )
    max_spacing_mm: float = Field(
        10.0,
        ge=1.0,
        le=20.0,
        title="Widest spacing",
        description="Scans whose slices lie further apart or are thicker are refused; above 3 mm there is a warning",
        json_schema_extra={"unit": "mm"},
    )
    max_gap_slices: int = Field(
        2,
        ge=0,
        le=20,
        title="Widest gap",
        description="Slices missing in a row that are filled in by interpolation; more are refused",
        json_schema_extra={"unit": "slices"},
    )
    uneven: Literal["mend", "refuse"] = Field(
        "mend", title="Uneven spacing", description="Resample slices at uneven distances onto an even grid, or refuse the scan"
    )
    tilt: Literal["correct", "refuse"] = Field(
        "correct", title="Tilted gantry", description="Put leaning slices straight by resampling, or refuse the scan"
    )


@stage("load", version=2, params=LoadParams)
def load(scan: RawScan, params: LoadParams = LoadParams()) -> Volume:
    """Slices as acquired -> HU ``[z, y, x]`` int16 on a regular LPS grid; a scan that needs no mending keeps its very array.

    Raises ScanRefused: not CT, not Hounsfield units, part of a chest (unless ``params.partial``), gaps, spacing or tilt beyond
    what ``params`` allow.
    """
    if scan.series.modality != "CT":
        raise ScanRefused(f"the scan is {scan.series.modality}, not CT: Hounsfield units exist in CT alone")
    if len(scan.hu) < 2:
        raise ScanRefused("the scan is one slice: a stack of slices is needed")
    qc = list(scan.qc)
    _refuse_other_units(scan.hu)
    _check_field(scan)
    scan = _without_repeated(scan, qc)
    stack = Stack.of(scan.places_lps_mm, scan.row_lps, scan.column_lps)
    grid = levels(stack.along_mm)
    _check_extent(stack, grid, params, qc)
    _check_thickness(scan, grid, params, qc)
    _check_levels(stack, grid, scan.unreadable, params, qc)
    hu, origin, direction = _upright(scan, stack, params, qc)
    if not grid.even or grid.missing:
        check_size((grid.count, *hu.shape[1:]))  # type: ignore[arg-type]
        hu = onto_planes(hu, grid.at, grid.count)
    step = grid.step_mm * float(np.linalg.norm(direction))
    unit = direction / np.linalg.norm(direction)
    geometry = Geometry(
        hu.shape,  # type: ignore[arg-type]
        (step, *scan.spacing_yx),
        tuple(map(float, origin)),  # type: ignore[arg-type]
        (tuple(map(float, unit)), scan.column_lps, scan.row_lps),  # type: ignore[arg-type]
    )
    qc += _lungs_cut_off(hu, geometry)
    return Volume(hu, geometry, scan.series, qc, _nearest(scan, grid))


def _refuse_other_units(hu: NDArray[np.int16]) -> None:
    if why := why_not_hu(hu):
        raise ScanRefused(f"not Hounsfield units: {why}; give the scan as the scanner wrote it, rescaled to HU")


def _check_field(scan: RawScan) -> None:
    y, x = (n * d for n, d in zip(scan.hu.shape[1:], scan.spacing_yx, strict=True))
    if max(y, x) > MOST_FIELD_MM:
        raise ScanRefused(
            f"the slices are {y:.0f} x {x:.0f} mm wide: at most {MOST_FIELD_MM:.0f} mm are taken; repair the pixel spacing in "
            "the header"
        )


def _without_repeated(scan: RawScan, qc: list[QCFinding]) -> RawScan:
    """The first of several slices in the same place."""
    repeated = Stack.of(scan.places_lps_mm, scan.row_lps, scan.column_lps).repeated()
    if not repeated.any():
        return scan
    first = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(repeated))))
    differ = sum(not np.array_equal(scan.hu[k], scan.hu[first[k]]) for k in np.flatnonzero(repeated))
    n = int(repeated.sum())
    if differ > max(2, MOST_REPEATED * (len(repeated) - n)):
        raise ScanRefused(f"{differ} places of the scan have two different slices each: two scans in one series; separate them")
    if len(repeated) - n < 2:
        raise ScanRefused("all slices of the scan lie in the same place: a stack of slices is needed")
    same = f"{differ} of them with other pixels than the first" if differ else "the same pixels"
    qc.append(
        QCFinding("duplicate-slices", "warning" if differ else "info", f"{n} slice{'s' * (n > 1)} left out: repeated, {same}")
    )
    keep = np.flatnonzero(~repeated)
    slices = tuple(scan.series.slices[k] for k in keep) if scan.series.slices else ()
    return replace(scan, hu=scan.hu[keep], places_lps_mm=scan.places_lps_mm[keep], series=replace(scan.series, slices=slices))


def _check_extent(stack: Stack, grid: Levels, params: LoadParams, qc: list[QCFinding]) -> None:
    extent = float(stack.along_mm[-1]) + grid.step_mm
    if extent >= LEAST_CHEST_MM:
        return
    message = f"the scan covers {extent:.0f} mm, a part of a chest ({LEAST_CHEST_MM:.0f} mm at least)"
    if not params.partial:
        raise ScanRefused(f"{message}: screen it with --partial")
    qc.append(QCFinding("part-of-chest", "warning", f"{message}: what lies outside was not looked at"))


def _check_thickness(scan: RawScan, grid: Levels, params: LoadParams, qc: list[QCFinding]) -> None:
    widest = max(grid.step_mm, scan.series.slice_thickness_mm or 0.0)
    thick, apart = round(scan.series.slice_thickness_mm or grid.step_mm, 2), round(grid.step_mm, 2)
    about = f"slices {thick:g} mm thick, {apart:g} mm apart"
    if widest > params.max_spacing_mm:
        raise ScanRefused(f"{about}: at most {params.max_spacing_mm:g} mm are taken; choose a thinner series")
    if widest > THICK_MM + 0.01:
        qc.append(
            QCFinding("thick-slices", "warning", f"{about}: small nodules may not show ({THICK_MM:g} mm or less is better)")
        )


def _check_levels(stack: Stack, grid: Levels, unreadable: int, params: LoadParams, qc: list[QCFinding]) -> None:
    """Missing slices and uneven spacing: said and mended, or refused."""
    if grid.widest > params.max_gap_slices:
        gap = int(np.argmax(np.diff(stack.along_mm)))
        raise ScanRefused(
            f"{grid.widest} slice{'s' * (grid.widest > 1)} missing in a row after slice {gap + 1} of {len(stack.along_mm)} "
            f"({np.diff(stack.along_mm)[gap]:.3g} mm): at most {params.max_gap_slices} are filled in; find the missing files"
        )
    if grid.missing:
        n = len(grid.missing)
        some = ", ".join(str(k + 1) for k in grid.missing[:NAMED]) + (" …" if n > NAMED else "")
        why = "missing or not readable" if unreadable else "missing"
        message = f"slice{'s' * (n > 1)} {some} of {grid.count} {why}: filled in from {'their' if n > 1 else 'its'} neighbours"
        qc.append(QCFinding("missing-slices", "warning", message))
    if not grid.even:
        steps = np.diff(stack.along_mm)
        about = f"slices lie {steps.min():.3g} to {steps.max():.3g} mm apart"
        if steps.max() > params.max_spacing_mm:
            raise ScanRefused(f"{about}: at most {params.max_spacing_mm:g} mm are taken")
        if params.uneven == "refuse":
            raise ScanRefused(f"{about}, and uneven spacing is to be refused")
        qc.append(
            QCFinding("uneven-spacing", "warning", f"{about}: resampled to {grid.count} slices {grid.step_mm:.3g} mm apart")
        )


def _upright(
    scan: RawScan, stack: Stack, params: LoadParams, qc: list[QCFinding]
) -> tuple[NDArray[np.int16], NDArray[np.float64], NDArray[np.float64]]:
    """Voxels with leaning slices put straight, the LPS place of the first, and the step (LPS) per millimetre along the normal."""
    first = scan.places_lps_mm[0]
    if stack.straight(scan.spacing_yx):
        if scan.tilt_deg and abs(scan.tilt_deg) > 1:
            message = (
                f"the header tells of a gantry tilted by {scan.tilt_deg:.1f}°; the slices stack straight: nothing to correct"
            )
            qc.append(QCFinding("gantry-tilt", "info", message))
        return scan.hu, first, (scan.places_lps_mm[-1] - first) / stack.along_mm[-1]
    lean, wobble = stack.lean_deg(), stack.wobble_mm()
    leaning = wobble < 0.25 * float(np.linalg.norm(stack.sideways_mm[-1]))
    about = (
        f"slices lean by {lean:.1f}° (a tilted gantry)" if leaning else f"slices lie {wobble:.1f} mm and more beside each other"
    )
    if params.tilt == "refuse":
        raise ScanRefused(f"{about}, and a tilted gantry is to be refused")
    shift = stack.sideways_mm / np.array(scan.spacing_yx)
    check_size(straightened_shape(scan.hu.shape, shift))
    hu, low = straightened(scan.hu, shift)
    qc.append(
        QCFinding("gantry-tilt" if leaning else "shifted-slices", "warning", f"{about}: put straight by resampling each slice")
    )
    across = low[0] * scan.spacing_yx[0] * np.array(scan.column_lps) + low[1] * scan.spacing_yx[1] * np.array(scan.row_lps)
    return hu, first + across, stack.normal


def _lungs_cut_off(hu: NDArray[np.int16], geometry: Geometry) -> list[QCFinding]:
    """Lung on the first or last plane goes on where the scan does not."""
    found = []
    z_axis, sign = geometry.patient_axes[2]
    names = ("lower", "upper") if sign > 0 else ("upper", "lower")
    for name, plane in zip(names if z_axis == 0 else ("first", "last"), (hu[0], hu[-1]), strict=True):
        area = lung_cm2(plane, geometry.spacing_zyx[1:])
        if area > LUNG_CM2:
            message = f"the lungs are cut off at the {name} end of the scan ({area:.0f} cm² of lung on its last slice)"
            found.append(QCFinding("lungs-cut-off", "warning", message))
    return found


def _nearest(scan: RawScan, grid: Levels) -> tuple[int, ...]:
    """For each plane the acquired slice nearest to it."""
    if not scan.series.slices:
        return ()
    return tuple(int(np.abs(grid.at - plane).argmin()) for plane in range(grid.count))
