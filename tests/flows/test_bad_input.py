"""What a hostile folder, a broken scan or a wrong file does to the command line: one clear line, its exit code, nothing left."""

from __future__ import annotations

import os
import pickle
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.flows.bad_input import (
    CORONAL,
    NETWORKS,
    OTHER_UID,
    attributes,
    copied,
    cut,
    edited,
    huge,
    marked_encrypted,
    mhd,
    nifti,
    nifti_2_of_a_million_cubed,
    nrrd,
    says,
    smaller,
    write_tiny_weights,
    zip_of,
    zip_with_link,
)
from tests.flows.conftest import Cli, Done
from tests.flows.in_process import InProcess

PATIENT = "DOE^JANE_1961"
SECRETS = (b"DOE", b"JANE", b"PHANTOM^")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    write_tiny_weights(folder)
    return folder


class Here(InProcess):
    """A home of its own, and a folder for the scan that is named after a patient."""

    def __init__(self, folder: Path, weights: Path):
        super().__init__(folder / "home")
        self.out, self.scan = folder / "out", folder / PATIENT
        self.scan.mkdir()
        shutil.copytree(weights, self.home / "weights" / "tiny")

    def screen(self, path: Path | None = None, *more: object) -> Done:
        return self("screen", path or self.scan, "--direct", "--weights", "tiny", "--out", self.out, *more)


@pytest.fixture
def here(tmp_path, tiny_weights) -> Here:
    return Here(tmp_path, tiny_weights)


def assert_refused(done: Done, code: int, *said: str) -> None:
    """One line, the documented exit code, these words, no traceback, and no patient."""
    lines = [line for line in done.err.splitlines() if line.startswith("hounsfield: ")]
    assert done.code == code, done.err
    assert len(lines) == 1, done.err
    assert done.err.rstrip().endswith(lines[0])
    assert "Traceback" not in done.err
    for words in said:
        assert words in lines[0]
    assert_no_patient_in(done.err + done.out)


def assert_no_patient_in(text: str) -> None:
    for secret in SECRETS:
        assert secret.decode() not in text


def assert_nothing_half_written(home: Path, out: Path) -> None:
    assert not out.exists() or list(out.rglob("*")) == []
    assert list((home / "store").rglob(".tmp-*")) == []
    assert list((home / "private" / "scratch").glob("*")) == []
    assert list((home / "store" / "artifacts").glob("report/*")) == []


def assert_no_patient_kept(*places: Path) -> None:
    kept = [p for place in places for p in place.rglob("*")]
    for secret in SECRETS:
        assert [p for p in kept if secret.decode() in p.name] == []
        assert [p for p in kept if p.is_file() and secret in p.read_bytes()] == []


def refused(here: Here, code: int, *said: str, path: Path | None = None, options: tuple[object, ...] = ()) -> Done:
    done = here.screen(path, *options)
    assert_refused(done, code, *said)
    assert_nothing_half_written(here.home, here.out)
    assert_no_patient_kept(here.home / "store")
    return done


def screened(here: Here, path: Path | None = None, *options: object) -> dict[str, str]:
    """The scan is screened after all; QC code -> what was said of it."""
    done = here.screen(path, "--json", *options)
    assert done.code == 0, done.err
    assert_no_patient_in(done.err)
    assert_no_patient_kept(here.home / "store", here.out)
    (shown,) = done.json
    return {q["code"]: q["message"] for q in shown["report"]["qc"]}


# -- nothing to screen -------------------------------------------------------------------------------------------------------


def test_an_empty_folder(here):
    refused(here, 3, "the folder is empty", "give a folder of DICOM")


def test_a_folder_that_holds_only_what_is_passed_over(here, phantom_series):
    (here.scan / "ct").symlink_to(phantom_series)
    refused(here, 3, "the folder holds links to other folders, which are not followed", "give a folder of DICOM")
    (here.scan / "ct").unlink()
    (here.scan / ".hidden").write_text("x")
    refused(here, 3, "the folder holds hidden files alone")


def test_text_files_alone(here):
    (here.scan / f"{PATIENT}.txt").write_text("a letter about Mrs Doe")
    (here.scan / "no suffix").write_text("x" * 1000)
    refused(here, 3, "no file in it is a CT")


def test_a_text_file_itself(here):
    (here.scan / "letter.txt").write_text("a letter")
    refused(here, 3, "no file in it is a CT", path=here.scan / "letter.txt")


