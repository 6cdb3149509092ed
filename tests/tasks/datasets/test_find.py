"""Folders as they lie on disks: layouts recognised, partial downloads fine, nothing of a path or a patient kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from artifacts.errors import InputError
from artifacts.geometry import Geometry
from artifacts.private_index import PrivateIndex
from artifacts.store import Store
from artifacts.volume import Series, SourceSlice, Volume
from flows.dataset import gather
from tasks.datasets.dataset import dataset
from tasks.datasets.find import find_dataset
from tests.luna_folder import ANNOTATIONS, write_mhd
from tests.tasks.datasets.made import cube_xml, uid


def tiny(path: Path, seed: int = 0) -> Path:
    hu = np.random.default_rng(seed).integers(-1000, 100, (12, 8, 8)).astype(np.int16)
    write_mhd(Volume(hu, Geometry((12, 8, 8), (25.0, 40.0, 40.0), (-160.0, -160.0, -300.0)), Series("x")), path)
    return path


def luna(root: Path, *subsets: int) -> Path:
    rows = [f"{uid(k)},0,0,-100,8" for k in range(10)]
    for k in subsets:
        tiny(root / f"subset{k}" / f"{uid(k)}.mhd", k)
    root.mkdir(exist_ok=True)
    (root / "annotations.csv").write_text("\n".join([ANNOTATIONS, *rows]) + "\n")
    return root


def test_a_partial_luna16_gives_what_is_there_with_its_folds(tmp_path):
    raw = find_dataset(luna(tmp_path, 2, 5))
    found = dataset(raw)
    assert raw.layout == "luna16"
    assert [(s.uid, s.fold, s.slices) for s in found.scans] == [(uid(2), 2, 12), (uid(5), 5, 12)]
    assert len(found.missing) == 8
    assert len(found.nodules) == 2


def test_lung_segmentations_named_like_the_scans_are_no_scans_and_tables_lie_anywhere(tmp_path):
    root = luna(tmp_path, 1)
    tiny(root / "seg-lungs-LUNA16" / f"{uid(1)}.mhd", 99)
    (root / "CSVFILES").mkdir()
    shutil.move(root / "annotations.csv", root / "CSVFILES")
    raw = find_dataset(root)
    assert len(raw.entries) == 1
    assert "subset1" in str(raw.series[uid(1)].files[0])


@pytest.mark.parametrize(("names", "rows"), [(("candidates.csv",), 1), (("candidates.csv", "candidates_V2.csv"), 2)])
def test_the_second_version_of_the_candidates_is_preferred(tmp_path, names, rows):
    root = luna(tmp_path, 1)
    for n, name in enumerate(names):
        lines = ["seriesuid,coordX,coordY,coordZ,class"] + [f"{uid(1)},{k},0,-100,0" for k in range(n + 1)]
        (root / name).write_text("\n".join(lines))
    assert len(dataset(find_dataset(root)).candidates) == rows


def test_a_scan_in_two_subsets_counts_once(tmp_path):
    root = luna(tmp_path, 1)
    shutil.copytree(root / "subset1", root / "subset2")
    found = dataset(find_dataset(root))
    assert len(found.scans) == 1
    assert any("1 scans are on disk twice" in p for p in found.problems)


def test_a_broken_header_is_told_and_kept(tmp_path):
    root = luna(tmp_path, 1, 2)
    (root / "subset1" / f"{uid(1)}.mhd").write_text("ObjectType = nonsense")
    found = dataset(find_dataset(root))
    assert len(found.scans) == 2
    assert f"scan {uid(1)}: its header cannot be read" in found.problems


def test_any_table_names_scans_by_uid_or_by_file(tmp_path):
    tiny(tmp_path / "case 7 Mustermann.mhd")
    tiny(tmp_path / "more" / f"{uid(3)}.mhd", 3)
    (tmp_path / "nodules.tsv").write_text(
        f"filename\tx\ty\tz\tdiameter\ncase 7 Mustermann.mhd\t0\t0\t-100\t8\n{uid(3)}\t0\t0\t-200\t9\n"
    )
    found = dataset(find_dataset(tmp_path))
    assert found.layout == "table"
    assert sorted((n.diameter_mm, n.uid.startswith("unnamed-")) for n in found.nodules) == [(8.0, True), (9.0, False)]
    assert "Mustermann" not in repr(found)


def test_several_tables_are_not_guessed_at_and_one_may_be_named(tmp_path):
    tiny(tmp_path / f"{uid(1)}.mhd")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"{ANNOTATIONS}\n{uid(1)},0,0,-100,{8 if name == 'a.csv' else 9}\n")
    with pytest.raises(InputError, match="2 CSV files"):
        find_dataset(tmp_path)
    assert [n.diameter_mm for n in dataset(find_dataset(tmp_path, table=tmp_path / "b.csv")).nodules] == [9.0]


def test_a_dicom_series_with_a_table_goes_by_its_patients_id(tmp_path, dicom):
    series, name = dicom
    shutil.copytree(series, tmp_path / "scan")
    (tmp_path / "t.csv").write_text(f"{ANNOTATIONS},label\n{name},0,0,-100,8,1\n")
    found = dataset(find_dataset(tmp_path))
    assert [(s.uid, s.slices) for s in found.scans] == [(name, 20)]
    assert [x.malignant for x in found.nodules] == [True]
    assert found.split_by["patient"] == "the patient's ID"


@pytest.fixture(scope="module")
def dicom(tmp_path_factory) -> tuple[Path, str]:
    """A coarse series with a patient's ID, and its UID."""
    from tasks.phantom.dicom import write_dicom_series

    hu = np.random.default_rng(0).integers(-1000, 100, (20, 64, 64)).astype(np.int16)
    grid = Geometry((20, 64, 64), (10.0, 5.0, 5.0), (-160.0, -160.0, -200.0))
    slices = tuple(SourceSlice(f"{uid(5)}.{k}", k + 1, 10.0 * k) for k in range(20))
    folder = tmp_path_factory.mktemp("dicom")
    write_dicom_series(
        Volume(hu, grid, Series(uid(5), slices=slices, slice_thickness_mm=10.0), nearest_slice=tuple(range(20))), folder
    )
    return folder, uid(5)


