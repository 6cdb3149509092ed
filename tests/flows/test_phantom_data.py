"""A folder of phantoms: LUNA16's shape, read back by what reads LUNA16, the same from the same seeds, and whole after a kill."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from artifacts.errors import InputError, UsageError
from flows.phantom_data import make_phantoms, progress_bar
from tasks.load import load
from tasks.phantom import Phantom, data_phantom
from tasks.phantom.folder import write_scan
from tasks.reading.find import find_series
from tasks.reading.read import read_scan

SEEDS = range(3, 5)  # one with nodules, one without


def make(folder: Path, seeds=SEEDS, how="mhd", style="varied", nodule_free=0.5) -> Path:
    make_phantoms(folder, seeds, style, how, nodule_free, True, 1, True)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("phantoms") / "set")


@pytest.fixture(scope="module")
def truth() -> dict[int, Phantom]:
    return {s: data_phantom(s, small=True) for s in SEEDS}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as f:
        return list(csv.DictReader(f))


def test_the_tables_have_lunas_columns_and_hold_the_truth(made: Path, truth: dict[int, Phantom]) -> None:
    annotations = rows(made / "annotations.csv")
    assert list(annotations[0])[:5] == ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    nodules = [(p.volume.series.uid, n) for p in truth.values() for n in p.nodules]
    assert len(annotations) == len(nodules) > 0
    for row, (uid, n) in zip(annotations, nodules, strict=True):
        assert row["seriesuid"] == uid
        assert [float(row[c]) for c in ("coordX", "coordY", "coordZ", "diameter_mm")] == pytest.approx(
            [*n.center_lps_mm, n.diameter_mm], abs=1e-3
        )
        assert (row["kind"], row["margin"], row["place"]) == (n.kind, n.margin, n.place)
    graded = rows(made / "annotations_with_malignancy.csv")
    assert [r["mal_bool"] for r in graded] == [str(n.malignant) for _, n in nodules]
    uids = (made / "seriesuids.csv").read_text().split()
    assert uids == [p.volume.series.uid for p in truth.values()]
    assert sum(not p.nodules for p in truth.values()) == 1, "a scan without nodules is in the list all the same"
    classes = [r["class"] for r in rows(made / "candidates_V2.csv")]
    assert classes.count("1") == len(nodules)
    assert classes.count("0") > 50
    assert (made / "annotations_excluded.csv").read_text().startswith("seriesuid,coordX")


@pytest.mark.parametrize("how", ["mhd", "dicom"])
def test_scans_are_loaded_as_they_were_made_and_truth_lies_in_the_nodule(
    how: str, made: Path, truth: dict[int, Phantom], tmp_path: Path
) -> None:
    phantom = truth[3]
    if how == "dicom":
        write_scan(phantom.volume, phantom.nodules, phantom.nodule_labels, [], tmp_path, 3, "dicom", {})
    where = next(made.glob("subset3/*.mhd") if how == "mhd" else tmp_path.glob("subset3/*"))
    (found,) = find_series(where)
    volume = load(read_scan(found))
    assert volume.series.uid == phantom.volume.series.uid
    for nodule in phantom.nodules:
        ours, theirs = (
            v.hu[tuple(np.rint(v.geometry.zyx_from_lps_mm(nodule.center_lps_mm)).astype(int))] for v in (phantom.volume, volume)
        )
        assert ours == theirs
    corners = phantom.volume.geometry.lps_mm_from_zyx([(0, 0, 0), (9, 20, 50)])
    at = volume.geometry.zyx_from_lps_mm(corners)
    assert np.abs(at - np.rint(at)).max() < 1e-3, "axes and origin survive to a thousandth of a voxel"
    assert [volume.hu[tuple(i)] for i in np.rint(at).astype(int)] == [phantom.volume.hu[0, 0, 0], phantom.volume.hu[9, 20, 50]]


def test_the_bar_ends_with_the_time_it_took() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    now = iter([0.0, *[75.0] * 100])
    with progress_bar(console) as bar:
        bar.get_time = lambda: next(now)
        task = bar.add_task("phantoms", total=1)
        bar.advance(task)
    assert "0:01:15" in console.file.getvalue()


def test_it_goes_on_where_it_was_and_ends_with_the_same_bytes(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "set")
    first = next(folder.glob("subset3/*.raw")).stat().st_mtime_ns
    (folder / ".made" / "4.json").rename(folder / ".made" / "4.part")  # what a kill leaves
    next(folder.glob("subset4/*.raw")).write_bytes(b"half")
    make(folder)
    for name in ("annotations.csv", "candidates_V2.csv", "truth.csv", "scans.csv", "seriesuids.csv"):
        assert (folder / name).read_bytes() == (made / name).read_bytes()
    for path in made.glob("subset*/*"):
        assert (folder / path.relative_to(made)).read_bytes() == path.read_bytes()
    assert first in {p.stat().st_mtime_ns for p in folder.glob("subset*/*.raw")}, "what was whole is not made again"


def test_another_kind_is_not_mixed_in_and_foreign_folders_are_left_alone(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"other settings .*style"):
        make(made, style="classic")
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="something else"):
        make(tmp_path)


def test_the_data_sets_reader_takes_it_for_luna16(cli, made: Path) -> None:
    done = cli("dataset", made, "--json")
    assert done.code == 0, done.err
    assert (done.json["layout"], done.json["scans"], done.json["missing"]) == ("luna16", 2, 0)
    assert done.json["problems_said"] == []
    assert done.json["nodules"] == len(rows(made / "annotations.csv"))


def test_the_oracle_is_above_diameter_alone(capsys) -> None:
    from flows.phantom_data import tell_oracle

    tell_oracle(None, 4000, 1, True)
    said = json.loads(capsys.readouterr().out)
    assert said["auc_oracle"] == pytest.approx(0.868, abs=0.02)
    assert said["auc_diameter"] == pytest.approx(0.784, abs=0.02)


def test_a_scan_is_planted_into_and_what_it_has_is_kept_clear_of_and_excluded(
    tmp_path: Path, truth: dict[int, Phantom], monkeypatch
) -> None:
    from flows.planting import plant_into
    from tasks.phantom.metaimage import write_metaimage

    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path / "home"))
    phantom = truth[3]
    scan, known = write_metaimage(phantom.volume, tmp_path / "scan"), tmp_path / "known.csv"
    lines = [",".join(map(str, (phantom.volume.series.uid, *n.center_lps_mm, n.diameter_mm))) for n in phantom.nodules]
    known.write_text("\n".join(["seriesuid,coordX,coordY,coordZ,diameter_mm", *lines]) + "\n")
    folder = tmp_path / "planted"
    for _ in range(2):  # the second time there is nothing left to do
        plant_into(scan, folder, range(2), 2, known, "best", "mhd", True)
    made, kept = rows(folder / "annotations.csv"), rows(folder / "annotations_excluded.csv")
    assert len({r["seriesuid"] for r in made}) == 2
    assert phantom.volume.series.uid not in {r["seriesuid"] for r in made}
    assert len(kept) == 2 * len(phantom.nodules)
    for row in made:
        at = [float(row[c]) for c in ("coordX", "coordY", "coordZ")]
        assert all(np.linalg.norm(np.subtract(at, n.center_lps_mm)) > n.diameter_mm / 2 + 8 for n in phantom.nodules)
    known.write_text("series;x;y\n1;2;3\n")
    with pytest.raises(InputError, match="seriesuid"):
        plant_into(scan, tmp_path / "other", range(1), 2, known, "best", "mhd", True)
