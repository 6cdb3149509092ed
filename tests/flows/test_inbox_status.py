"""What the inbox tells whoever looks after it: what waits, what was found, where a scan lies."""

import json
import shutil
import sqlite3
import time

import pytest
from filelock import FileLock

from artifacts.ledger import Entry, Ledger, Run
from tests.flows.in_process import InProcess


@pytest.fixture
def tree(screened, phantom_series, tmp_path):
    """A home that knows the phantom already, and an inbox with it and a folder of broken files."""
    home = shutil.copytree(screened.home, tmp_path / "home")
    shutil.copytree(phantom_series, tmp_path / "inbox" / "Doe^Jane")
    (tmp_path / "inbox" / "Roe^Richard").mkdir()
    (tmp_path / "inbox" / "Roe^Richard" / "1.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"broken" * 9)
    return InProcess(home), tmp_path / "inbox"


def test_what_waits_is_said_and_what_was_screened_is_found_again(tree):
    run, inbox = tree
    waits = run("inbox", "run", inbox, "--direct")
    assert waits.code == 0, waits.err
    assert "0 to screen, 2 still arriving" in waits.err
    assert run("inbox", "run", inbox, "--direct", "--quiet", "0").code == 0
    about = run("inbox", "status", "--json").json
    (done,), (refused,) = about["last_done"], about["refused"]
    assert done["found"].startswith("findings ")
    text = run("inbox", "status").out
    assert done["scan"] in text  # whole, however narrow the table
    assert done["reports"][0] in text
    for named, folder in ((done["scan"], "Doe^Jane"), (done["reports"][0], "Doe^Jane"), (refused["scan"], "Roe^Richard")):
        assert run("inbox", "where", named).out == f"{inbox / folder}\n"
    assert "Doe" not in text + json.dumps(about)
    assert run("backfill", "--direct", "--set", "report.title=Again").code == 0
    assert "1 artifacts removed" in run("gc").out  # the first report, which the ledger knows
    (after,) = run("inbox", "status", "--json").json["last_done"]
    assert after["reports"] != done["reports"]
    assert after["found"] == done["found"]
    assert run("show", *after["reports"]).code == 0
    nobody = run("inbox", "where", "1.2.3")
    assert nobody.code == 2
    assert "nobody here knows '1.2.3'" in nobody.err


def test_a_cancelled_run_blames_no_scan_for_it(tree, monkeypatch):
    """However often runs are cancelled, the next one takes the scan up at once."""
    run, inbox = tree

    def cancelled(jobs, _crew):
        next(jobs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flows.inbox.each", cancelled)
        for _ in range(3):
            assert run("inbox", "run", inbox, "--direct", "--quiet", "0").code == 130
            about = run("inbox", "status", "--json").json
            assert about["counts"] == {"due": 1, "refused": 1}
            assert {r["how"] for r in about["runs"]} == {"cancelled"}
            assert all(r["ended"] for r in about["runs"])
    assert run("inbox", "run", inbox, "--direct", "--quiet", "0", "--json").json == {"done": 1}
    assert run("inbox", "status", "--json").json["runs"][0]["how"] == "done"
    for scan in inbox.iterdir():
        shutil.rmtree(scan)
    gone = run("inbox", "run", inbox, "--direct")
    assert "all 2 series of source-" in gone.err
    how = run("inbox", "status", "--json").json["runs"][0]["how"]
    assert how.startswith("done; all 2 series of source-")
    assert "is a disk not mounted?" in how


def test_a_run_that_goes_on_one_that_died_and_one_that_failed_are_told_apart(tmp_path):
    run = InProcess(tmp_path / "home")
    how = lambda: run("inbox", "status", "--json").json["runs"][0]["how"]  # noqa: E731
    gone = tmp_path / "Doe^Jane"
    assert run("inbox", "run", gone, "--direct").code == 3
    assert how() == "failed: 1 of 1 inbox folders are not there: mount or make them, or name other ones"
    (said,) = [x for x in run("doctor", "--json").json["lines"] if x["what"] == "inbox"]
    assert (said["state"], said["mend"]) == ("warn", "hounsfield inbox status")
    assert "failed: 1 of 1 inbox folders are not there" in said["text"]
    ledger = Ledger(run.home / "private" / "inbox.db")
    ledger.begin(time.time())
    assert how().startswith("died")
    with FileLock(run.home / "private" / "inbox.lock"):
        assert how() == "going on"
        shown = run("inbox", "status").out
        assert "going on" in shown
        assert "nothing new" not in shown  # nobody knows yet


def test_a_report_that_was_removed_is_said(tmp_path):
    run = InProcess(tmp_path / "home")
    assert run("inbox", "run", tmp_path, "--direct").code == 0
    Ledger(run.home / "private" / "inbox.db").put(Entry("1.2.3", state="done", reports=["report:" + "ab" * 16]))
    (done,) = run("inbox", "status", "--json").json["last_done"]
    assert done["found"] == "its report was removed: `hounsfield backfill` makes it again"


def test_a_ledger_of_before_is_taken_over(tmp_path):
    with sqlite3.connect(tmp_path / "inbox.db") as db:
        db.execute("CREATE TABLE runs (number INTEGER PRIMARY KEY, started, ended, counts)")
        db.execute("INSERT INTO runs VALUES (1, 5.0, 6.0, '{\"done\": 2}')")
    assert Ledger(tmp_path / "inbox.db").runs() == [Run(1, 5.0, 6.0, {"done": 2})]
