"""The ledger keeps every row as it was last written, whoever dies; damage is one clear line."""

import os
import signal
import subprocess
import sys

import pytest

from artifacts.errors import StoreError
from artifacts.ledger import Entry, Ledger

WRITER = """
import sys, time
from pathlib import Path
from artifacts.ledger import Entry, Ledger
ledger = Ledger(Path(sys.argv[1]))
for n in range(10**6):
    ledger.put(Entry(f"1.2.{n}", state="done", reports=["report:aa"]))
    print(n, flush=True)
"""


def test_rows_come_back_as_they_were_put(tmp_path):
    ledger = Ledger(tmp_path / "private" / "inbox.db")
    one = Entry("1.2.3", "1.2", "failed", "too slow", tries=2, due_at=1e9, first_seen=5.0, reports=["report:ab", "report:cd"])
    ledger.put(one, Entry("1.2.4", state="done", first_seen=4.0))
    assert Ledger(ledger.path).entries() == {"1.2.4": Entry("1.2.4", state="done", first_seen=4.0), "1.2.3": one}
    assert ledger.entries("failed") == {"1.2.3": one}
    assert ledger.counts() == {"done": 1, "failed": 1}
    ledger.drop("1.2.4")
    assert ledger.entries().keys() == {"1.2.3"}
    assert ledger.path.stat().st_mode & 0o077 == 0


def test_runs_are_remembered_newest_first_and_a_dead_one_has_no_end(tmp_path):
    ledger = Ledger(tmp_path / "inbox.db")
    first, second = ledger.begin(10.0), ledger.begin(20.0)
    ledger.end(first, 15.0, {"done": 3})
    assert [(r.number, r.ended, r.counts) for r in ledger.runs()] == [(second, 0, {}), (first, 15.0, {"done": 3})]


def test_kill_9_while_writing_loses_no_row_that_was_put(tmp_path):
    path = tmp_path / "inbox.db"
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) == 20:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = Ledger(path).entries()
    assert {f"1.2.{n}" for n in range(21)} <= kept.keys()


def test_a_damaged_or_newer_ledger_is_said(tmp_path):
    (tmp_path / "inbox.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="ledger is damaged"):
        Ledger(tmp_path / "inbox.db")
    import sqlite3

    with sqlite3.connect(tmp_path / "newer.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer Hounsfield"):
        Ledger(tmp_path / "newer.db")