NOT_SCREENED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "scout": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ("a scout (localizer)",)),
    "coronal": ({"ImageOrientationPatient": CORONAL}, ("coronal",)),
    "MR": ({"Modality": "MR"}, ("MR, not CT",)),
    "PET": ({"Modality": "PT"}, ("PT, not CT",)),
    "a dose report": ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, ("a picture made from a scan",)),
    "no position": ({"ImagePositionPatient": None}, ("no position",)),
    "zero spacing": ({"PixelSpacing": ["0", "0"]}, ("spacing is zero or negative",)),
    "negative spacing": ({"PixelSpacing": ["-1", "1"]}, ("spacing is zero or negative",)),
    "no pixels": ({"PixelData": None}, ("cannot be screened",)),
}


@pytest.mark.parametrize("what", NOT_SCREENED)
def test_a_series_that_is_none_to_screen_says_why(here, phantom_series, what):
    change, said = NOT_SCREENED[what]
    files = copied(phantom_series, here.scan)
    for left in files[4:]:
        left.unlink()
    edited(files[:4], attributes(**change))
    refused(here, 3, *said)


def test_a_series_uid_that_is_not_there_lists_those_that_are(here, phantom_series):
    copied(phantom_series, here.scan)
    done = refused(here, 3, "no series with the UID asked for", "70 slices of 4 mm", options=("--series", "1.2.3"))
    assert "2.25." in done.err


