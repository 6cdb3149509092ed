"""What is waited for, screened, left out, refused, tried again: decided from headers, the ledger and a clock that may jump."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace

import pytest

from artifacts.ledger import Entry
from flows.inbox import fingerprint
from flows.inbox_policy import FIRST_RETRY_S, LAST_RETRY_S, Policy, decide, in_hand, retry_after_s
from flows.scan_job import Settings
from tasks.reading.header_index import HeaderIndex
from tests.tasks.reading.small_dicom import SERIES, chest, write_series

HU = chest(6, 8, 8)
THIN, THICK, OTHER = f"{SERIES}.1", f"{SERIES}.2", f"{SERIES}.3"
YEAR = 3.2e7


class Inbox:
    """A tree of two studies (one of two series), its index, and the ledger's rows as the runs leave them."""

    def __init__(self, folder):
        self.tree, self.rows = folder / "tree", {}
        self.now = time.time() - 1e6  # so that the disk's own times, which are real, lie in the future
        self.index = HeaderIndex(folder / "private", lambda path: f"source-{path.name}")
        self.policy = Policy(quiet_s=60, partial=True)
        self.write("a", THIN, "1.2.1", SliceThickness="1")
        self.write("b", THICK, "1.2.1", SliceThickness="5")
        self.write("c", OTHER, "1.2.2", SliceThickness="1")

    def write(self, name, uid, study, **more):
        place = {"SpacingBetweenSlices": None}
        write_series(self.tree / name, HU, series=uid, StudyInstanceUID=study, **(place | more))

    def run(self, after_s=0.0, **came):
        """One run ``after_s`` later; ``came``: name's last digit -> state that screening came to. Returns the due names."""
        self.now += after_s
        self.look = self.index.look([self.tree])
        self.decided = decide(self.look, self.rows, self.index, self.policy, self.now)
        self.rows |= {e.name: e for e in self.decided.written}
        for name in self.decided.dropped:
            del self.rows[name]
        for name in self.decided.due:
            state = came.get(f"s{name[-1]}", "done")
            row = replace(self.rows[name], state=state, tries=self.rows[name].tries + 1)
            if state == "failed":
                row = replace(row, due_at=self.now + retry_after_s(row.tries))
            self.rows[name] = row
        return self.decided.due

    def states(self):
        return {name[-1]: e.state for name, e in sorted(self.rows.items())}


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path)


def test_new_series_wait_until_nobody_touches_them_and_then_the_policy_chooses(inbox):
    assert inbox.run() == []
    assert inbox.states() == {"1": "waiting", "2": "waiting", "3": "waiting"}
    assert "60 s without a change" in inbox.rows[OTHER].why
    assert inbox.run(after_s=61) == [THIN, OTHER]
    assert inbox.states() == {"1": "done", "2": "left out", "3": "done"}
    assert inbox.rows[THIN].choice == "thinnest slices (3 mm) of 2 eligible series"
    assert THIN in inbox.rows[THICK].why
    assert inbox.run(after_s=YEAR) == []


def test_a_series_that_grows_waits_again_and_so_does_its_study(inbox):
    inbox.run()
    inbox.now += 50
    os.utime(inbox.tree / "b" / "im0000", (inbox.now, inbox.now))
    assert inbox.run(after_s=11) == [OTHER]
    assert inbox.states() == {"1": "waiting", "2": "waiting", "3": "done"}
    assert "1 of 2 series of the study are still arriving" in inbox.rows[THIN].why
    assert inbox.run(after_s=61) == [THIN]


def test_what_was_copied_with_its_old_times_still_waits(inbox):
    """``cp -p`` and rsync set the time of a file back when it is whole; the disk remembers when it really changed."""
    for f in inbox.tree.rglob("im*"):
        os.utime(f, (1, 1))
    inbox.now = time.time()
    assert inbox.run() == []
    assert inbox.run(after_s=61) == [THIN, OTHER]


def test_what_has_lain_there_for_long_is_screened_at_once(inbox):
    inbox.now = time.time() + 61
    assert inbox.run() == [THIN, OTHER]
    (inbox.tree / "c" / "im0003").unlink()  # no file tells of it, its folder does
    os.utime(inbox.tree / "c", (inbox.now, inbox.now))
    assert inbox.run(after_s=30) == []
    assert inbox.run(after_s=31) == [OTHER]


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
def test_a_clock_that_jumps_delays_by_the_quiet_time_at_most(inbox, jump):
    inbox.run()
    inbox.run(after_s=jump)
    assert inbox.run(after_s=61) == ([THIN, OTHER] if jump < 0 else [])
    assert inbox.states() == {"1": "done", "2": "left out", "3": "done"}


def test_times_in_the_future_do_not_wait_for_the_future(inbox):
    for f in inbox.tree.rglob("im*"):
        os.utime(f, (time.time() + YEAR, time.time() + YEAR))
    inbox.run()
    assert inbox.run(after_s=61) == [THIN, OTHER]


def test_a_changed_series_is_screened_again_and_the_others_are_not(inbox):
    inbox.run()
    inbox.run(after_s=61)
    (inbox.tree / "c" / "im0003").unlink()
    assert inbox.run(after_s=10) == []
    assert inbox.rows[OTHER].why.startswith("its files")
    assert inbox.run(after_s=61) == [OTHER]
    inbox.write("d", f"{SERIES}.4", "1.2.1", SliceThickness="0.5")
    inbox.run(after_s=10)
    assert inbox.run(after_s=61) == []  # as thin by its spacing: the one that was screened stays the choice
    assert inbox.states()["4"] == "left out"


