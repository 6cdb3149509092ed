"""Archives: what is in them comes out, what is hostile does not."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from artifacts.errors import InputError
from tasks.reading.source import open_source


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in entries.items():
            z.writestr(name, content)
    return path


def opened(path: Path, tmp_path: Path, **options: int) -> dict[str, bytes]:
    with open_source(path, tmp_path / "scratch", **options) as folder:
        return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_folder_and_file_are_handed_on_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "a.nii"):
        with open_source(path, tmp_path / "scratch") as given:
            assert given == path


def test_zip_is_unpacked_and_removed_again(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"one": b"1", "deep/er/two": b"22"})
    with open_source(path, tmp_path / "scratch") as folder:
        assert (folder / "deep/er/two").read_bytes() == b"22"
    assert not folder.exists()
    assert not list((tmp_path / "scratch").iterdir())


def test_zip_without_its_suffix_is_a_zip(tmp_path: Path) -> None:
    assert opened(zipped(tmp_path / "export", {"one": b"1"}), tmp_path) == {"one": b"1"}


def test_unpacked_files_are_removed_when_the_work_fails(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"one": b"1"})
    with pytest.raises(KeyError), open_source(path, tmp_path / "scratch"):
        raise KeyError
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/out", "..\\out", "C:\\out"])
def test_entries_that_climb_out_are_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", {"fine": b"1", name: b"2"})
    with pytest.raises(InputError, match="outside its own folder"):
        opened(path, tmp_path)
    assert not (tmp_path / "out").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="link"):
        opened(tmp_path / "a.zip", tmp_path)


def test_encrypted_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"one": b"1"})
    body = bytearray(path.read_bytes())
    body[6] |= 1  # local header
    body[body.index(b"PK\x01\x02") + 8] |= 1  # central directory
    path.write_bytes(body)
    with pytest.raises(InputError, match="encrypted"):
        opened(path, tmp_path)


def test_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"zeros{k}": bytes(16 * 2**20) for k in range(4)})
    assert 900 * path.stat().st_size < 64 * 2**20
    with pytest.raises(InputError, match="200 times"):
        opened(path, tmp_path)
    assert not list((tmp_path / "scratch").iterdir())


def test_bytes_are_counted_not_believed(tmp_path: Path) -> None:
    """The directory says four bytes; there are 40 MiB."""
    path = zipped(tmp_path / "a.zip", {"zeros": bytes(40 * 2**20)})
    body = bytearray(path.read_bytes())
    for at in (body.index(b"PK\x03\x04") + 22, body.index(b"PK\x01\x02") + 24):
        body[at : at + 4] = (4).to_bytes(4, "little")
    path.write_bytes(body)
    with pytest.raises(InputError):
        opened(path, tmp_path)


def test_more_than_allowed_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(2000)
    with pytest.raises(InputError, match="allowed"):
        opened(zipped(tmp_path / "a.zip", {"noise": noise}), tmp_path, max_bytes=1000)


def test_well_packed_small_files_pass(tmp_path: Path) -> None:
    """A phantom without noise deflates a hundredfold."""
    entries = {f"slice{k}": bytes(2**19) for k in range(20)}
    assert opened(zipped(tmp_path / "a.zip", entries), tmp_path) == entries


@pytest.mark.parametrize("damage", ["cut", "garbage", "flipped"])
def test_broken_archives_are_one_clear_line(tmp_path: Path, damage: str) -> None:
    path = zipped(tmp_path / "DOE^JANE.zip", {"one": np.random.default_rng(0).bytes(5000)})
    body = bytearray(path.read_bytes())
    if damage == "flipped":
        body[1000] ^= 0xFF
    path.write_bytes(body[:3000] if damage == "cut" else b"no zip at all" if damage == "garbage" else body)
    with pytest.raises(InputError, match="damaged") as e:
        opened(path, tmp_path)
    assert "DOE" not in str(e.value)


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("one", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            z.writestr("one", b"2")
    with pytest.raises(InputError, match="same name"):
        opened(tmp_path / "a.zip", tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        opened(tmp_path / "absent", tmp_path)