def test_several_series_none_eligible_are_listed(here, phantom_series):
    files = copied(phantom_series, here.scan)
    for left in files[6:]:
        left.unlink()
    edited(files[:3], attributes(Modality="MR", SeriesInstanceUID=OTHER_UID))
    edited(files[3:6], attributes(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    refused(here, 3, "no eligible CT series among 2 series", "MR, not CT", "a scout (localizer)")


# -- files among good ones ---------------------------------------------------------------------------------------------------


def test_a_truncated_dicom_among_good_ones_is_filled_in_and_said(here, phantom_series):
    cut(copied(phantom_series, here.scan)[30], 0.5)
    qc = screened(here)
    assert qc["unreadable-files"] == "slice 31 of 70 could not be read (cut short or damaged)"
    assert "slice 31 of 70 missing or not readable: filled in" in qc["missing-slices"]


def test_garbage_among_good_files_is_said(here, phantom_series):
    files = copied(phantom_series, here.scan)
    (here.scan / "a.dcm").write_bytes(np.random.default_rng(0).bytes(5000))
    (here.scan / "b.dcm").write_bytes(b"")
    (here.scan / "c.dcm").write_bytes(files[0].read_bytes()[:140] + b"\xff" * 500)
    (here.scan / "Thumbs.db").write_bytes(b"\0" * 3000)
    assert "3 files among the series' 73 could not be read" in screened(here)["unreadable-files"]


def test_all_files_cut_short(here, phantom_series):
    for path in copied(phantom_series, here.scan):
        cut(path, 0.5)
    refused(here, 3, "cut short")


def test_a_broken_image_file_beside_a_good_series_does_not_disturb_it(here, phantom_series):
    copied(phantom_series, here.scan)
    (here.scan / f"{PATIENT}.nii").write_text("no NIfTI")
    screened(here)


def test_a_dangling_link_is_passed_over(here, phantom_series):
    copied(phantom_series, here.scan)
    for name in ("a", "b.dcm", "c.nii.gz", "d.mhd"):
        (here.scan / name).symlink_to(here.scan / "nowhere" / name)
    screened(here)


def test_a_pipe_in_the_folder_does_not_hang(here, phantom_series):
    copied(phantom_series, here.scan)
    os.mkfifo(here.scan / "IM00000.dcm")
    os.mkfifo(here.scan / "scan.nii")
    command = [sys.executable, "-m", "flows.cli", "screen", here.scan, "--direct", "--weights", "tiny", "--out", here.out]
    try:  # in a process of its own, which can be ended
        done = subprocess.run(command, cwd=ROOT, env=Cli(here.home).env, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.fail("it hangs")
    assert done.returncode == 0, done.stderr


def test_a_folder_name_that_is_no_utf8(here, phantom_series, tmp_path):
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    try:
        copied(phantom_series, named)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    screened(here, named)


def test_a_dicomdir_stands_for_its_folder(here, phantom_series, tmp_path):
    from pydicom.fileset import FileSet

    disc = FileSet()
    for path in phantom_series.iterdir():
        disc.add(path)
    disc.write(here.scan)
    assert "unreadable-files" not in screened(here, here.scan / "DICOMDIR")
    (tmp_path / "link").symlink_to(here.scan / "DICOMDIR")
    assert here.screen(tmp_path / "link").err.count(" reused ") == 9  # the same scan


def test_a_path_with_line_ends_is_one_line(here, tmp_path):
    refused(here, 3, "nothing at the given path", path=tmp_path / "no\nhounsfield: x\r\nthere")


# -- slices that do not fit together -----------------------------------------------------------------------------------------


def test_one_missing_slice_is_filled_in_and_said(here, phantom_series):
    copied(phantom_series, here.scan)[40].unlink()
    assert "slice 41 of 70 missing: filled in" in screened(here)["missing-slices"]


def test_five_missing_slices_in_a_row_are_refused(here, phantom_series):
    for path in copied(phantom_series, here.scan)[30:35]:
        path.unlink()
    refused(here, 4, "5 slices missing in a row after slice 30 of 65", "find the missing files")


def test_the_same_slices_twice_are_left_out_and_said(here, phantom_series):
    copied(phantom_series, here.scan)
    copied(phantom_series, here.scan / "again")
    assert "70 slices left out: repeated, the same pixels" in screened(here)["duplicate-slices"]


def test_two_scans_in_one_series_are_refused(here, phantom_series):
    copied(phantom_series, here.scan)

    def upside_down(data: Any) -> None:
        data.PixelData = np.ascontiguousarray(data.pixel_array[::-1]).tobytes()
        data.SOPInstanceUID += ".1"

    edited(copied(phantom_series, here.scan / "again"), upside_down)
    refused(here, 4, "two scans in one series; separate them")


def test_a_slice_of_another_size_is_left_out_and_said(here, phantom_series):
    edited(copied(phantom_series, here.scan)[20:21], smaller)
    qc = screened(here)
    assert "1 of 70 slices have another size" in qc["mixed-sizes"]
    assert "slice 21 of 70" in qc["missing-slices"]


def test_a_slice_in_another_plane_is_left_out_and_said(here, phantom_series):
    edited(copied(phantom_series, here.scan)[20:21], attributes(ImageOrientationPatient=CORONAL))
    qc = screened(here)
    assert "1 of 70 slices lie in another plane" in qc["mixed-orientations"]
    assert "slice 21 of 70" in qc["missing-slices"]


def test_all_slices_in_one_place_are_refused(here, phantom_series):
    files = copied(phantom_series, here.scan)
    for left in files[10:]:
        left.unlink()
    edited(files[:10], attributes(ImagePositionPatient=["0", "0", "0"]))
    done = here.screen()
    assert done.code in (3, 4)
    assert_refused(done, done.code)
    assert_nothing_half_written(here.home, here.out)


@pytest.mark.parametrize(
    "six", [["1", "0", "0", "1", "0", "0"], ["0", "0", "0", "0", "0", "0"], ["nan", "0", "0", "0", "1", "0"]]
)
def test_directions_that_span_no_plane(here, phantom_series, six):
    import pydicom

    files = copied(phantom_series, here.scan)
    with pydicom.config.disable_value_validation():
        edited(files, attributes(ImageOrientationPatient=six))
    refused(here, 3)


def test_a_part_of_a_chest_is_refused_and_admitted_when_asked(here, phantom_series):
    for path in copied(phantom_series, here.scan)[46:]:
        path.unlink()
    for path in sorted(here.scan.iterdir())[:14]:
        path.unlink()
    refused(here, 4, "covers 128 mm, a part of a chest (150 mm at least): screen it with --partial")
    assert "what lies outside was not looked at" in screened(here, None, "--partial")["part-of-chest"]


def test_values_that_are_no_hounsfield_units(here, phantom_series):
    edited(copied(phantom_series, here.scan), attributes(RescaleIntercept="0"))
    refused(here, 4, "not Hounsfield units: values from 0 to", "rescaled to HU")


def test_a_scan_without_lungs(here, phantom_series):
    def water(data: Any) -> None:
        data.PixelData = np.where(data.pixel_array > 124, 1064, 24).astype("<u2").tobytes()

    edited(copied(phantom_series, here.scan), water)
    refused(here, 4, "lung")


def test_a_huge_claimed_size_asks_for_no_memory(here, phantom_series):
    edited(copied(phantom_series, here.scan), huge)
    refused(here, 3, "70 x 60000 x 60000 voxels", "at most 8192 a side")


# -- image files -------------------------------------------------------------------------------------------------------------

HU = np.full((70, 128, 128), -1000, dtype=np.int16)
VOXELS = HU.tobytes()
IMAGES: dict[str, tuple[str, Callable[[], bytes], int, tuple[str, ...]]] = {
    "four dimensions": (".nii", lambda: nifti(HU, dim=(128, 128, 35, 2)), 3, ("4 dimensions (128 x 128 x 35 x 2)",)),
    "two dimensions": (".nii", lambda: nifti(HU[:1], dim=(128, 128)), 3, ("2 dimensions",)),
    "NaN": (".nii", lambda: nifti(np.full(HU.shape, np.nan, np.float32)), 3, ("not numbers (NaN or infinite)",)),
    "no affine": (".nii", lambda: nifti(HU, codes=(0, 0)), 3, ("no affine", "qform_code")),
    "zero spacing nii": (".nii", lambda: nifti(HU, spacing=(0.0, 2.0, 2.0)), 3, ("spacing",)),
    "cut short nii": (".nii", lambda: nifti(HU)[:5000], 3, ("cut short",)),
    "text as nii": (".nii", lambda: b"Dear colleague, " * 100, 3, ("damaged or cut short",)),
    "text as nii.gz": (".nii.gz", lambda: b"Dear colleague, " * 100, 3, ("damaged or cut short",)),
    "empty nii": (".nii", lambda: b"", 3, ("damaged or cut short",)),
    "empty nii.gz": (".nii.gz", lambda: b"", 3, ("damaged or cut short",)),
    "a million cubed": (".nii", nifti_2_of_a_million_cubed, 3, ("cut short",)),
    "a negative size": (".nii", lambda: nifti(HU, dim=(-128, 128, 70)), 3, ("damaged",)),
    "zero spacing mha": (".mha", lambda: mhd("2.6 2.6 0") + VOXELS, 3, ("zero or negative spacing",)),
    "negative spacing mha": (".mha", lambda: mhd("2.6 -2.6 4") + VOXELS, 3, ("zero or negative spacing",)),
    "no spacing mha": (".mha", lambda: mhd("x y z") + VOXELS, 3, ("header",)),
    "a negative size mha": (".mha", lambda: mhd(size="-128 128 70") + VOXELS, 3, ()),
    "a huge size mha": (".mha", lambda: mhd(size="60000 60000 70", more="CompressedData = True\n") + b"x", 3, ("at most 8192",)),
    "voxels elsewhere": (".mhd", lambda: mhd(data="../../../etc/passwd"), 3, ("ElementDataFile",)),
    "absolute voxels": (".mhd", lambda: mhd(data="/etc/passwd"), 3, ("ElementDataFile",)),
    "no voxel file": (".mhd", lambda: mhd(data="DOE.raw"), 3, ("keep .mhd and .raw together",)),
    "text as mhd": (".mhd", lambda: b"Dear colleague, " * 100, 3, ()),
    "zero spacing nrrd": (".nrrd", lambda: nrrd(("(0,0,0)", "(0,1,0)", "(0,0,1)")) + VOXELS, 3, ("spacing",)),
    "parallel axes nrrd": (".nrrd", lambda: nrrd(("(1,0,0)", "(1,0,0)", "(0,0,4)")) + VOXELS, 3, ()),
    "cut short nrrd": (".nrrd", lambda: nrrd() + VOXELS[:1000], 3, ("cut short",)),
    "a huge size nrrd": (".nrrd", lambda: nrrd(sizes="60000 60000 70"), 3, ("at most 8192",)),
    "text as nrrd": (".nrrd", lambda: b"Dear colleague, " * 100, 3, ("damaged or cut short",)),
    "nothing but air": (".nii", lambda: nifti(HU), 4, ("not Hounsfield units",)),
}


@pytest.mark.parametrize("what", IMAGES)
@pytest.mark.parametrize("given", ["file", "folder"])
def test_an_image_file_that_is_broken(here, what, given):
    suffix, make, code, said = IMAGES[what]
    path = here.scan / f"{PATIENT}{suffix}"
    path.write_bytes(make())
    refused(here, code, *said, path=path if given == "file" else here.scan)


# -- zips --------------------------------------------------------------------------------------------------------------------

ZIPS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "climbs": (lambda p: zip_of(p, {f"../../{PATIENT}.dcm": b"x"}), "points outside its own folder"),
    "climbs by backslash": (lambda p: zip_of(p, {"..\\..\\x.dcm": b"x"}), "points outside its own folder"),
    "absolute": (lambda p: zip_of(p, {"/tmp/x.dcm": b"x"}), "points outside its own folder"),
    "a drive": (lambda p: zip_of(p, {"C:\\x.dcm": b"x"}), "points outside its own folder"),
    "a link": (lambda p: zip_with_link(p, "/etc/passwd"), "holds a link"),
    "a bomb": (lambda p: zip_of(p, {"x.dcm": bytes(100 << 20)}), "200 times its own size"),
    "says a lot": (lambda p: says(zip_of(p, {"x.dcm": b"x" * 1000}), 0xFFFFFFF0), "200 times its own size"),
    "encrypted": (lambda p: marked_encrypted(zip_of(p, {"x.dcm": b"x" * 100})), "encrypted"),
    "a zip in a zip": (
        lambda p: zip_of(p, {"inner.zip": zip_of(p.with_suffix(".in"), {"x": b"x"}).read_bytes()}),
        "stays packed",
    ),
    "text": (lambda p: (p.write_text("no zip"), p)[1], "damaged"),
    "empty": (lambda p: zip_of(p, {}), "empty"),
}


@pytest.mark.parametrize("what", ZIPS)
def test_a_hostile_zip(here, what, tmp_path):
    make, said = ZIPS[what]
    refused(here, 3, said, path=make(here.scan / f"{PATIENT}.zip"))
    assert {p.name for p in tmp_path.iterdir()} <= {"home", "out", PATIENT}


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
def test_a_zip_cut_short(here, phantom_series, keep):
    archive = zip_of(here.scan / "scan.zip", {p.name: p.read_bytes() for p in phantom_series.iterdir()})
    cut(archive, keep)
    refused(here, 3, "damaged, cut short", path=archive)


def test_a_good_zip_with_a_patients_name_keeps_none_of_it(here, phantom_series):
    entries = {f"{PATIENT}/{PATIENT}-{n}": p.read_bytes() for n, p in enumerate(phantom_series.iterdir())}
    screened(here, zip_of(here.scan / f"{PATIENT}.zip", entries))
    assert list((here.home / "private" / "scratch").glob("*")) == []


# -- weights -----------------------------------------------------------------------------------------------------------------


class Hostile:
    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def checkpoint(role: str, change: Callable[[dict[str, Any]], Any] = lambda state: {"model_state": state}) -> Any:
    """What the book's ``torch.save`` holds, with fresh weights, after ``change``."""
    from tasks.import_weights import PUBLISHED
    from tasks.nets.registry import build

    known = PUBLISHED[role]  # type: ignore[index]
    return change({known.prefix + k: v for k, v in build(known.architecture, **known.arguments).state_dict().items()})


@pytest.mark.parametrize(
    "what", ["hostile pickle", "hostile torch.save", "another architecture", "cut short", "text", "a folder"]
)
def test_a_checkpoint_that_is_none_is_not_imported_and_runs_nothing(here, tmp_path, what):
    import torch

    files = {role: tmp_path / f"{role}.state" for role in NETWORKS}
    for role, path in files.items():
        torch.save(checkpoint(role), path)
    bad, proof = files["nodule"], tmp_path / "proof"
    if what == "hostile pickle":
        bad.write_bytes(pickle.dumps(Hostile(proof)))
    elif what == "hostile torch.save":
        torch.save(checkpoint("nodule", lambda state: {"model_state": {**state, "more": Hostile(proof)}}), bad)
    elif what == "another architecture":
        torch.save(checkpoint("segmenter"), bad)
    elif what == "cut short":
        cut(bad, 0.6)
    elif what == "text":
        bad.write_text("weights")
    else:
        bad.unlink()
        bad.mkdir()
    done = here("weights", "import", "--name", "bad", *(v for role, p in files.items() for v in (f"--{role}", p)))
    assert_refused(done, 5, "nodule")
    assert not proof.exists()
    assert [p.name for p in (here.home / "weights").iterdir()] == ["tiny"]


def test_a_name_of_weights_that_climbs_is_refused(here, tmp_path):
    file = tmp_path / "x.state"
    file.write_bytes(b"")
    done = here("weights", "import", "--name", "../x", *(v for r in NETWORKS for v in (f"--{r}", file)))
    assert_refused(done, 2, "a-z, 0-9 and dashes")


def test_a_pipe_for_a_checkpoint_is_refused_and_not_waited_for(here, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert_refused(
        here("weights", "import", "--name", "x", *(v for r in NETWORKS for v in (f"--{r}", tmp_path / "pipe"))),
        5,
        "no plain file",
    )


def test_weights_that_ship_are_not_hidden_by_others_of_their_name(here, tmp_path):
    done = here("weights", "import", "--name", "phantom", *(v for r in NETWORKS for v in (f"--{r}", tmp_path / "x.state")))
    assert_refused(done, 2, "exist already", "--replace")


def test_damaged_weights_end_the_screening(here, phantom_series):
    copied(phantom_series, here.scan)
    cut(here.home / "weights" / "tiny" / "segmenter.safetensors", 0.7)
    refused(here, 5, "segmenter checkpoint is damaged or cut short")


@pytest.mark.parametrize(
    "text",
    ["no JSON", "", "[]", "{}", '{"name": "x"}', "\udcff", "null"],
)
def test_a_card_that_is_no_card(here, phantom_series, text):
    copied(phantom_series, here.scan)
    (here.home / "weights" / "tiny" / "nodule.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(here, 5, "the card of nodule in weights 'tiny' does not hold")


def test_a_card_for_another_network(here, phantom_series):
    copied(phantom_series, here.scan)
    card = here.home / "weights" / "tiny" / "segmenter.json"
    card.write_text(card.read_text().replace('"width": 2', '"width": 4'))
    refused(here, 5, "segmenter")


def test_a_list_of_weights_with_a_damaged_set_still_shows_the_others(here, tiny_weights):
    broken = here.home / "weights" / "broken"
    shutil.copytree(tiny_weights, broken)
    (broken / "nodule.json").write_text("no JSON")
    done = here("weights", "list", "--json")
    assert "tiny" in {row["name"] for row in done.json}


# -- where the report goes ---------------------------------------------------------------------------------------------------


def test_an_out_that_is_a_file_is_one_clear_line(here, phantom_series):
    copied(phantom_series, here.scan)
    here.out.write_text("a file of mine")
    done = here.screen()
    assert_refused(done, 2)
    assert " ran " not in done.err  # before anything is computed
    assert here.out.read_text() == "a file of mine"
    assert_refused(here("screen", here.scan, "--direct", "--weights", "tiny", "--out", here.out / "deeper"), 2, "is a file")


def test_an_out_that_leads_nowhere_is_said_before_anything_is_computed(here, phantom_series, tmp_path):
    copied(phantom_series, here.scan)
    here.out.symlink_to(tmp_path / "gone" / "away")
    done = here.screen()
    assert done.code == 2
    assert " ran " not in done.err


@pytest.mark.parametrize("command", [["screen", ""], ["screen", ".", "--out", ""], ["plan", ""]])
def test_an_empty_argument_is_not_the_folder_one_stands_in(here, command):
    assert_refused(here(*command), 2, "an argument is empty")


def test_a_report_inside_the_scans_folder_is_not_taken_for_a_scan(here, phantom_series):
    copied(phantom_series, here.scan)
    for _ in range(2):
        done = here.screen(None, "--series", "all", "--out", here.scan / "report", "--json")
        assert done.code == 0, done.err
        assert len(done.json) == 1


def test_one_refused_series_does_not_keep_the_reports_of_the_others(here, phantom_series):
    copied(phantom_series, here.scan / "good")
    edited(copied(phantom_series, here.scan / "bad"), attributes(SeriesInstanceUID=OTHER_UID, RescaleIntercept="0"))
    done = here.screen(None, "--series", "all")
    assert_refused(done, 4, "not Hounsfield units")
    assert len(list(here.out.rglob("report.json"))) == 1


def test_each_of_several_reports_says_of_which_series_it_is_and_what_to_mind(here, phantom_series):
    copied(phantom_series, here.scan / "a")
    edited(copied(phantom_series, here.scan / "b"), attributes(SeriesInstanceUID=OTHER_UID))
    done = here.screen(None, "--series", "all")
    assert done.code == 0, done.err
    assert done.out.count("series ") == 2
    assert f"series {OTHER_UID}\n" in done.out
    assert done.out.count("warning: slices 4 mm thick") == 2


def without_lungs(data: Any) -> None:
    """A head, say: soft tissue where there was air in the body."""
    from scipy.ndimage import binary_fill_holes

    values = data.pixel_array.copy()
    tissue = values > 700
    values[binary_fill_holes(tissue) & ~tissue] = 1040
    data.PixelData = values.tobytes()


def test_the_next_best_series_where_the_best_has_no_lungs(here, phantom_series):
    copied(phantom_series, here.scan / "chest")
    edited(copied(phantom_series, here.scan / "head"), attributes(SeriesInstanceUID=OTHER_UID, SliceThickness="1"))
    edited(copied(phantom_series, here.scan / "chest"), attributes(SliceThickness="4.5"))
    edited(sorted((here.scan / "head").iterdir()), without_lungs)
    done = here.screen(None, "--json")
    assert done.code == 0, done.err
    assert "no lungs in this scan" in done.err
    (shown,) = done.json
    assert f"{OTHER_UID} would be, but is refused: no lungs in this scan" in shown["report"]["series"]["chosen_because"]


def test_of_all_series_a_head_is_passed_over(here, phantom_series):
    copied(phantom_series, here.scan / "chest")
    edited(copied(phantom_series, here.scan / "head"), attributes(SeriesInstanceUID=OTHER_UID))
    edited(sorted((here.scan / "head").iterdir()), without_lungs)
    done = here.screen(None, "--series", "all", "--json")
    assert done.code == 0, done.err
    assert len(done.json) == 1
    assert "no lungs in this scan" in done.err
    assert_refused(here.screen(None, "--series", OTHER_UID), 4, "no lungs in this scan")


def test_nothing_but_heads(here, phantom_series):
    for uid in (OTHER_UID, f"{OTHER_UID}.1"):
        files = copied(phantom_series, here.scan / uid)
        edited(files, attributes(SeriesInstanceUID=uid))
        edited(files, without_lungs)
    for series in ("best", "all"):
        refused(here, 4, "none of 2 eligible series could be screened; the first: no lungs", options=("--series", series))


def test_a_pipe_is_refused_and_not_waited_for(here):
    os.mkfifo(here.scan / "pipe")
    refused(here, 3, "neither a folder nor a plain file", path=here.scan / "pipe")
    refused(here, 3, "the folder is empty")


# -- in a process of its own -------------------------------------------------------------------------------------------------


def test_a_refusal_in_a_process_of_its_own(here, phantom_series):
    for path in copied(phantom_series, here.scan)[30:35]:
        path.unlink()
    done = Cli(here.home)("screen", here.scan, "--direct", "--weights", "tiny", "--out", here.out)
    assert_refused(done, 4, "5 slices missing in a row")
    assert_nothing_half_written(here.home, here.out)


def test_a_folder_that_cannot_be_read(phantom_series, tiny_weights):
    """As nobody where the tests run as root, for root reads everything."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:  # other users have no way into pytest's
        place = Path(folder)
        place.chmod(0o755)
        here = Here(place, tiny_weights)
        copied(phantom_series, here.scan)
        screened(here)  # and whatever is imported late is imported now
        shutil.rmtree(here.out)
        shutil.rmtree(here.home / "store")
        (here.scan / "within").mkdir()
        here.scan.chmod(0)
        if root:
            for path in (place, *place.rglob("*")):
                shutil.chown(path, "nobody")
            os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            done = here.screen()
            within = here.screen(here.scan / "within")
            out = here("screen", here.home, "--direct", "--weights", "tiny", "--out", here.scan / "within" / "report")
        finally:
            if root:
                os.seteuid(0)
            here.scan.chmod(0o700)
        assert_refused(done, 3, "cannot be read")
        assert (within.code, out.code) == (3, 6), within.err + out.err
        assert "Permission denied" in within.err
        assert "output folder cannot be written (Permission denied): choose another place with --out" in out.err
        assert_nothing_half_written(here.home, here.out)