def test_dicom_in_the_shape_of_luna16_with_label_maps_is_a_table_with_labels(tmp_path, dicom):
    series, name = dicom
    shutil.copytree(series, tmp_path / "subset1" / name)
    tiny(tmp_path / "labels" / f"{name}.mhd")
    (tmp_path / "annotations.csv").write_text(f"{ANNOTATIONS}\n{name},0,0,-100,8\n")
    raw = find_dataset(tmp_path)
    assert (raw.layout, [e.uid for e in raw.entries], list(raw.labels)) == ("table", [name], [name])


def test_readings_without_a_scan_are_missing(tmp_path, dicom):
    shutil.copytree(dicom[0], tmp_path / "scan")
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "1.xml").write_bytes(cube_xml(uid(1)))
    (tmp_path / "xml" / "2.xml").write_bytes(cube_xml(dicom[1]))
    (tmp_path / "xml" / "3.xml").write_bytes(cube_xml(uid(2))[:300])
    raw = find_dataset(tmp_path)
    found = dataset(raw)
    assert (raw.layout, len(found.scans), found.missing) == ("lidc", 1, [uid(1)])
    assert any("1 readings (XML) are damaged" in p for p in found.problems)


@pytest.mark.parametrize("layout", ["auto", "luna16", "lidc", "table"])
def test_a_folder_that_is_no_data_set_is_one_clear_line(tmp_path, layout):
    tiny(tmp_path / "a.mhd")
    with pytest.raises(InputError) as e:
        find_dataset(tmp_path, layout)
    assert "\n" not in str(e.value)
    assert str(tmp_path) not in str(e.value)


def test_no_path_reaches_the_artifact_and_known_headers_are_not_opened_again(tmp_path, monkeypatch):
    root = luna(tmp_path / "secret-place", 1, 2)
    store, index = Store(tmp_path / "store"), PrivateIndex(tmp_path / "private")
    first = gather(store, index, root)
    assert all(b"secret-place" not in f.read_bytes() for f in first.ref.path.rglob("*") if f.is_file())
    monkeypatch.setattr("tasks.datasets.raw.image_header", lambda path: pytest.fail("a known header was read"))
    assert gather(store, index, root).ref == first.ref
