"""A disk that is too small is said before a run starts: from headers, for what would really be written."""

import shutil
import zipfile
from types import SimpleNamespace

import pytest

from artifacts.errors import StoreError
from flows import room
from tasks.line import Step
from tasks.reading import source
from tests.flows.in_process import InProcess

SERIES = SimpleNamespace(n_slices=300, rows=512, columns=512)


def steps(*running):
    return [Step(s, None, "run" if s in running else "reuse", "") for s in ("load", "segment", "group", "report")]


def test_only_what_would_run_counts():
    voxels = 300 * 512 * 512
    assert room.bytes_needed(SERIES, steps("load", "segment", "group")) == 3 * voxels + room.MARGIN
    assert room.bytes_needed(SERIES, steps("segment")) == voxels + room.MARGIN
    assert room.bytes_needed(SERIES, steps()) == 0


def little(monkeypatch, module, free):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(module, "shutil", SimpleNamespace(disk_usage=lambda _p: usage._replace(free=free), rmtree=shutil.rmtree))


def test_a_screening_is_refused_before_its_first_stage_and_a_reused_one_is_not(screened, phantom_series, tmp_path, monkeypatch):
    little(monkeypatch, room, 1000)
    new = InProcess(tmp_path / "home")("screen", phantom_series, "--direct", "--out", tmp_path / "out")
    assert new.code == 6
    assert "has 1 kB free, and this scan may need" in new.err
    assert "hounsfield gc" in new.err
    assert " ran " not in new.err
    home = shutil.copytree(screened.home, tmp_path / "copied")
    assert InProcess(home)("screen", phantom_series, "--direct", "--out", tmp_path / "out").code == 0


def test_a_zip_that_the_disk_cannot_hold_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.writestr("a.dcm", bytes(5000))
    little(monkeypatch, source, 1000)
    with pytest.raises(StoreError, match="unpacks to"), source.open_source(tmp_path / "scan.zip", tmp_path / "scratch"):
        pass
    assert not list((tmp_path / "scratch").rglob("*.dcm"))
