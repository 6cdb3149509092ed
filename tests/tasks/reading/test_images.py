"""MetaImage, NIfTI and NRRD: the same scan as the DICOM, or one clear line."""

from __future__ import annotations

import bz2
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from artifacts.errors import InputError, ScanRefused
from tasks.load import load
from tasks.reading.find import choose_series, find_series
from tasks.reading.raw import RawScan
from tasks.reading.read import read_scan
from tests.tasks.reading.small_dicom import chest

LUNA_UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.109002525524522225658609808059"
DIRECTION = (1.0, 0.0, 0.0, 0.0, 0.8, -0.6, 0.0, 0.6, 0.8)  # columns: where x, y, z go


def write(path: Path, hu: np.ndarray, direction: tuple[float, ...] | None = None) -> Path:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((7.5, 7.0, 3.0))
    image.SetOrigin((-100.0, -80.0, -300.0))
    if direction:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


def read(path: Path) -> RawScan:
    ((found, _),) = choose_series(find_series(path))
    return read_scan(found)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as e:
        load(read(path))
    assert path.stem not in str(e.value)
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("direction", [None, DIRECTION, (-1, 0, 0, 0, -1, 0, 0, 0, 1), (1, 0, 0, 0, -1, 0, 0, 0, 1)])
def test_voxels_and_their_place(tmp_path: Path, suffix: str, direction: tuple[float, ...] | None) -> None:
    hu = chest()
    volume = load(read(write(tmp_path / f"DOE{suffix}", hu, direction)))
    axes = np.array(direction or np.eye(3).ravel()).reshape(3, 3)
    indices = np.argwhere(np.ones(hu.shape, bool))
    zyx = volume.geometry.zyx_from_lps_mm([-100, -80, -300] + indices[:, ::-1] * [7.5, 7.0, 3.0] @ axes.T)
    assert np.abs(zyx - zyx.round()).max() < 1e-3
    assert np.array_equal(volume.hu[tuple(zyx.round().astype(int).T)], hu[tuple(indices.T)])
    assert volume.series.uid.startswith("scan-")
    assert "DOE" not in repr(volume.series) + repr(volume.qc)


def test_sagittally_stored_volumes_are_turned_without_resampling(tmp_path: Path) -> None:
    """An array indexed [left-right, head-feet, front-back] becomes [z, y, x]; every voxel stays in its place."""
    hu = chest(60, 30, 28)
    stored = np.ascontiguousarray(hu.transpose(2, 0, 1))  # x, z, y
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(stored)
    image.SetSpacing((7.0, 3.0, 7.5))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    volume = load(read(tmp_path / "a.nrrd"))
    assert np.array_equal(volume.hu, hu)
    assert volume.geometry.spacing_zyx == pytest.approx((3.0, 7.0, 7.5))
    assert volume.geometry.lps_mm_from_zyx((10, 5, 7)) == pytest.approx((7 * 7.5, 5 * 7.0, 10 * 3.0))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("orientation", ["RAS", "LAS", "RPI", "SRA", "PIR", "AIL"])
def test_however_a_file_stores_its_axes_the_scan_is_the_same(tmp_path: Path, suffix: str, orientation: str) -> None:
    import SimpleITK as sitk

    plain = sitk.ReadImage(str(write(tmp_path / "plain.nii", chest())))
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(sitk.DICOMOrient(plain, orientation), str(path))
    volume = load(read(path))
    assert np.array_equal(volume.hu, chest())
    assert volume.geometry.origin_lps_mm == pytest.approx((-100, -80, -300), abs=1e-3)
    assert np.allclose(volume.geometry.directions_zyx, ((0, 0, 1), (0, 1, 0), (1, 0, 0)), atol=1e-5)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nii", ".nii.gz", ".nrrd"])
def test_suffixes_in_capitals(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"scan{suffix}", chest())
    volume = load(read(path.rename(tmp_path / f"SCAN{suffix.upper()}")))
    assert np.array_equal(volume.hu, chest())


