"""What lies in a tree is known from headers, and only new or changed files are opened again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from artifacts.errors import InputError
from tasks.reading.find import find_series
from tasks.reading.header_index import HeaderIndex, Look
from tests.tasks.reading.small_dicom import SERIES, chest, write_enhanced, write_series

HU = chest(6, 8, 8)


@pytest.fixture
def index(tmp_path: Path) -> HeaderIndex:
    return HeaderIndex(tmp_path / "private", lambda path: f"source-{len(str(path))}")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for n in range(3):
        write_series(tmp_path / "tree" / f"DOE^{n}" / "ct", HU, series=f"{SERIES}.{n}", StudyInstanceUID=f"1.2.3.{n % 2}")
    return tmp_path / "tree"


def again(index: HeaderIndex, *roots: Path) -> Look:
    """As another process would."""
    return HeaderIndex(index.folder, index.token).look(roots)


def test_series_are_found_once_and_then_known(index: HeaderIndex, tree: Path) -> None:
    first = index.look([tree])
    assert first.seen.keys() == {f"{SERIES}.{n}" for n in range(3)}
    assert (first.opened, first.files) == (18, 18)
    assert [first.seen[f"{SERIES}.{n}"].study for n in range(3)] == ["1.2.3.0", "1.2.3.1", "1.2.3.0"]
    second = again(index, tree)
    assert second.opened == 0
    assert second.seen == first.seen


def test_the_found_series_is_what_reading_the_folder_gives(index: HeaderIndex, tree: Path) -> None:
    seen = index.look([tree]).seen[f"{SERIES}.1"]
    (plain,) = find_series(tree / "DOE^1")
    assert index.found(seen) == plain
    assert HeaderIndex(index.folder, index.token).found(seen) == plain


@pytest.mark.parametrize("folder", ["a-first", "DOE^1/ct", "labels"])
def test_a_label_map_named_after_its_scan_does_not_stand_for_it(index: HeaderIndex, tree: Path, folder: str) -> None:
    """As `hounsfield phantoms`, LUNA16's lung masks and most tools that segment name them."""
    (plain,) = find_series(tree / "DOE^1")
    (tree / folder).mkdir(exist_ok=True)
    image = sitk.GetImageFromArray((HU > 0).astype(np.uint8))
    sitk.WriteImage(image, str(tree / folder / f"{SERIES}.1.nii.gz"))
    seen = index.look([tree]).seen
    assert len(seen) == 3
    assert seen[f"{SERIES}.1"].study == "1.2.3.1"
    assert index.found(seen[f"{SERIES}.1"]) == plain
    assert [f for f in find_series(tree) if f.uid == plain.uid] == [plain]


def test_only_what_changed_is_opened_and_only_its_series_is_marked(index: HeaderIndex, tree: Path) -> None:
    before = index.look([tree]).seen
    victim = next((tree / "DOE^1" / "ct").iterdir())
    os.utime(victim, (1, 1))
    (tree / "DOE^2" / "ct" / "notes.txt").write_text("seen by Dr House")
    look = again(index, tree)
    assert look.opened == 2
    changed = [name for name in before if look.seen[name].mark != before[name].mark]
    assert changed == [f"{SERIES}.1"]


def test_what_goes_is_forgotten_and_what_comes_is_found(index: HeaderIndex, tree: Path) -> None:
    index.look([tree])
    shutil.rmtree(tree / "DOE^0")
    shutil.move(tree / "DOE^1", tree / "elsewhere")
    look = again(index, tree)
    assert look.seen.keys() == {f"{SERIES}.1", f"{SERIES}.2"}
    assert not [k for k in index._cache if b"DOE^0" in k]


def test_a_disk_that_is_not_mounted_is_no_empty_inbox(index: HeaderIndex, tree: Path) -> None:
    index.look([tree])
    with pytest.raises(InputError, match="1 of 2 inbox folders are not there") as e:
        again(index, tree, tree / "DOE^9")
    assert "DOE" not in str(e.value)
    assert again(index, tree).opened == 0


def test_one_series_in_two_folders_is_one_and_copies_count_once(index: HeaderIndex, tmp_path: Path) -> None:
    files = write_series(tmp_path / "a", HU)
    (tmp_path / "b").mkdir()
    for f in files[3:]:
        f.rename(tmp_path / "b" / f.name)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    seen = index.look([tmp_path / "a", tmp_path / "b", tmp_path / "copy"]).seen[SERIES]
    assert seen.files == 9
    assert index.found(seen).n_slices == 6