def test_a_failed_scan_is_tried_again_with_back_off_for_ever_but_daily(inbox):
    inbox.run()
    assert OTHER in inbox.run(after_s=61, s3="failed")
    assert inbox.run(after_s=FIRST_RETRY_S - 1) == []
    assert inbox.run(after_s=2, s3="failed") == [OTHER]
    assert inbox.run(after_s=FIRST_RETRY_S + 1) == []
    assert inbox.run(after_s=FIRST_RETRY_S, s3="failed") == [OTHER]
    assert inbox.rows[OTHER].tries == 3
    assert [retry_after_s(n) for n in (1, 2, 3, 9, 10**6)] == [600, 1200, 2400, LAST_RETRY_S, LAST_RETRY_S]
    inbox.run(after_s=-YEAR)  # the clock was set back: nobody waits a year
    assert inbox.run(after_s=61) == [OTHER]


def test_a_refused_scan_is_tried_again_only_when_it_or_the_parameters_changed(inbox):
    inbox.run()
    inbox.run(after_s=61, s3="refused")
    assert inbox.run(after_s=1e5) == []
    os.utime(inbox.tree / "c" / "im0000", (1, 1))
    inbox.run(after_s=1)
    assert inbox.run(after_s=61, s3="refused") == [OTHER]
    inbox.policy = replace(inbox.policy, settings="other")
    assert inbox.run(after_s=1) == [OTHER]


def test_a_study_without_an_eligible_series_is_refused_with_the_reason_of_each(inbox):
    inbox.policy = replace(inbox.policy, partial=False)
    inbox.run()
    assert inbox.run(after_s=61) == []
    assert inbox.states() == {"1": "refused", "2": "refused", "3": "refused"}
    assert "a part of a chest" in inbox.rows[OTHER].why
    inbox.policy = replace(inbox.policy, partial=True, settings="partial")
    assert inbox.run() == [THIN, OTHER]


def test_all_is_a_policy_too(inbox):
    inbox.policy = replace(inbox.policy, series="all")
    inbox.run()
    assert inbox.run(after_s=61) == [THIN, THICK, OTHER]


def test_broken_files_and_archives(inbox):
    (inbox.tree / "x").mkdir()
    (inbox.tree / "x" / "1.dcm").write_bytes(b"no DICOM")
    (inbox.tree / "scan.zip").write_bytes(b"PK")
    inbox.run()
    assert "source-scan.zip" in inbox.run(after_s=61)
    assert inbox.rows["source-x"].state == "refused"
    assert "1 file claims to be DICOM" in inbox.rows["source-x"].why


def test_a_run_that_died_is_continued(inbox):
    inbox.run()
    inbox.run(after_s=61)
    inbox.rows[OTHER] = replace(inbox.rows[OTHER], state="running", tries=1)
    assert inbox.run() == [OTHER]
    inbox.rows[OTHER] = replace(inbox.rows[OTHER], state="running", tries=2)
    assert inbox.run() == []  # it was in hand twice when a run died: suspect
    assert inbox.rows[OTHER].state == "failed"
    assert inbox.run(after_s=retry_after_s(2) + 1) == [OTHER]


def test_what_goes_away_is_said_and_what_was_done_stays_done(inbox):
    inbox.run()
    inbox.run(after_s=61, s3="failed")
    shutil.rmtree(inbox.tree)
    inbox.tree.mkdir()
    assert inbox.run() == []
    assert inbox.states() == {"1": "done", "3": "gone"}


def test_jobs_are_drawn_one_at_a_time(inbox):
    inbox.run()
    inbox.run(after_s=61)
    dues = in_hand(inbox.decided, inbox.rows, inbox.look, inbox.index)
    first = next(dues)
    assert first.found.uid == THIN
    shutil.rmtree(inbox.tree / "c")
    inbox.index.look([inbox.tree])
    assert list(dues) == []  # gone since: the next look says so


def test_an_entry_says_nothing_of_where_its_files_lie(inbox):
    inbox.run()
    inbox.run(after_s=61)
    assert not [e for e in inbox.rows.values() if str(inbox.tree.parent) in repr(e)]
    assert isinstance(inbox.rows[THIN], Entry)


def test_a_look_over_another_inbox_leaves_the_back_off_of_this_one_alone(inbox, tmp_path):
    inbox.run()
    inbox.run(after_s=61, s3="failed")
    before = dict(inbox.rows)
    (tmp_path / "other").mkdir()
    other = decide(inbox.index.look([tmp_path / "other"]), inbox.rows, inbox.index, inbox.policy, inbox.now)
    assert (other.written, other.dropped) == ([], [])
    assert inbox.run(after_s=1) == []
    assert inbox.rows == before


def test_a_newer_version_that_reads_or_judges_otherwise_gives_a_refused_scan_another_chance(monkeypatch):
    given = Settings("phantom", {"nodule": "a"}, "store", "id")
    before = fingerprint(given, "best")
    assert fingerprint(replace(given, checkpoints={"nodule": "b"}), "best") == before  # no weights decide it
    assert fingerprint(replace(given, versions=dict(given.versions) | {"outline": 99}), "best") != before
    monkeypatch.setattr("flows.inbox.LAYOUT", "another")
    assert fingerprint(given, "best") != before