def test_luna16_files_keep_their_series_uid(tmp_path: Path) -> None:
    assert read(write(tmp_path / f"{LUNA_UID}.mhd", chest())).series.uid == LUNA_UID


@pytest.mark.parametrize("stem", ["19510203.20240101.120000", "1951.02.03.2024.01.01.12", "1.2.1951.02.03.20240101.4711"])
def test_digits_and_dots_may_be_dates_and_are_no_uid(tmp_path: Path, stem: str) -> None:
    assert read(write(tmp_path / f"{stem}.mha", chest())).series.uid.startswith("scan-")


def test_the_raw_file_is_one_of_the_files(tmp_path: Path) -> None:
    (found,) = find_series(write(tmp_path / "a.mhd", chest()))
    assert [f.name for f in found.files] == ["a.mhd", "a.raw"]


def test_floats_are_rounded(tmp_path: Path) -> None:
    hu = chest()
    assert np.array_equal(read(write(tmp_path / "a.nii", (hu + 0.4).astype(np.float32))).hu, np.rint(hu + 0.4))


def test_below_air_is_air(tmp_path: Path) -> None:
    hu = chest()
    hu[:, :3] = -3024
    assert read(write(tmp_path / "a.mha", hu)).hu.min() >= -1024


def test_name_and_content_make_the_same_scan_the_same(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.nii.gz", chest()), write(tmp_path / "b.nii.gz", chest())
    assert read(a).digest() == read(b).digest()


def test_label_maps_beside_a_scan_are_not_taken_for_it(tmp_path: Path) -> None:
    write(tmp_path / "a-labels.nrrd", (chest() < -500).astype(np.uint16))
    write(tmp_path / "scan.nrrd", chest())
    assert read(tmp_path).hu.min() < -900


# -- one clear line ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_a_label_map_named_after_its_scan_does_not_stand_for_it(tmp_path: Path, kind: type) -> None:
    """LUNA16 keeps lung masks, packed, under the names of its scans."""
    import SimpleITK as sitk

    for folder, voxels in (("seg-lungs-LUNA16", (chest() > -500).astype(kind)), ("subset0", chest())):
        (tmp_path / folder).mkdir()
        path = write(tmp_path / folder / f"{LUNA_UID}.mhd", voxels)
        if folder != "subset0":
            sitk.WriteImage(sitk.ReadImage(str(path)), str(path), useCompression=True)
    (found,) = find_series(tmp_path)
    assert (found.uid, found.files[0].parent.name) == (LUNA_UID, "subset0")


def test_four_dimensions(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz", ".mha", ".nrrd"):
        import SimpleITK as sitk

        image = sitk.JoinSeries([sitk.GetImageFromArray(chest(10)), sitk.GetImageFromArray(chest(10))])
        sitk.WriteImage(image, str(tmp_path / f"four{suffix}"))
        assert "three dimensions" in refused(tmp_path / f"four{suffix}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_numbers(tmp_path: Path, value: float) -> None:
    hu = chest().astype(np.float32)
    hu[3, 3, 3] = value
    assert refused(write(tmp_path / "bad.nii", hu)).startswith("1 voxel of the image is not a number")


def patched(path: Path, at: int, form: str, *values: float) -> Path:
    body = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    struct.pack_into("<" + form, body, at, *values)
    path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_without_affine(tmp_path: Path, suffix: str) -> None:
    path = patched(write(tmp_path / f"bad{suffix}", chest()), 252, "2h", 0, 0)
    assert "no affine" in refused(path)


@pytest.mark.parametrize("spacing", [0.0, -3.0, np.nan])
def test_nifti_with_bad_spacing(tmp_path: Path, spacing: float) -> None:
    path = patched(write(tmp_path / "bad.nii", chest()), 76 + 3 * 4, "f", spacing)
    assert "spacing" in refused(path)


@pytest.mark.parametrize("spacing", ["0 7 3", "7 -7 3", "", "nan 7 3"])
def test_metaimage_with_bad_spacing(tmp_path: Path, spacing: str) -> None:
    path = write(tmp_path / "bad.mhd", chest())
    lines = [
        f"ElementSpacing = {spacing}" if line.startswith("ElementSpacing") else line for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    assert "spacing" in refused(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Offset", "nan 0 0"),
        ("Offset", "inf 0 0"),
        ("Offset", "1e300 0 0"),
        ("Offset", "x 0 0"),
        ("Offset", "0 0"),
        ("TransformMatrix", "nan 0 0 0 1 0 0 0 1"),
        ("TransformMatrix", "1 0 0 0 1 0"),
        ("TransformMatrix", "1 0 0 1 0 0 0 0 1"),
        ("TransformMatrix", "1 0 0 0.5 1 0 0 0 1"),
        ("TransformMatrix", "1.1 0 0 0 1.1 0 0 0 1.1"),
        ("NDims", "4"),
        ("HeaderSize", "x"),
        ("ElementToIntensityFunctionSlope", "2"),
        ("ElementToIntensityFunctionOffset", "-1024"),
        ("BinaryData", "False"),
        ("ElementType", "MET_ASCII_CHAR"),
    ],
)
def test_metaimage_with_what_simpleitk_passes_over(tmp_path: Path, field: str, value: str, capfd) -> None:
    path = write(tmp_path / "bad.mhd", chest())
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{field} =")]
    path.write_text("\n".join([*lines[:2], f"{field} = {value}", *lines[2:]]) + "\n")
    refused(path)
    assert capfd.readouterr() == ("", "")  # not even from the libraries below


@pytest.mark.parametrize("harm", ["garbage", "cut", "flipped", "checksum cut"])
def test_packed_metaimage_voxels_that_cannot_be_unpacked(tmp_path: Path, harm: str, capfd) -> None:
    """SimpleITK hands out whatever lay in memory."""
    path = tmp_path / "bad.mha"
    write_packed(path, chest())
    body = path.read_bytes()
    end = body.index(b"LOCAL\n") + 6
    packed = bytearray(body[end:])
    if harm == "garbage":
        packed = bytearray(b"z" * len(packed))
    elif harm == "flipped":
        packed[len(packed) // 2] ^= 0x55
    else:
        packed = packed[: len(packed) // 2 if harm == "cut" else -2]
    path.write_bytes(body[:end] + packed)
    assert "voxels cannot be read" in refused(path)
    assert capfd.readouterr() == ("", "")


def write_packed(path: Path, hu: np.ndarray) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((7.5, 7.0, 3.0))
    sitk.WriteImage(image, str(path), useCompression=True)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_metaimage_voxels_are_simpleitks(tmp_path: Path, kind: type, packed: bool, suffix: str) -> None:
    import SimpleITK as sitk

    from tasks.reading.metaimage import metaimage_voxels

    path = tmp_path / f"a{suffix}"
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(kind))
    sitk.WriteImage(image, str(path), useCompression=packed)
    ours = metaimage_voxels(path, (5, 6, 7))
    assert np.array_equal(ours, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    assert ours.dtype == kind


def test_metaimage_with_a_header_before_its_voxels_or_big_endian(tmp_path: Path) -> None:
    path, hu = write(tmp_path / "a.mhd", chest()), chest()
    text = path.read_text()
    path.with_suffix(".raw").write_bytes(b"x" * 100 + hu.tobytes())
    for skip in (100, -1):
        path.write_text(text.replace("ElementType", f"HeaderSize = {skip}\nElementType"))
        assert np.array_equal(read(path).hu, hu)
    path.write_text(text.replace("BinaryDataByteOrderMSB = False", "BinaryDataByteOrderMSB = True"))
    path.with_suffix(".raw").write_bytes(hu.astype(">i2").tobytes())
    assert np.array_equal(read(path).hu, hu)


SROW, QUATERN = 280, 256


@pytest.mark.parametrize("at", [SROW + 12, SROW, QUATERN, QUATERN + 12])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_nifti_with_an_affine_that_is_no_place(tmp_path: Path, at: int, value: float, capfd) -> None:
    refused(patched(write(tmp_path / "bad.nii", chest()), at, "f", value))
    assert capfd.readouterr() == ("", "")


def test_nifti_whose_affines_disagree_says_which_one_is_used(tmp_path: Path) -> None:
    same = load(read(write(tmp_path / "a.nii", chest(), DIRECTION)))
    assert [q.code for q in same.qc if q.code == "two-affines"] == []
    off = load(read(patched(write(tmp_path / "b.nii", chest(), DIRECTION), QUATERN + 12, "f", 40.0)))
    (said,) = [q.message for q in off.qc if q.code == "two-affines"]
    assert said == "the qform of the NIfTI puts voxels elsewhere: its sform is used"
    assert off.geometry == same.geometry


def test_nifti_with_sheared_axes_is_refused(tmp_path: Path) -> None:
    path = patched(write(tmp_path / "bad.nii", chest()), 252, "2h", 0, 1)
    assert "perpendicular" in refused(patched(path, SROW + 8, "f", 2.0))


def test_metaimage_whose_slices_lean_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mha", chest())
    path.write_bytes(path.read_bytes().replace(b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 1 0 0 -0.5 0.8660254"))
    assert "gantry-tilt" in [q.code for q in load(read(path)).qc]


def test_nrrd_with_sheared_axes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.nrrd", chest())
    path.write_bytes(path.read_bytes().replace(b"(0,7,0)", b"(2,7,0)"))
    assert "perpendicular" in refused(path)


@pytest.mark.parametrize("offset", [0.0, 347.0, -5.0, 1e30, np.inf, np.nan])
def test_nifti_whose_voxels_begin_nowhere(tmp_path: Path, offset: float) -> None:
    assert "vox_offset" in refused(patched(write(tmp_path / "bad.nii", chest()), 108, "f", offset))


def test_nifti_that_a_browser_unpacked_and_left_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", chest())
    assert np.array_equal(load(read(path.rename(tmp_path / "a.nii.gz"))).hu, chest())


def test_nifti_that_is_packed_without_saying_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", chest())
    assert "name it .nii.gz" in refused(path.rename(tmp_path / "bad.nii"))


def test_nrrd_in_metres(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.nrrd", chest())
    path.write_bytes(path.read_bytes().replace(b"kinds:", b'space units: "m" "m" "m"\nkinds:'))
    assert "millimetres" in refused(path)


def test_nrrd_without_orientation(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.nrrd", chest())
    path.write_bytes(path.read_bytes().replace(b"space directions:", b"was directions:  "))
    assert "where its voxels lie" in refused(path)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("left", [0, 100, 0.5])
def test_cut_short(tmp_path: Path, suffix: str, left: float) -> None:
    path = write(tmp_path / f"bad{suffix}", chest())
    victim = path.with_suffix(".raw") if suffix == ".mhd" else path
    body = victim.read_bytes()
    victim.write_bytes(body[: int(left * len(body)) if left == 0.5 else int(left)])
    refused(path)


def test_mhd_without_its_raw(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.mhd", chest())
    path.with_suffix(".raw").unlink()
    assert "not there" in refused(path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.raw", "LIST"])
def test_mhd_that_points_elsewhere(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "bad.mhd", chest())
    path.write_text(path.read_text().replace("bad.raw", name))
    assert "beside it" in refused(path)


def test_colour(tmp_path: Path) -> None:
    import SimpleITK as sitk

    path = tmp_path / "bad.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((60, 8, 8, 3), dtype=np.uint8), isVector=True), str(path))
    refused(path)


def test_raw_counts_are_not_hounsfield_units(tmp_path: Path) -> None:
    for name, values in {"stored": chest() + 1024, "grey": ((chest() + 1024) / 8).astype(np.uint8)}.items():
        with pytest.raises(ScanRefused, match="not Hounsfield"):
            load(read(write(tmp_path / f"{name}.nii.gz", values)))


def test_part_of_a_chest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", chest()[:20])
    with pytest.raises(ScanRefused, match="part of a chest"):
        read(path)


def test_a_file_that_packs_too_well_is_refused_before_memory_is_asked_for(tmp_path, monkeypatch):
    import SimpleITK as sitk

    from tasks.reading import images

    path = tmp_path / "bomb.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((64, 64, 64), dtype=np.int16)), str(path))
    assert images.image_header(path).geometry.shape_zyx == (64, 64, 64)  # small enough to be let in
    monkeypatch.setattr(images, "FREE_BYTES", 1000)
    with pytest.raises(InputError, match="claims to hold"):
        images.image_header(path)


def test_a_nifti_with_slope_zero_is_not_scaled(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", chest())
    body = bytearray(path.read_bytes())
    struct.pack_into("<2f", body, 112, 0.0, 5.0)
    path.write_bytes(body)
    assert np.array_equal(read(path).hu, chest())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_one_flipped_bit_in_packed_voxels_is_noticed(tmp_path: Path, suffix: str) -> None:
    """Packed without being made smaller, so that only the checksum tells; SimpleITK does not look at it."""
    hu = np.repeat(np.repeat(chest(), 4, axis=1), 4, axis=2)
    path = tmp_path / f"scan{suffix}"
    if suffix == ".nrrd":
        nrrd(path, "encoding: gzip", body=gzip.compress(hu.tobytes(), 0), sizes="192 160 60")
    else:
        path.write_bytes(gzip.compress(write(tmp_path / "plain.nii", hu).read_bytes(), 0))
    (tmp_path / "plain.nii").unlink(missing_ok=True)
    assert np.array_equal(read(path).hu, hu)
    body = bytearray(path.read_bytes())
    body[-4000] ^= 0x10
    path.write_bytes(body)
    assert "damaged or cut short" in refused(path)


def test_a_nifti_packed_in_several_members_is_read_and_a_short_one_refused(tmp_path: Path) -> None:
    """As bgzip packs; the length at the end of the file is then that of the last member alone."""
    body = write(tmp_path / "plain.nii", chest()).read_bytes()
    (tmp_path / "plain.nii").unlink()
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"".join(gzip.compress(body[k : k + 50_000]) for k in range(0, len(body), 50_000)))
    assert np.array_equal(read(path).hu, chest())
    path.write_bytes(gzip.compress(body[:100_000]) + gzip.compress(body[100_000:-100]))
    assert "cut short" in refused(path)


def nrrd(path: Path, *fields: str, body: bytes, sizes: str = "48 40 60") -> Path:
    head = ["NRRD0005", "type: short", "dimension: 3", f"sizes: {sizes}", "endian: little", "space: left-posterior-superior"]
    head += ["space directions: (7.5,0,0) (0,7,0) (0,0,3)", "space origin: (-100,-80,-300)", *fields]
    path.write_bytes("\n".join([*head, "\n"]).encode() + body)
    return path


def test_a_nrrd_says_millimetres_in_many_ways(tmp_path: Path) -> None:
    units = 'space units: "millimeters" "mm" "Millimetre"'
    path = nrrd(tmp_path / "scan.nrrd", "encoding: gz", units, body=gzip.compress(chest().tobytes()))
    assert np.array_equal(load(read(path)).hu, chest())


def test_a_nrrd_packed_in_a_way_that_is_not_read_is_said_to_be(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "scan.nrrd", "encoding: bzip2", body=bz2.compress(chest().tobytes()))
    assert "packed in a way that is not read (encoding): save it as gzip or raw" in refused(path)


def test_a_nrrd_with_its_voxels_elsewhere_is_said_to_be(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "scan.nrrd", "encoding: raw", "data file: scan.raw", body=b"")
    assert "keeps its voxels in another file" in refused(path)
