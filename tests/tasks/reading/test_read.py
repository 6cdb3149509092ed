"""Hounsfield units out of files: bit for bit what SimpleITK reads, except padding, which is air."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.errors import InputError, ScanRefused
from tasks.load import LoadParams, load
from tasks.reading.find import find_series
from tasks.reading.raw import RawScan, check_size
from tasks.reading.read import read_scan
from tests.tasks.reading import small_dicom as small
from tests.tasks.reading.small_dicom import SECRETS, SERIES, Place, chest, dataset, repack, save, write_enhanced, write_series


def read(folder: Path) -> RawScan:
    (found,) = find_series(folder)
    return read_scan(found)


def in_tissue(hu: np.ndarray) -> np.ndarray:
    return np.maximum(hu, -1024)


# -- packed every way --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [small.EXPLICIT, small.IMPLICIT, small.DEFLATED, small.BIG_ENDIAN, small.RLE, small.JPEG_2000])
@pytest.mark.parametrize("signed", [False, True])
def test_transfer_syntaxes(tmp_path: Path, syntax: str, signed: bool) -> None:
    hu = chest(6)
    write_series(tmp_path, hu, syntax=syntax, signed=signed, intercept=0 if signed else -1024)
    scan = read(tmp_path)
    assert np.array_equal(scan.hu, hu)
    assert scan.series.transfer_syntax == syntax


def test_explicit_files_that_say_implicit(tmp_path: Path) -> None:
    hu = chest(6)
    said, says = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"
    for path in write_series(tmp_path, hu):
        path.write_bytes(path.read_bytes().replace(said, says))
    assert np.array_equal(read(tmp_path).hu, hu)


@pytest.mark.parametrize("syntax", [small.JPEG_LS, small.JPEG_LOSSLESS])
def test_jpeg_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    hu = chest(6)
    for path in write_series(tmp_path, hu):
        repack(path, syntax)
    scan = read(tmp_path)
    assert np.array_equal(scan.hu, hu)
    assert scan.series.transfer_syntax == syntax


def test_twelve_bits_with_an_overlay_above(tmp_path: Path) -> None:
    hu = chest(4)

    def overlay(image) -> None:  # type: ignore[no-untyped-def]
        words = np.frombuffer(image.PixelData, dtype="<u2").copy()
        words[::7] |= 0xF000
        image.PixelData = words.tobytes()

    for k in range(4):
        image = dataset(hu[k], (0, 0, 3.0 * k), k + 1, bits=12)
        overlay(image)
        save(image, tmp_path / str(k))
    assert np.array_equal(read(tmp_path).hu, hu)


def test_enhanced_multi_frame(tmp_path: Path) -> None:
    hu = chest(60)
    order = np.random.default_rng(3).permutation(60)
    write_enhanced(tmp_path / "all", hu, order=order)
    scan = read(tmp_path)
    assert np.array_equal(scan.hu, hu)
    assert scan.series.kernel == "Br64"
    assert [s.instance_number for s in scan.series.slices] == [int(np.flatnonzero(order == k)[0]) + 1 for k in range(60)]
    assert load(scan).geometry.spacing_zyx == pytest.approx((3.0, 7.0, 7.5))


def test_enhanced_multi_frame_packed(tmp_path: Path) -> None:
    import pydicom

    hu = chest(8)
    image = pydicom.dcmread(write_enhanced(tmp_path / "all", hu))
    image.compress(small.RLE, generate_instance_uid=False)
    image.save_as(tmp_path / "all")
    assert np.array_equal(read(tmp_path).hu, hu)


# -- rescale and padding -----------------------------------------------------------------------------------------------------


def test_slope_and_intercept_of_each_slice(tmp_path: Path) -> None:
    stored = np.arange(40 * 48, dtype=np.int16).reshape(40, 48)
    for k, (slope, intercept) in enumerate([("1", "-1024"), ("0.5", "-500"), ("2", "-1000.25")]):
        image = dataset(stored, (0, 0, 3.0 * k), k + 1, intercept=0, RescaleSlope=slope)
        image.RescaleIntercept = intercept
        save(image, tmp_path / str(k))
    hu = read(tmp_path).hu
    assert np.array_equal(hu[0], stored - 1024)
    assert np.array_equal(hu[1], np.rint(stored * 0.5 - 500))
    assert np.array_equal(hu[2], np.maximum(np.rint(stored * 2 - 1000.25), -1024))


@pytest.mark.parametrize(
    ("padding", "intercept", "signed"),
    [
        (-2000, 0, True),
        (-2000, -1024, True),
        (63536 - 65536, -1024, True),
        (0, -1024, False),
        (3000, -1024, False),
        (65535, -1024, False),
    ],
)
def test_padding_becomes_air(tmp_path: Path, padding: int, intercept: int, signed: bool) -> None:
    hu = chest(3)
    hu = np.maximum(hu, -1000)
    outside = np.zeros(hu.shape[1:], dtype=bool)
    outside[:4], outside[-4:] = True, True
    for k in range(3):
        image = dataset(hu[k], (0, 0, 3.0 * k), k + 1, intercept=intercept, signed=signed)
        words = np.frombuffer(image.PixelData, dtype="<u2").reshape(hu.shape[1:]).copy()
        words[outside] = padding & 0xFFFF
        image.PixelData = words.tobytes()
        image.add_new(0x00280120, "US", padding & 0xFFFF)  # unsigned, as many writers do
        save(image, tmp_path / str(k))
    scan = read(tmp_path)
    assert (scan.hu[:, outside] == -1024).all()
    assert np.array_equal(scan.hu[:, ~outside], hu[:, ~outside])


def test_padding_range(tmp_path: Path) -> None:
    hu = np.maximum(chest(3), -1000)
    hu[:, 0, :], hu[:, 1, :] = 2000, 2100
    write_series(tmp_path, hu, PixelPaddingValue=3024, PixelPaddingRangeLimit=3124)
    scan = read(tmp_path)
    assert (scan.hu[:, :2] == -1024).all()
    assert np.array_equal(scan.hu[:, 2:], hu[:, 2:])


def test_padding_in_the_range_of_tissue_leaves_the_body_alone(tmp_path: Path) -> None:
    """Padding of 0 HU around the field of view is air; water of 0 HU inside the body is water."""
    hu = np.maximum(chest(3), -1000)
    hu[hu == 0] = 1
    hu[:, :3], hu[:, 18:22, 23:25] = 0, 0
    write_series(tmp_path, hu, signed=True, intercept=0, PixelPaddingValue=0)
    scan = read(tmp_path)
    assert (scan.hu[:, :3] == -1024).all()
    assert (scan.hu[:, 18:22, 23:25] == 0).all()


def test_below_air_is_air_and_above_int16_stays_at_its_end(tmp_path: Path) -> None:
    hu = chest(3)
    hu[:, 0, 0] = -1024
    for k in range(3):
        image = dataset(hu[k], (0, 0, 3.0 * k), k + 1)
        words = np.frombuffer(image.PixelData, dtype="<u2").reshape(hu.shape[1:]).copy()
        words[0, 0] = 65535
        image.PixelData = words.tobytes()
        save(image, tmp_path / str(k))
    assert (read(tmp_path).hu[:, 0, 0] == 32767).all()
    shutil.rmtree(tmp_path)
    write_series(tmp_path, np.where(hu == -1024, -3024, hu).astype(np.int16), signed=True, intercept=0)
    assert np.array_equal(read(tmp_path).hu, hu)


# -- broken ------------------------------------------------------------------------------------------------------------------


def test_slices_cut_short_are_dropped_and_named(tmp_path: Path) -> None:
    hu = chest(60)
    files = write_series(tmp_path, hu)
    files[16].write_bytes(files[16].read_bytes()[:-1000])
    scan = read(tmp_path)
    assert np.array_equal(scan.hu, np.delete(hu, 16, axis=0))
    assert [(q.code, q.message) for q in scan.qc] == [
        ("unreadable-files", "slice 17 of 60 could not be read (cut short or damaged)")
    ]
    volume = load(scan)
    assert len(volume.hu) == 60
    assert "slice 17 of 60" in next(q.message for q in volume.qc if q.code == "missing-slices")


def test_packed_slices_that_do_not_decode_are_dropped_and_named(tmp_path: Path) -> None:
    hu = chest(60)
    files = write_series(tmp_path, hu, syntax=small.RLE)
    body = files[30].read_bytes()
    files[30].write_bytes(body[: len(body) - len(body) // 3])
    scan = read(tmp_path)
    assert np.array_equal(scan.hu, np.delete(hu, 30, axis=0))
    assert "slice 31 of 60" in scan.qc[0].message


@pytest.mark.parametrize("syntax", [small.RLE, small.BIG_ENDIAN, "multi-frame"])
def test_what_pydicom_warns_of_a_file_is_not_heard_for_it_names_the_file(tmp_path: Path, syntax: str, caplog, recwarn) -> None:
    if syntax == "multi-frame":
        files = [write_enhanced(tmp_path / "DOE_JANE.dcm", chest(4))]
        repack(files[0], small.JPEG_LS)
    else:
        files = write_series(tmp_path / "DOE_JANE", chest(4), syntax=syntax)
    recwarn.clear()
    files[0].write_bytes(files[0].read_bytes()[:-3000])
    with contextlib.suppress(InputError):
        read(tmp_path)
    assert caplog.text == ""
    assert [str(w.message) for w in recwarn] == []


def test_blank_slices_between_others_are_as_if_missing(tmp_path: Path) -> None:
    """A transfer that broke off and left zeros."""
    hu = chest(60)
    hu[30:32] = -1024
    write_series(tmp_path, hu)
    scan = read(tmp_path)
    assert np.array_equal(scan.hu, np.delete(hu, [30, 31], axis=0))
    assert [q.message for q in scan.qc] == ["slices 31, 32 of 60 hold one value throughout: left out"]
    volume = load(scan)
    assert len(volume.hu) == len(hu)
    assert "filled in" in next(q.message for q in volume.qc if q.code == "missing-slices")


def test_five_blank_slices_in_a_row_are_too_wide_a_gap(tmp_path: Path) -> None:
    hu = chest(60)
    hu[30:35] = 0
    write_series(tmp_path, hu)
    with pytest.raises(ScanRefused, match="5 slices missing in a row"):
        load(read(tmp_path))


def test_blank_slices_around_a_scan_stay(tmp_path: Path) -> None:
    hu = chest(60)
    hu[:4] = hu[-3:] = -1024
    write_series(tmp_path, hu)
    scan = read(tmp_path)
    assert np.array_equal(scan.hu, hu)
    assert scan.qc == []


def test_nothing_decodes(tmp_path: Path) -> None:
    for path in write_series(tmp_path, chest(5), syntax=small.RLE):
        body = path.read_bytes()
        path.write_bytes(body[: body.index(b"\xe0\x7f\x10\0") + 30])
    with pytest.raises(InputError, match="no slice"):
        read(tmp_path)


def test_huge_sizes_are_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="voxels"):
        check_size((100_000, 512, 512))
    with pytest.raises(InputError, match="voxels"):
        check_size((10, 9000, 9000))
    for k in range(3):
        save(dataset(chest(1)[0], (0, 0, k), k + 1, syntax=small.EXPLICIT, Rows=60_000, Columns=60_000), tmp_path / str(k))
    with pytest.raises(InputError):
        read(tmp_path)


# -- geometry ----------------------------------------------------------------------------------------------------------------


def rotation(q: np.ndarray) -> np.ndarray:
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


unit = st.floats(-1, 1, allow_nan=False)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turn=st.tuples(unit, unit, unit, unit).filter(lambda q: np.linalg.norm(q) > 0.1),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    spacing=st.tuples(st.floats(0.5, 5), st.floats(0.4, 1), st.floats(0.4, 1)),
    backwards=st.booleans(),
)
def test_any_orientation_sorts_back_and_keeps_its_place(
    tmp_path_factory: pytest.TempPathFactory, turn: tuple, origin: tuple, spacing: tuple, backwards: bool
) -> None:
    """Slices written in any order, turned any way: every voxel where it was to < 1e-3 mm."""
    axes = rotation(np.array(turn))  # columns: row, column, normal
    hu = chest(7, 12, 14)
    step = axes[:, 2] * spacing[0]
    place = Place(tuple(origin), tuple(axes[:, 0]), tuple(axes[:, 1]), tuple(-step if backwards else step), spacing[1:])
    folder = tmp_path_factory.mktemp("turned")
    write_series(folder, hu, place=place)
    scan = read(folder)
    volume = load(scan, LoadParams(partial=True))
    assert volume.hu is scan.hu
    indices = np.argwhere(np.ones(hu.shape, bool))
    places = np.array([place.of_slice(k) for k, _, _ in indices]) + indices[:, 1:] * spacing[1:] @ axes[:, [1, 0]].T
    zyx = volume.geometry.zyx_from_lps_mm(places)
    assert np.abs(zyx - zyx.round()).max() < 1e-3 / min(spacing)
    assert np.array_equal(volume.hu[tuple(zyx.round().astype(int).T)], hu[tuple(indices.T)])


@pytest.mark.parametrize("row", [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)])
@pytest.mark.parametrize("column", [1, -1])
@pytest.mark.parametrize("down", [1.0, -1.0])
def test_however_the_patient_lay_the_scan_is_the_same(tmp_path: Path, row: tuple, column: int, down: float) -> None:
    """Supine, prone, on a side, head or feet first; slices numbered up or down: one array, one place, the slices in its order."""
    hu = chest(6, 8, 8)
    upright = Place(spacing_yx=(7.0, 7.0))
    stored, across = (hu, (0, column, 0)) if row[0] else (hu.transpose(0, 2, 1), (column, 0, 0))
    corner = np.array(upright.origin)
    for axis, way in enumerate(np.add(row, across)):
        if way < 0:
            stored, corner[axis] = np.flip(stored, 2 - axis if row[0] else 1 + axis), corner[axis] + 7 * 7.0
    if down < 0:
        stored, corner[2] = stored[::-1], corner[2] + 5 * 3.0
    place = Place(tuple(corner), tuple(map(float, row)), tuple(map(float, across)), (0.0, 0.0, 3.0 * down), (7.0, 7.0))
    write_series(tmp_path, np.ascontiguousarray(stored), place=place)
    scan = read(tmp_path)
    assert np.array_equal(scan.hu, hu)
    assert scan.places_lps_mm.tolist() == [upright.of_slice(k) for k in range(6)]
    assert (scan.row_lps, scan.column_lps) == ((1, 0, 0), (0, 1, 0))
    assert [s.position_mm for s in scan.series.slices] == [3.0 * k for k in range(6)]
    assert [s.instance_number for s in scan.series.slices] == ([6, 5, 4, 3, 2, 1] if down > 0 else [1, 2, 3, 4, 5, 6])


# -- identity ----------------------------------------------------------------------------------------------------------------


def test_digest_is_of_content_not_of_place(tmp_path: Path) -> None:
    files = write_series(tmp_path / "a", chest())
    digest = read(tmp_path / "a").digest()
    assert len(digest) == 32
    (tmp_path / "b" / "deep").mkdir(parents=True)
    for n, path in enumerate(files):
        shutil.copy(path, tmp_path / "b" / ("deep" if n % 2 else "") / f"{n}.dcm")
    assert read(tmp_path / "b").digest() == digest


@pytest.mark.parametrize("change", ["pixel", "position", "uid", "spacing"])
def test_digest_changes_with_the_content(tmp_path: Path, change: str) -> None:
    hu = chest()
    write_series(tmp_path / "a", hu)
    digest = read(tmp_path / "a").digest()
    other = hu.copy()
    other[33, 20, 20] += change == "pixel"
    options: dict = {"position": {"place": Place(origin=(0, 0, 0))}, "uid": {"SeriesInstanceUID": "1.2.3.4"}}.get(change, {})
    if change == "spacing":
        options = {"place": Place(spacing_yx=(7.0, 7.6))}
    write_series(tmp_path / "b", other, **options)
    assert read(tmp_path / "b").digest() != digest


def test_scan_without_uid_goes_by_a_pseudonym(tmp_path: Path) -> None:
    write_series(tmp_path, chest(), SeriesInstanceUID=None)
    scan = read(tmp_path)
    assert scan.series.uid == f"scan-{scan.digest()[:12]}"


def test_nothing_kept_names_the_patient(tmp_path: Path) -> None:
    files = write_series(tmp_path / "DOE^JANE", chest())
    files[5].write_bytes(files[5].read_bytes()[:-100])
    scan = read(tmp_path)
    volume = load(scan)
    kept = repr(scan.series) + repr(scan.qc) + repr(volume.series) + repr(volume.qc) + repr(volume.summary())
    secrets = [*SECRETS.values(), "DOE", "JANE", "Elsewhere", "MRN", tmp_path.name, "im00", str(tmp_path)]
    assert not [s for s in secrets if s in kept]
    assert scan.series.uid == SERIES


# -- real scans --------------------------------------------------------------------------------------------------------------


def simpleitk_hu(folder: Path) -> np.ndarray:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "total", "uid"),
    [
        ("cptac-c3n-00247", (99, 512, 512), -9205897616, "242193282649561899185427104083"),
        ("4d-lung-113", (99, 512, 512), -18270792534, "339023390306606021995936229543"),
        ("acrin-nsclc-042", (135, 512, 512), -23685913538, "226151125820845824875394858561"),
        ("lidc-partial/LIDC-IDRI-0001", (16, 512, 512), -2697226451, "179049373636438705059720603192"),
        ("lidc-partial/LIDC-IDRI-0003", (11, 512, 512), -1818204857, "170706757615202213033480003264"),
        ("cip-64/dicom", (79, 64, 64), -150669474, "18085492126195434258212517481071422"),
    ],
)
def test_real_scans_are_what_simpleitk_reads(data_dir: Path, name: str, shape: tuple, total: int, uid: str) -> None:
    scan = read(data_dir / "ct" / name)
    assert scan.hu.shape == shape
    assert int(scan.hu.sum(dtype=np.int64)) == total
    assert scan.series.uid.endswith(uid)
    assert np.array_equal(scan.hu, in_tissue(simpleitk_hu(data_dir / "ct" / name)))


@pytest.mark.data
def test_the_same_scan_as_dicom_and_as_nrrd(data_dir: Path) -> None:
    dicom, nrrd = load(read(data_dir / "ct/cip-64/dicom")), load(read(data_dir / "ct/cip-64/ct-64.nrrd"))
    assert np.array_equal(dicom.hu, nrrd.hu)
    corners = np.array([(0, 0, 0), (78, 63, 63)])
    assert dicom.geometry.lps_mm_from_zyx(corners) == pytest.approx(nrrd.geometry.lps_mm_from_zyx(corners), abs=2e-3)
    assert dicom.hu.dtype == np.int16
