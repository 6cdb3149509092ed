"""A store that this machine knows and that is empty now is a disk that is not mounted: refused, and left as it is."""

import shutil

import pytest

from artifacts.errors import StoreError
from artifacts.known_stores import known_store


@pytest.fixture
def shared(tmp_path, monkeypatch):
    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOUNSFIELD_NEW_STORE", raising=False)
    return tmp_path / "shared"


@pytest.mark.parametrize("mount_point", [True, False])
def test_one_that_was_there_and_is_empty_is_refused_until_it_is_accepted(shared, monkeypatch, mount_point):
    first = known_store(shared).identity
    assert known_store(shared).identity == first
    shutil.move(shared, shared.with_name("elsewhere"))
    if mount_point:
        shared.mkdir()
    with pytest.raises(StoreError, match=r"is its disk mounted\?.*HOUNSFIELD_NEW_STORE=1") as refused:
        known_store(shared)
    assert refused.value.exit_code == 6
    assert str(shared) not in str(refused.value)
    assert not list(shared.glob("*"))  # nothing was made on the disk below
    monkeypatch.setenv("HOUNSFIELD_NEW_STORE", "1")
    second = known_store(shared).identity
    monkeypatch.delenv("HOUNSFIELD_NEW_STORE")
    assert known_store(shared).identity == second != first
    shutil.rmtree(shared)
    shutil.move(shared.with_name("elsewhere"), shared)
    assert known_store(shared).identity == first


def test_one_whose_record_is_damaged_is_no_empty_one(shared):
    store = known_store(shared)
    (store.root / "artifacts" / "volume" / "abc").mkdir(parents=True)
    (shared / "format.json").unlink()
    assert known_store(shared).root == store.root


def test_one_inside_the_home_may_be_removed_to_begin_anew(shared):
    inside = shared.parent / "home" / "store"
    known_store(inside)
    shutil.rmtree(inside)
    assert known_store(inside).root == inside
