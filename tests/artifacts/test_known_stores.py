"""A store whose disk is not mounted now is refused, and nothing is made in its place; one that was removed is begun anew."""

import shutil

import pytest

from artifacts.errors import StoreError
from artifacts.known_stores import known_store


@pytest.fixture
def shared(tmp_path, monkeypatch):
    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOUNSFIELD_NEW_STORE", raising=False)
    return tmp_path / "disk" / "shared"


@pytest.mark.parametrize("mount_point", [True, False])
def test_one_whose_disk_is_not_mounted_is_refused_until_it_is_accepted(shared, monkeypatch, mounted, mount_point):
    mounted.add(shared.parent)
    first = known_store(shared).identity
    assert known_store(shared).identity == first
    mounted.clear()
    shutil.move(shared.parent, shared.parent.with_name("elsewhere"))
    if mount_point:
        shared.parent.mkdir()
    with pytest.raises(StoreError, match=r"is its disk mounted\?.*HOUNSFIELD_NEW_STORE=1") as refused:
        known_store(shared)
    assert refused.value.exit_code == 6
    assert str(shared) not in str(refused.value)
    assert not shared.exists()  # nothing was made on the disk below
    monkeypatch.setenv("HOUNSFIELD_NEW_STORE", "1")
    second = known_store(shared).identity
    monkeypatch.delenv("HOUNSFIELD_NEW_STORE")
    assert known_store(shared).identity == second != first
    shutil.rmtree(shared.parent)
    shutil.move(shared.parent.with_name("elsewhere"), shared.parent)
    mounted.add(shared.parent)
    assert known_store(shared).identity == first


@pytest.mark.parametrize("emptied", [True, False])
def test_one_that_was_removed_is_begun_anew(shared, mounted, emptied):
    mounted.add(shared.parent)
    first = known_store(shared).identity
    shutil.rmtree(shared)
    if emptied:
        shared.mkdir()
    assert known_store(shared).identity != first


def test_one_inside_the_home_may_be_removed_to_begin_anew(shared):
    inside = shared.parent / "home" / "store"
    known_store(inside)
    shutil.rmtree(inside)
    assert known_store(inside).root == inside
