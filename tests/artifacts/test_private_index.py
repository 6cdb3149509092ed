"""Tokens say nothing of a path, a damaged index is one clear line, scratch folders do not pile up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.discreet import kept
from artifacts.errors import StoreError
from artifacts.private_index import PrivateIndex
from tasks.reading.header_index import HeaderIndex


def test_a_token_leads_back_to_its_path_and_says_nothing_of_it(tmp_path):
    index = PrivateIndex(tmp_path / "private")
    path = Path(os.fsdecode(b"/data/M\xfcller^Jane"))
    token = index.token(path)
    assert token == index.token(path)
    assert token.startswith("source-")
    assert "ller" not in token
    assert PrivateIndex(tmp_path / "private").path(token) == path
    assert PrivateIndex(tmp_path / "other").token(path) != token  # nobody can guess a name and check it
    assert index.path("/a/plain/path") == Path("/a/plain/path")
    assert (tmp_path / "private").stat().st_mode & 0o077 == 0


def test_whatever_comes_first_the_private_folder_is_its_owners_alone(tmp_path, monkeypatch):
    """The inbox's index, scratch and the failures lie inside it, and may be made before it is."""
    first = {
        "headers": lambda private: HeaderIndex(private / "headers", str).look([tmp_path]),
        "scratch": lambda private: PrivateIndex(private).scratch().__enter__(),
        "failures": lambda private: kept(ValueError("Doe^Jane")),
    }
    for name, make in first.items():
        monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path / name))
        make(tmp_path / name / "private")
        assert (tmp_path / name / "private").stat().st_mode & 0o077 == 0, name


def test_a_damaged_index_is_one_clear_line(tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "cache.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="private index is damaged"):
        PrivateIndex(tmp_path / "private").token(Path("/x"))


def test_scratch_goes_and_what_a_killed_process_left_is_swept(tmp_path):
    script = """
import sys, time
from pathlib import Path
from artifacts.private_index import PrivateIndex
from tasks.reading.header_index import HeaderIndex
with PrivateIndex(Path(sys.argv[1])).scratch() as scratch:
    (scratch / "slice").write_text("x")
    print("here", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "p"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    (left,) = (tmp_path / "p" / "scratch").iterdir()
    with PrivateIndex(tmp_path / "p").scratch() as own:
        assert left.exists()  # it is still in use
    assert not own.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with PrivateIndex(tmp_path / "p").scratch():
        assert not left.exists()
