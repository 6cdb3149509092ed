"""The load stage: what it mends, what it says, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from artifacts.errors import ScanRefused
from artifacts.volume import Series, SourceSlice, Volume
from tasks.load import LoadParams, load
from tasks.reading.raw import RawScan
from tests.tasks.reading.small_dicom import chest

Z = (0.0, 0.0, 1.0)


def smooth_chest(n: int = 60) -> np.ndarray:
    """Linear along z in every voxel, so that linear interpolation has to be exact."""
    plane = chest(3)[1].astype(float)
    return np.rint(plane + np.arange(n)[:, None, None] * 2.0).astype(np.int16)


def scan_of(hu: np.ndarray, along: Any = None, **more: Any) -> RawScan:
    """Slices 3 mm apart, or at ``along`` (mm)."""
    along = np.arange(len(hu)) * 3.0 if along is None else np.asarray(along, dtype=float)
    slices = tuple(SourceSlice(f"1.2.{k}", k + 1, float(d)) for k, d in enumerate(along))
    given: dict[str, Any] = {
        "places_lps_mm": np.array([-100.0, -80.0, -300.0]) + along[:, None] * np.array(Z),
        "row_lps": (1.0, 0.0, 0.0),
        "column_lps": (0.0, 1.0, 0.0),
        "spacing_yx": (7.0, 7.5),
        "series": Series(uid="1.2.3", slice_thickness_mm=3.0, slices=slices),
    }
    return RawScan(hu, **{**given, **more})


def without(scan: RawScan, *gone: int) -> RawScan:
    keep = [k for k in range(len(scan.hu)) if k not in gone]
    series = replace(scan.series, slices=tuple(scan.series.slices[k] for k in keep))
    return replace(scan, hu=scan.hu[keep], places_lps_mm=scan.places_lps_mm[keep], series=series)


def codes(volume: Volume) -> dict[str, str]:
    return {q.code: q.severity for q in volume.qc}


def test_a_sound_scan_is_handed_on_without_copying() -> None:
    scan = scan_of(chest())
    volume = load(scan)
    assert volume.hu is scan.hu
    assert volume.qc == []
    assert volume.nearest_slice == tuple(range(60))
    assert volume.geometry.spacing_zyx == pytest.approx((3.0, 7.0, 7.5))
    assert volume.geometry.origin_lps_mm == (-100.0, -80.0, -300.0)


@pytest.mark.parametrize("gone", [(17,), (17, 18), (5, 30, 31, 50)])
def test_missing_slices_are_filled_in_and_said(gone: tuple[int, ...]) -> None:
    hu = smooth_chest()
    volume = load(without(scan_of(hu), *gone))
    assert np.array_equal(volume.hu, hu)
    assert codes(volume)["missing-slices"] == "warning"
    assert f"{gone[0] + 1}" in volume.qc[0].message
    assert "of 60" in volume.qc[0].message
    for z in range(60):
        if z not in gone:
            assert volume.slice_of(z).instance_number == z + 1  # type: ignore[union-attr]
        else:
            assert abs(volume.slice_of(z).instance_number - z - 1) <= 1  # type: ignore[union-attr]


def test_slices_around_a_gap_keep_their_very_values() -> None:
    hu = chest()
    volume = load(without(scan_of(hu), 20))
    kept = [z for z in range(60) if z != 20]
    assert np.array_equal(volume.hu[kept], hu[kept])


def test_a_gap_too_wide_is_refused() -> None:
    scan = without(scan_of(chest()), 20, 21, 22)
    with pytest.raises(ScanRefused, match="3 slices missing in a row after slice 20"):
        load(scan)
    assert len(load(scan, LoadParams(max_gap_slices=3)).hu) == 60


def test_repeated_slices_are_left_out() -> None:
    hu = chest()
    order = [*range(10), 9, *range(10, 60)]
    scan = scan_of(hu[order], np.array(order) * 3.0)
    volume = load(scan)
    assert np.array_equal(volume.hu, hu)
    assert codes(volume) == {"duplicate-slices": "info"}
    scan.hu[10] += 5
    volume = load(scan)
    assert np.array_equal(volume.hu, hu)
    assert codes(volume) == {"duplicate-slices": "warning"}
    assert "other pixels" in volume.qc[0].message
    assert [s.position_mm for s in volume.series.slices] == [3.0 * k for k in range(60)]


def test_two_scans_in_one_are_refused() -> None:
    hu = chest()
    order = np.repeat(np.arange(60), 2)
    scan = scan_of(hu[order] + np.tile([0, 3], 60).astype(np.int16)[:, None, None], order * 3.0)
    with pytest.raises(ScanRefused, match="two scans in one series"):
        load(scan)


def test_uneven_spacing_is_resampled_and_said() -> None:
    """Half of the scan at 3 mm, half at 4 mm; a ramp stays the same ramp in millimetres."""
    along = np.concatenate([np.arange(40) * 3.0, 117 + 4.0 * np.arange(1, 20)])
    plane = chest(3)[1].astype(float)
    scan = scan_of(np.rint(plane + along[:, None, None]).astype(np.int16), along)
    volume = load(scan)
    assert codes(volume)["uneven-spacing"] == "warning"
    z = np.arange(len(volume.hu)) * volume.geometry.spacing_zyx[0]
    assert z[-1] == pytest.approx(along[-1])
    assert np.abs(volume.hu - (plane + z[:, None, None])).max() <= 1.5
    for k in range(len(volume.hu)):
        nearest = volume.slice_of(k)
        assert nearest is not None
        assert abs(nearest.position_mm - z[k]) <= 2.0
    with pytest.raises(ScanRefused, match="uneven"):
        load(scan, LoadParams(uneven="refuse"))


def test_positions_rounded_by_the_header_are_even() -> None:
    scan = scan_of(chest(), np.round(np.arange(60) * 3.12345, 2))
    volume = load(scan)
    assert volume.hu is scan.hu
    assert codes(volume) == {"thick-slices": "warning"}


@pytest.mark.parametrize("degrees", [12.0, -20.0])
def test_gantry_tilt_is_corrected(degrees: float) -> None:
    """Planes tilted about x, moved straight up the table: a thing fixed in the room is found in its place."""
    tilt = np.radians(degrees)
    column = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    n, rows, columns = 60, 60, 48
    places = np.array([-100.0, -120.0, -300.0]) + np.arange(n)[:, None] * np.array([0, 0, 3.0])
    r, c = np.meshgrid(np.arange(rows) * 4.0, np.arange(columns) * 7.5, indexing="ij")
    points = places[:, None, None] + r[..., None] * column + c[..., None] * np.array([1.0, 0, 0])
    center = np.array([80.0, 0.0, -210.0])
    ball = np.linalg.norm(points - center, axis=-1) < 45
    hu = np.where(ball, 40, -800).astype(np.int16)
    scan = scan_of(hu, places_lps_mm=places, column_lps=tuple(column), spacing_yx=(4.0, 7.5))
    volume = load(scan)
    assert codes(volume)["gantry-tilt"] == "warning"
    assert f"{abs(degrees):.1f}" in volume.qc[0].message
    d = np.array(volume.geometry.directions_zyx)
    assert d @ d.T == pytest.approx(np.eye(3), abs=1e-9)
    found = volume.geometry.lps_mm_from_zyx(np.argwhere(volume.hu > -300).mean(axis=0))
    assert found == pytest.approx(center, abs=1.0)
    volume_mm3 = np.count_nonzero(volume.hu > -380) * volume.geometry.voxel_mm3
    assert volume_mm3 == pytest.approx(ball.sum() * 4.0 * 7.5 * 3.0 * np.cos(tilt), rel=0.03)
    assert len(volume.nearest_slice) == n
    with pytest.raises(ScanRefused, match="tilted gantry"):
        load(scan, LoadParams(tilt="refuse"))


def test_slices_shifted_sideways_are_put_straight() -> None:
    hu = np.full((60, 40, 48), -900, dtype=np.int16)
    hu[:, 10:20, 10:20] = 40
    places = scan_of(hu).places_lps_mm.copy()
    places[30:, 0] += 15.0  # two pixels
    moved = hu.copy()
    moved[30:, :, :-2] = hu[30:, :, 2:]
    volume = load(scan_of(moved, places_lps_mm=places))
    assert codes(volume)["shifted-slices"] == "warning"
    assert np.array_equal(volume.hu[..., 10:20, 10:20], hu[..., 10:20, 10:20])
    assert volume.hu.shape == (60, 40, 50)


def test_part_of_a_chest() -> None:
    scan = scan_of(chest()[20:36])
    with pytest.raises(ScanRefused, match=r"48 mm.*--partial"):
        load(scan)
    volume = load(scan, LoadParams(partial=True))
    assert codes(volume)["part-of-chest"] == "warning"


def test_lungs_cut_off_are_said() -> None:
    volume = load(scan_of(chest(120)[50:]))
    messages = [q.message for q in volume.qc if q.code == "lungs-cut-off"]
    assert len(messages) == 1
    assert "lower end" in messages[0]


def test_lengths_are_said_in_hundredths() -> None:
    scan = scan_of(chest(), np.arange(60) * 3.98734)
    (said,) = load(replace(scan, series=replace(scan.series, slice_thickness_mm=3.98734))).qc
    assert said.message.startswith("slices 3.99 mm thick, 3.99 mm apart: ")


def test_thick_slices() -> None:
    assert codes(load(scan_of(chest(), np.arange(60) * 5.0))) == {"thick-slices": "warning"}
    with pytest.raises(ScanRefused, match="at most 10 mm"):
        load(scan_of(chest(20), np.arange(20) * 12.0))


def test_slices_wider_than_any_scanner_sees_are_refused() -> None:
    """Micrometres taken for millimetres: a grid of 3 mm over them would fill the memory."""
    with pytest.raises(ScanRefused, match=r"280000 x 360000 mm wide: at most 2000 mm"):
        load(scan_of(chest(), spacing_yx=(7000.0, 7500.0)))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda hu: hu + 1024,  # stored values
        lambda hu: (hu + 1024) // 16,  # a grey picture
        lambda hu: np.maximum(hu - 1024, -1024),  # rescaled twice
        lambda hu: np.where(np.arange(hu.shape[2]) < 6, -1024, hu + 1024),  # stored values beside padding
        lambda hu: np.zeros_like(hu),
        lambda hu: (hu > -500).astype(np.int16),  # a mask
    ],
)
def test_other_units_are_refused(wrong: Any) -> None:
    with pytest.raises(ScanRefused, match="not Hounsfield units"):
        load(scan_of(wrong(chest()).astype(np.int16)))


def test_other_modalities_and_single_slices_are_refused() -> None:
    scan = scan_of(chest())
    with pytest.raises(ScanRefused, match="MR, not CT"):
        load(replace(scan, series=replace(scan.series, modality="MR")))
    with pytest.raises(ScanRefused, match="one slice"):
        load(scan_of(chest(1)))


def test_left_handed_volumes_stay_as_they_are() -> None:
    """Slices that run against row x column, as in a flipped NIfTI."""
    hu = chest()
    places = scan_of(hu).places_lps_mm[::-1].copy()
    scan = scan_of(hu, places_lps_mm=places)
    volume = load(scan)
    assert volume.hu is scan.hu
    assert volume.geometry.lps_mm_from_zyx((10, 0, 0)) == pytest.approx(places[10])
    assert "z" not in codes(volume)


def test_a_form_can_be_made_of_the_parameters() -> None:
    for name, about in LoadParams.model_json_schema()["properties"].items():
        assert about["title"], name
        assert about["description"], name


@pytest.mark.data
def test_real_scans_come_out_as_they_went_in(data_dir: Any) -> None:
    from tasks.reading.find import choose_series, find_series
    from tasks.reading.read import read_scan

    said = {}
    for name in ("cptac-c3n-00247", "4d-lung-113", "cip-64/dicom", "lidc-partial/LIDC-IDRI-0001"):
        ((found, _),) = choose_series(find_series(data_dir / "ct" / name), partial=True)
        scan = read_scan(found)
        volume = load(scan, LoadParams(partial=True))
        assert volume.hu is scan.hu
        said[name] = [q.code for q in volume.qc]
    assert said == {
        "cptac-c3n-00247": [],
        "4d-lung-113": [],
        "cip-64/dicom": ["thick-slices"],
        "lidc-partial/LIDC-IDRI-0001": ["part-of-chest", "lungs-cut-off", "lungs-cut-off"],
    }