def test_slices_of_another_patient_are_no_copies(index: HeaderIndex, tmp_path: Path) -> None:
    write_series(tmp_path / "tree" / "a", HU)
    write_series(tmp_path / "tree" / "b", HU, PatientID="MRN-1")
    found = index.found(index.look([tmp_path / "tree"]).seen[SERIES])
    assert found.why_not == "its slices are of 2 patients under one series UID: separate them"


@pytest.mark.parametrize("names", [("one.nii", "two.nii"), ("a/scan.mhd", "b/scan.mhd")])
def test_images_that_begin_alike_are_different_scans(index: HeaderIndex, tmp_path: Path, names: tuple[str, str]) -> None:
    """The same geometry, and air in the first corner, as most scans have it."""
    for seed, name in enumerate(names):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        hu = np.full((60, 60, 60), -1000, np.int16)
        hu[20:40] += np.random.default_rng(seed).integers(0, 2000, (20, 60, 60), np.int16)
        image = sitk.GetImageFromArray(hu)
        image.SetSpacing((3.0, 3.0, 3.0))
        sitk.WriteImage(image, str(tmp_path / "tree" / name))
    seen = index.look([tmp_path / "tree"]).seen
    assert {index.found(s).files[0] for s in seen.values()} == {tmp_path / "tree" / n for n in names}


def test_archives_images_broken_and_multi_frame_files(index: HeaderIndex, tmp_path: Path, phantom_mhd: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("zip", "broken", "enhanced", "empty"):
        (tree / name).mkdir(parents=True)
    (tree / "zip" / "scan.zip").write_bytes(b"PK")
    (tree / "broken" / "1.dcm").write_bytes(b"no DICOM")
    write_enhanced(tree / "enhanced" / "e", HU)
    shutil.copytree(phantom_mhd, tree / "image")
    look = index.look([tree])
    assert sorted(s.kind for s in look.seen.values()) == ["archive", "broken", "series", "series"]
    (image,) = [s for s in look.seen.values() if s.name.startswith("unnamed-")]
    assert image.files == 2
    assert index.found(image).source_format == "mhd"
    assert index.found(look.seen[SERIES]).n_slices == 6
    raw = next((tree / "image").glob("*.raw"))
    os.utime(raw, (1, 1))
    assert again(index, tree).seen[image.name].mark != image.mark


@pytest.fixture
def phantom_mhd(tmp_path: Path) -> Path:
    import SimpleITK as sitk

    (tmp_path / "mhd").mkdir()
    image = sitk.GetImageFromArray(HU)
    image.SetSpacing((5, 5, 30))
    sitk.WriteImage(image, str(tmp_path / "mhd" / "DOE.mhd"))
    return tmp_path / "mhd"


def test_a_record_of_another_version_is_read_anew(index: HeaderIndex, tree: Path) -> None:
    index.look([tree])
    for key in list(index._cache):
        index._cache[key] = ("0/old", None)
    assert again(index, tree).opened == 18


def test_headers_of_files_that_are_still_being_written_are_read_when_they_are_whole(index: HeaderIndex, tmp_path: Path) -> None:
    files = write_series(tmp_path / "tree", HU)
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:400])
    first = index.look([tmp_path / "tree"]).seen[SERIES]
    assert index.found(first).broken == 1
    files[0].write_bytes(whole)
    second = again(index, tmp_path / "tree").seen[SERIES]
    assert second.mark != first.mark
    assert index.found(second).broken == 0


def test_a_root_that_lost_all_its_series_at_once_is_named_once(index: HeaderIndex, tree: Path) -> None:
    assert index.look([tree]).emptied == {}
    for n in range(3):
        shutil.rmtree(tree / f"DOE^{n}")
    assert again(index, tree).emptied == {tree: 3}
    assert again(index, tree).emptied == {}


def test_an_empty_mount_point_is_no_empty_root_and_nothing_is_forgotten(
    index: HeaderIndex, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tasks.reading.header_index.mount_of", lambda _: "/mnt/ct")
        index.look([tree])
    shutil.move(tree, tree.with_name("disk"))
    tree.mkdir()
    (tree / "NOT_MOUNTED").touch()
    with pytest.raises(InputError, match="its disk is not mounted") as refused:
        again(index, tree)
    assert str(tree) not in str(refused.value)
    shutil.rmtree(tree)
    shutil.move(tree.with_name("disk"), tree)
    assert again(index, tree).opened == 0  # on another disk than before, and not empty: that is what there is


def test_what_another_root_holds_is_known_by_name(index: HeaderIndex, tree: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "other", HU, series=f"{SERIES}.9", StudyInstanceUID="1.2.3.9")
    assert index.look([tree]).elsewhere == set()
    look = again(index, tmp_path / "other")
    assert (look.seen.keys(), look.elsewhere) == ({f"{SERIES}.9"}, {f"{SERIES}.{n}" for n in range(3)})
