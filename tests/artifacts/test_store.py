"""What happens to the store behind its back: files that cannot be read, that go away, that a killed process left."""

import os
import shutil
import time

import pytest

from artifacts.errors import StoreError
from artifacts.store import Store, Unreadable
from tasks.line import Line
from tests.toy import Numbers, Scan, Sum, add, calls, toy_line

SCAN = Scan([1, 2, 3, 4])


@pytest.fixture
def store(tmp_path):
    calls.clear()
    return Store(tmp_path / "store")


def run(store, **settings):
    return toy_line(Line(store, SCAN.digest, **settings), SCAN)


def numbers_of(store):
    (ref,) = store.refs("numbers")
    return ref


class Heard:
    def __init__(self):
        self.lines = []

    def started(self, stage): ...
    def progress(self, share): ...
    def finished(self, stage, ref, outcome, seconds):
        self.lines.append((stage, outcome.headline))


def test_a_whole_artifact_that_cannot_be_read_is_made_again_like_a_damaged_one(store, monkeypatch):
    run(store)
    before = numbers_of(store)
    read, times = Numbers.read, []

    def fails_once(folder):
        times.append(folder)
        if len(times) == 1:
            raise KeyError("of another version")
        return read(folder)

    monkeypatch.setattr(Numbers, "read", staticmethod(fails_once))
    fresh, heard = Store(store.root), Heard()
    ref = run(fresh, refresh=frozenset({"add"}), watcher=heard)
    assert fresh.open(ref, Sum).value == 10
    assert calls == ["count", "add", "count", "add"]
    assert numbers_of(fresh) == before
    assert ("count", "sum 10 (damaged: it could not be read)") in heard.lines


def test_what_the_line_did_not_make_itself_is_an_error_that_says_how_to_mend_it(store, monkeypatch):
    run(store)
    monkeypatch.setattr(Numbers, "read", staticmethod(lambda folder: 1 / 0))
    fresh = Store(store.root)
    with pytest.raises(Unreadable, match=r"numbers:.* cannot be read \(ZeroDivisionError\).*--refresh"):
        Line(fresh, SCAN.digest, refresh=frozenset({"add"}))(add, numbers=numbers_of(fresh))
    assert calls == ["count", "add"]


def test_a_file_that_the_disk_does_not_give_back_is_damage(store, monkeypatch):
    run(store)
    from artifacts import manifest

    def broken(path):
        raise OSError(5, "Input/output error", "/home/doe/secret")

    monkeypatch.setattr(manifest, "file_sum", broken)
    state = store.verify(numbers_of(store))
    assert state == "damaged: a file of it cannot be read (Input/output error)"


def test_looking_through_a_store_survives_what_another_removes_meanwhile(store, monkeypatch):
    run(store)
    from pathlib import Path

    plain = Path.stat

    def stat(self, **kw):
        if self.parent.name == "numbers":
            raise FileNotFoundError(2, "gone")
        return plain(self, **kw)

    monkeypatch.setattr(Path, "stat", stat)
    assert [r.kind for r in store.refs()] == ["sum"]


def test_files_that_killed_writers_left_are_swept_and_others_are_not(store):
    run(store)
    scan = store.root / "latest" / SCAN.digest
    left = [scan / ".count.json.4711-0a1b2c3d", store.root / ".format.json.4711-0a1b2c3d"]
    kept = [scan / "count.json", scan / ".count.json.4712-0a1b2c3d", store.root / ".nfs0001"]
    for path in left + kept[1:]:
        path.write_text("half")
    for path in left:
        os.utime(path, (0, time.time() - 4000))
    assert store.sweep() == 2
    assert not any(p.exists() for p in left)
    assert all(p.exists() for p in kept)


@pytest.mark.parametrize("where", ["store", "store/below"])
def test_a_file_in_place_of_the_store_is_one_clear_line(tmp_path, where):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match=r"^there is a file where the store should be: name a folder with --store$") as e:
        Store(tmp_path / where)
    assert e.value.private == str(tmp_path / where)


@pytest.mark.parametrize("instead", ["a file", "a link to nowhere", "a link to a folder"])
def test_what_stands_in_an_artifacts_place_is_replaced_and_nothing_is_left(store, tmp_path, instead):
    before = run(store)
    folder = numbers_of(store).path
    shutil.rmtree(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    if instead == "a file":
        folder.write_text("x")
    else:
        folder.symlink_to(tmp_path / ("gone" if instead == "a link to nowhere" else "mine"))
    fresh = Store(store.root)
    assert run(fresh, refresh=frozenset({"add"})) == before
    assert folder.is_dir()
    assert not folder.is_symlink()
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    assert (tmp_path / "mine" / "precious").exists()
