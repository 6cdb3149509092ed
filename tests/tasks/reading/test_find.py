"""Which series a folder holds, and which of them is screened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.errors import InputError, ScanRefused
from tasks.reading.find import FoundSeries, choose_series, find_series
from tasks.reading.header import DIRECTORY
from tasks.reading.read import read_scan
from tests.tasks.reading.small_dicom import BIG_ENDIAN, EXPLICIT, SECRETS, SERIES, Place, chest, dataset, save, write_series

CORONAL = Place(column=(0.0, 0.0, -1.0), step=(0.0, 7.0, 0.0))


def only(folder: Path) -> FoundSeries:
    (found,) = find_series(folder)
    return found


def uids(chosen: list[tuple[FoundSeries, str]]) -> list[str]:
    return [f.uid for f, _ in chosen]


def test_a_series_is_found_from_its_headers(tmp_path: Path) -> None:
    write_series(tmp_path / "DOE_JANE" / "deep", chest())
    found = only(tmp_path)
    assert (found.uid, found.modality, found.n_slices, found.rows, found.columns) == (SERIES, "CT", 60, 40, 48)
    assert found.spacing == (3.0, 7.0, 7.5)
    assert found.extent_mm == pytest.approx(180)
    assert (found.thickness_mm, found.kernel, found.orientation, found.why_not) == (3.0, "B70f", "axial", None)
    assert len(found.files) == 60


def test_hospital_folder(tmp_path: Path) -> None:
    """Scout, thin and thick, soft and sharp, coronal, a picture, an MR, notes: thin and sharp is screened."""
    hu = chest()
    write_series(tmp_path / "a", hu, series=f"{SERIES}.1", SliceThickness="5")
    write_series(tmp_path / "b", hu, series=f"{SERIES}.2", ConvolutionKernel="B30f", SliceThickness="1")
    write_series(tmp_path / "c", hu, series=f"{SERIES}.3", ConvolutionKernel="B70f", SliceThickness="1")
    write_series(tmp_path / "d", hu, place=CORONAL, series=f"{SERIES}.4", ImageType=["DERIVED", "SECONDARY", "REFORMATTED"])
    write_series(tmp_path / "e", hu[:1], series=f"{SERIES}.5", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "f", hu, series=f"{SERIES}.6", Modality="MR")
    write_series(tmp_path / "g", hu[:2], series=f"{SERIES}.7", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    write_series(tmp_path / "h", hu, place=CORONAL, series=f"{SERIES}.8", SliceThickness="0.5")
    (tmp_path / "notes.txt").write_text("Mrs Doe called")
    (tmp_path / "README").write_bytes(bytes(500))
    found = find_series(tmp_path)
    why = {f.uid[-1]: f.why_not for f in found}
    assert why["1"] is why["2"] is why["3"] is None
    assert "reformat" in str(why["4"])
    assert "scout" in str(why["5"])
    assert why["6"] == "MR, not CT"
    assert "picture" in str(why["7"])
    assert "coronal" in str(why["8"])
    ((sharp, reason),) = choose_series(found, "best", kernel="sharp")
    assert sharp.uid == f"{SERIES}.3"
    assert "sharp" in reason
    assert "thinnest" in reason
    assert "scout" in reason
    assert uids(choose_series(found, "best", kernel="soft")) == [f"{SERIES}.2"]
    assert uids(choose_series(found, "best")) == [f"{SERIES}.2"]  # lowest UID among equals
    assert uids(choose_series(found, "all")) == [f"{SERIES}.1", f"{SERIES}.2", f"{SERIES}.3"]
    assert uids(choose_series(found, f"{SERIES}.1")) == [f"{SERIES}.1"]


def test_more_slices_win_among_equals(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest(60), series=f"{SERIES}.1")
    write_series(tmp_path / "b", chest(70), series=f"{SERIES}.2")
    assert uids(choose_series(find_series(tmp_path))) == [f"{SERIES}.2"]


def test_uid_that_is_not_there_lists_what_is(tmp_path: Path) -> None:
    write_series(tmp_path, chest())
    with pytest.raises(InputError, match=SERIES):
        choose_series(find_series(tmp_path), "1.2.3.4")


def test_uid_of_what_cannot_be_screened_says_why(tmp_path: Path) -> None:
    write_series(tmp_path, chest(), Modality="PT")
    with pytest.raises(InputError, match="PT, not CT"):
        choose_series(find_series(tmp_path), SERIES)


@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_no_ct(tmp_path: Path, modality: str) -> None:
    write_series(tmp_path, chest(), Modality=modality)
    with pytest.raises(InputError, match=f"{modality}, not CT"):
        choose_series(find_series(tmp_path))


def test_part_of_a_chest_needs_asking(tmp_path: Path) -> None:
    write_series(tmp_path, chest()[20:36])
    found = find_series(tmp_path)
    for policy in ("best", SERIES):
        with pytest.raises(ScanRefused, match=r"48 mm.*--partial"):
            choose_series(found, policy)
        assert len(choose_series(found, policy, partial=True)) == 1


def test_a_whole_chest_goes_before_a_part(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest()[20:36], series=f"{SERIES}.1", SliceThickness="1")
    write_series(tmp_path / "b", chest(), series=f"{SERIES}.2")
    assert uids(choose_series(find_series(tmp_path), partial=True)) == [f"{SERIES}.2"]


def test_derived_slices_are_screened_only_when_asked_for(tmp_path: Path) -> None:
    write_series(tmp_path, chest(), ImageType=["DERIVED", "SECONDARY", "AXIAL"])
    found = find_series(tmp_path)
    with pytest.raises(InputError, match="derived"):
        choose_series(found)
    ((series, _),) = choose_series(found, SERIES)
    assert "derived" in [q.code for q in series.qc]


def test_original_secondary_axial_is_eligible(tmp_path: Path) -> None:
    write_series(tmp_path, chest(), ImageType=["ORIGINAL", "SECONDARY", "AXIAL"])
    assert only(tmp_path).why_not is None


def test_scout_inside_the_series_is_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, chest())
    scout = dataset(chest(1, 64, 64)[0], (0, 0, 0), 99, place=CORONAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save(scout, tmp_path / "scout")
    found = only(tmp_path)
    assert (found.n_slices, found.why_not, [q.code for q in found.qc]) == (60, None, ["scout-in-series"])


def test_other_sizes_and_planes_in_the_series_are_left_out_and_said(tmp_path: Path) -> None:
    write_series(tmp_path, chest())
    for k in range(3):
        save(dataset(chest(1, 64, 64)[0], (0, 0, 5 * k), 100 + k), tmp_path / f"size{k}")
    for k in range(2):
        save(dataset(chest(1)[0], (0, 5 * k, 0), 200 + k, place=CORONAL), tmp_path / f"plane{k}")
    found = only(tmp_path)
    assert found.n_slices == 60
    said = {q.code: q.message for q in found.qc}
    assert said["mixed-sizes"].startswith("3 of 65 slices")
    assert said["mixed-orientations"].startswith("2 of 65 slices")


def test_two_passes_under_one_uid(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest(), AcquisitionNumber=1)
    write_series(tmp_path / "b", chest(seed=1), AcquisitionNumber=2, change=lambda k: {"SOPInstanceUID": f"{SERIES}.9.{k + 1}"})
    found = only(tmp_path)
    assert found.n_slices == 60
    assert {s.acquisition for s in found.slices} == {"1"}
    assert [q.code for q in found.qc] == ["several-acquisitions"]


@pytest.mark.parametrize("told", ["AcquisitionNumber", "TemporalPositionIdentifier", "phase by phase", "place by place", "couch"])
def test_phases_of_a_breath_under_one_uid(tmp_path: Path, told: str) -> None:
    """As a 4D-CT may be sent: each place several times."""
    for phase in range(3):

        def change(k: int, phase: int = phase) -> dict:
            number = k * 3 + phase + 1 if told in ("place by place", "couch") else phase * 60 + k + 1
            more = {told: phase + 1} if told[0].isupper() else {"AcquisitionNumber": k + 1} if told == "couch" else {}
            return {"InstanceNumber": number, "SOPInstanceUID": f"{SERIES}.{phase}.{k + 1}", **more}

        write_series(tmp_path / str(phase), chest(seed=phase), change=change)
    found = only(tmp_path)
    assert found.n_slices == 60
    assert {s.path.parent.name for s in found.slices} == {"0"}
    assert [q.code for q in found.qc] == ["several-acquisitions"]


def test_copies_of_a_series_are_no_phases(tmp_path: Path) -> None:
    for copy in "ab":
        write_series(tmp_path / copy, chest())
    assert only(tmp_path).qc == ()


def test_a_chest_in_two_breath_holds_stays_whole(tmp_path: Path) -> None:
    write_series(tmp_path, chest(), change=lambda k: {"AcquisitionNumber": 1 + (k > 30)})
    assert only(tmp_path).n_slices == 60


def test_broken_files_are_counted(tmp_path: Path) -> None:
    files = write_series(tmp_path, chest())
    files[3].write_bytes(files[3].read_bytes()[:2000])  # cut in its pixels
    files[9].write_bytes(files[9].read_bytes()[:400])  # cut in its header
    (tmp_path / "garbage.dcm").write_bytes(np.random.default_rng(0).bytes(3000))
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "magic").write_bytes(b"\0" * 128 + b"DICM" + np.random.default_rng(1).bytes(3000))
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8" + bytes(400))
    found = only(tmp_path)
    assert (found.n_slices, found.broken) == (58, 5)


def test_only_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + bytes(10))
    with pytest.raises(InputError, match="none can be read"):
        find_series(tmp_path)


@pytest.mark.parametrize("files", [[], ["notes.txt"]])
def test_nothing_to_read(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("hello")
    with pytest.raises(InputError, match="give a folder of DICOM"):
        find_series(tmp_path)


def test_series_without_uid_goes_by_its_content(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest(), SeriesInstanceUID=None)
    first = only(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert only(tmp_path / "b").uid == first.uid
    assert first.uid.startswith("unnamed-")
    assert "no-uid" in [q.code for q in first.qc]


def test_uid_that_is_a_name_is_no_uid(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Invalid value"):
        write_series(tmp_path, chest(), SeriesInstanceUID="DOE^JANE")
    assert "DOE" not in only(tmp_path).uid


def test_no_positions(tmp_path: Path) -> None:
    write_series(tmp_path, chest(), ImagePositionPatient=None)
    with pytest.raises(InputError, match="no position"):
        choose_series(find_series(tmp_path))


def test_undefined_length_sequences_and_private_tags_are_walked_over(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    image = dataset(chest(1)[0], (0, 0, 0), 1)
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    inner = Dataset()
    inner.CodeValue = "x" * 16
    item.PurposeOfReferenceCodeSequence = [inner]
    image.ReferencedImageSequence = [item, item]
    image["ReferencedImageSequence"].is_undefined_length = True
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    image.private_block(0x0019, "MAKER", create=True).add_new(1, "OB", bytes(30_000))
    save(image, tmp_path / "one")
    found = only(tmp_path)
    assert (found.uid, found.rows) == (SERIES, 40)
    assert found.slices[0].pixels_at == (tmp_path / "one").stat().st_size - 40 * 48 * 2


def test_nothing_said_names_the_patient(tmp_path: Path) -> None:
    write_series(tmp_path / "DOE^JANE", chest())
    (tmp_path / "DOE^JANE" / "DOE.dcm").write_bytes(b"")
    found = only(tmp_path)
    said = repr(found.qc) + str(found.why_not) + choose_series([found])[0][1] + repr([s.about for s in found.slices])
    assert not [secret for secret in [*SECRETS.values(), "DOE", str(tmp_path)] if secret in said]


@pytest.mark.data
def test_real_series(data_dir: Path) -> None:
    found = {f.uid[-6:]: f for f in find_series(data_dir / "ct")}
    eligible = {uid for uid, f in found.items() if f.source_format == "dicom" and f.why_not is None}
    assert eligible == {"104083", "229543", "858561", "071422"}
    assert found["229543"].image_type == ("ORIGINAL", "SECONDARY", "AXIAL")
    assert {f.why_not for f in found.values() if f.unless == "partial"} == {
        "covers 40 mm, a part of a chest (150 mm at least)",
        "covers 28 mm, a part of a chest (150 mm at least)",
    }
    assert [f.why_not for f in found.values() if f.modality == "RTSTRUCT"] == ["RTSTRUCT, not CT"]


# -- one clear line ----------------------------------------------------------------------------------------------------------


def with_slope(files: list[Path], text: str) -> None:
    """Write ``text`` as RescaleSlope, whatever it is."""
    import pydicom
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    value = text.encode() + b" " * (len(text) % 2)
    for path in files:
        image = pydicom.dcmread(path)
        image[Tag(0x0028, 0x1053)] = RawDataElement(Tag(0x0028, 0x1053), "DS", len(value), value, 0, False, True)
        image.save_as(path)


@pytest.mark.parametrize("slope", ["1e300", "nan", "inf", "0", "-1", "1e8", "abc"])
def test_a_slope_that_makes_no_hounsfield_units_loses_its_slice_and_all_of_them_the_series(tmp_path: Path, slope: str) -> None:
    files = write_series(tmp_path, chest())
    with_slope(files[20:21], slope)
    found = only(tmp_path)
    assert (found.n_slices, found.broken, found.why_not) == (59, 1, None)
    assert "slice 21 of 60 could not be read" in str(read_scan(found).qc)
    with_slope(files, slope)
    with pytest.raises(InputError, match="rescale slope and intercept"):
        choose_series(find_series(tmp_path))


def test_a_slice_that_is_rescaled_unlike_the_others_is_read_by_its_own_slope_and_said(tmp_path: Path) -> None:
    files = write_series(tmp_path, chest())
    before = read_scan(only(tmp_path)).hu
    with_slope(files[20:21], "2")
    scan = read_scan(only(tmp_path))
    assert "1 of 60 slices (21) have another rescale slope" in str(scan.qc)
    assert np.array_equal(scan.hu[20], np.maximum(2 * (before[20].astype(int) + 1024) - 1024, -1024))
    assert np.array_equal(np.delete(scan.hu, 20, 0), np.delete(before, 20, 0))


def test_a_slice_without_a_place_is_left_out_and_said(tmp_path: Path) -> None:
    write_series(tmp_path, chest(), change=lambda k: {"ImagePositionPatient": ["1e8", "0", "0"]} if k == 59 else {})
    found = only(tmp_path)
    assert found.n_slices == 59
    assert [q.message for q in found.qc] == ["1 of 60 slices carry no position, orientation or spacing: left out"]


def test_two_studies_under_one_series_uid_are_not_blended(tmp_path: Path) -> None:
    between = Place(origin=(-100.0, -80.0, -298.5))
    write_series(tmp_path / "a", chest(), StudyInstanceUID="1.2.3.1")
    write_series(tmp_path / "b", chest(seed=1), place=between, StudyInstanceUID="1.2.3.2")
    with pytest.raises(InputError, match="2 studies under one series UID"):
        choose_series(find_series(tmp_path))


@pytest.mark.parametrize("told_by", [{"PatientID": "MRN-1"}, {"PatientID": None, "PatientName": "ROE^RICHARD"}])
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
def test_two_patients_under_one_series_uid_are_not_blended(tmp_path: Path, told_by: dict, syntax: str) -> None:
    nobody = {"PatientID": None} if told_by["PatientID"] is None else {}
    write_series(tmp_path / "a", chest(), syntax=syntax, **nobody)
    write_series(tmp_path / "b", chest(seed=1), syntax=syntax, AcquisitionNumber=2, **told_by)
    with pytest.raises(InputError, match="of 2 patients under one series UID: separate them"):
        choose_series(find_series(tmp_path))
    assert only(tmp_path / "b").why_not is None


def test_one_patient_whose_name_is_written_in_two_ways_is_one(tmp_path: Path) -> None:
    write_series(tmp_path, chest(), change=lambda k: {"PatientName": "Doe^Jane^^" if k % 2 else "DOE^JANE", "PatientID": None})
    assert only(tmp_path).why_not is None


def test_what_is_kept_of_a_patient_fits_many(tmp_path: Path) -> None:
    write_series(tmp_path, chest())
    marks = {m for s in only(tmp_path).slices for m in s.patient}
    assert [len(m) for m in marks] == [4, 4]


def test_series_of_two_studies_are_said_to_be(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest(), StudyInstanceUID="1.2.3.1", series=f"{SERIES}.1")
    write_series(tmp_path / "b", chest(), StudyInstanceUID="1.2.3.2", series=f"{SERIES}.2")
    assert choose_series(find_series(tmp_path))[0][1] == "lowest UID among equals of 2 eligible series in 2 studies"


def test_series_of_two_patients_are_said_to_be(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest(), StudyInstanceUID="1.2.3.1", series=f"{SERIES}.1")
    write_series(tmp_path / "b", chest(), StudyInstanceUID="1.2.3.2", series=f"{SERIES}.2", PatientID="MRN-1")
    assert choose_series(find_series(tmp_path))[0][1] == "lowest UID among equals of 2 eligible series in 2 studies of 2 patients"


def test_of_two_kernels_in_one_series_the_same_one_is_kept_whatever_the_files_are_called(tmp_path: Path) -> None:
    kept = set()
    for folders in (("a", "b"), ("d", "c")):
        for folder, kernel in zip(folders, ("B30f", "B70f"), strict=True):
            write_series(tmp_path / folders[0][0] / folder, chest(), ConvolutionKernel=kernel)
        kept.add(only(tmp_path / folders[0][0]).kernel)
    assert len(kept) == 1


def test_archives_in_a_folder_are_said_to_be_closed(tmp_path: Path) -> None:
    (tmp_path / "scan.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"packed in it \(1\) stays packed: unpack it first"):
        find_series(tmp_path)


@pytest.mark.parametrize("name", ["scan.tar.gz", "scan.7z", "scan.rar", "slice.dcm.gz"])
def test_an_archive_that_is_no_zip_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"packed")
    with pytest.raises(InputError, match=r"unpack it and give the folder, or pack it as \.zip"):
        find_series(tmp_path / name)


@pytest.mark.parametrize("name", ["scan.nhdr", "scan.hdr"])
def test_a_header_whose_voxels_lie_elsewhere_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"NRRD0004\n")
    with pytest.raises(InputError, match=r"save it as one \.nrrd or \.nii"):
        find_series(tmp_path)


def test_a_dicomdir_without_its_images_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + DIRECTORY)
    with pytest.raises(InputError, match="copy the whole disc"):
        find_series(tmp_path)


def test_a_folder_too_deep_to_be_read_is_not_blamed_on_permissions(tmp_path: Path, monkeypatch) -> None:
    def too_deep(top: Any, onerror: Any) -> list:
        onerror(OSError(36, "File name too long", str(top)))
        return []

    monkeypatch.setattr("os.walk", too_deep)
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        find_series(tmp_path)


def test_files_that_may_not_be_read_are_said_to_be(tmp_path: Path, monkeypatch) -> None:
    write_series(tmp_path, chest(3))
    opened = Path.open

    def closed(path: Path, *how: Any, **more: Any) -> Any:
        if path.is_relative_to(tmp_path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", closed)  # root may read everything
    with pytest.raises(InputError, match=r"3 of 3 files cannot be read, .*: see their permissions"):
        find_series(tmp_path)
