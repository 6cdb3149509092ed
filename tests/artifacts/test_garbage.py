"""Garbage: what kept runs need stays, the rest goes oldest first, and nothing goes under a run in progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import ClassVar

import numpy as np
import pytest

from artifacts import using
from artifacts.artifact import Preview
from artifacts.garbage import census, chosen, remove, stale_workspaces
from artifacts.store import Store
from tasks.line import Line
from tasks.stage import stage
from tests.toy import AddParams, CountParams, Numbers, Scan, Sum, toy_line

RUN = """
import sys, time
from pathlib import Path
from artifacts.store import Store
store = Store(Path(sys.argv[1]))
store.use(store.resolve(sys.argv[2]))
print("using", flush=True)
time.sleep(600)
"""


class Volume(Numbers):
    kind: ClassVar[str] = "volume"


class Report(Sum):
    kind: ClassVar[str] = "report"


@stage("load", version=1, params=CountParams)
def load(scan: list, params: CountParams = CountParams()) -> Volume:
    return Volume(np.array(scan, dtype=np.int16).reshape(1, 1, -1)[:, :, :: params.step])


@stage("report", version=1, params=AddParams)
def report(numbers: Volume, params: AddParams = AddParams()) -> Report:
    return Report(int(numbers.values.sum()) + params.offset)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def screen(store, values=(1, 2, 3), offset=0, step=1, scan="5ca9" * 8):
    """One screening of a scan, as a process of its own would do it."""
    source = Scan(list(values), scan)
    line = Line(store, scan, params={"load": CountParams(step=step), "report": AddParams(offset=offset)})
    made = line(report, numbers=line(load, scan=source))
    store.forget()
    return made


def going(store, keep_last=1, **how):
    return [i.ref for i in chosen(census(store, keep_last), **how)]


def collect(store, **how):
    counted = census(store, how.pop("keep_last", 1))
    return [i.ref for i in chosen(counted, **how) if remove(store, i, counted.since)]


def test_the_last_report_of_each_scan_stays_with_all_it_was_made_of(store):
    old, other = screen(store, offset=1), screen(store, scan="0e" * 16)
    last = screen(store, offset=2)
    assert going(store) == [old]
    assert collect(store) == [old]
    assert set(store.refs("report")) == {last, other}
    assert len(list(store.refs("volume"))) == 2
    assert going(store) == []


def test_keep_last_keeps_more_or_none(store):
    screen(store, offset=1), screen(store, offset=2), screen(store, offset=3)
    assert len(going(store, keep_last=2)) == 1
    assert len(going(store, keep_last=3)) == 0
    assert len(going(store, keep_last=0)) == 4  # three reports and their volume


def test_the_report_last_asked_for_counts_as_the_last_though_it_was_only_reused(store):
    first = screen(store, offset=1)
    second = screen(store, offset=2)
    screen(store, offset=1)
    assert going(store) == [second]
    assert first not in going(store)


def test_what_no_screening_makes_stays(store):
    toy_line(Line(store, "5ca9" * 8), Scan([1, 2]))
    assert going(store, keep_last=0) == []


class Examples(Sum):
    kind: ClassVar[str] = "examples"

    def preview(self, inputs) -> Preview:
        return Preview(f"{self.value}")


class Trained(Examples):
    kind: ClassVar[str] = "trained"


@stage("cut", version=1, params=AddParams)
def cut(numbers: Volume, params: AddParams = AddParams()) -> Examples:
    return Examples(int(numbers.values.sum()) + params.offset)


@stage("train", version=1, params=AddParams)
def train(numbers: Examples, params: AddParams = AddParams()) -> Trained:
    return Trained(numbers.value)


def cut_and_train(store, offset):
    """As a training does it: the volume, its crops, the network; refs of all three."""
    line = Line(store, "5ca9" * 8, params={"cut": AddParams(offset=offset)})
    volume = line(load, scan=Scan([1, 2, 3], "5ca9" * 8))
    crops = line(cut, numbers=volume)
    trained = line(train, numbers=crops)
    store.forget()
    return volume, crops, trained


def test_of_what_training_reads_the_last_cut_stays_unless_it_is_asked_for(store):
    volume, old, first = cut_and_train(store, 1)
    _, last, second = cut_and_train(store, 2)
    assert set(going(store)) == {volume, old}, "trained networks stay, what they were made of need not"
    assert {i.ref for i in census(store, crops=True).garbage} == {volume, old, last}
    collect(store)
    assert {r for r in store.refs() if r.kind != "volume"} == {last, first, second}
    assert cut_and_train(store, 1) == (volume, old, first)


def made_ago(store, ref, seconds):
    """As if ``ref`` had been made so long ago."""
    import json
    from dataclasses import replace
    from datetime import UTC, datetime, timedelta

    m = store.manifest(ref)
    at = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")
    body = replace(m, made_at=at).to_json()
    assert json.loads(body)
    (ref.path / "manifest.json").write_text(body)


def test_oldest_first_to_a_size_and_nothing_before_what_was_made_of_it(store):
    reports = [screen(store, offset=k, step=k) for k in (1, 2, 3)]
    for age, r in zip((30, 20, 10), reports, strict=True):
        made_ago(store, r, age * 86400)
        (volume,) = (store.ref(*p.split(":")) for p in store.manifest(r).parents.values())
        made_ago(store, volume, 40 * 86400)
    counted = census(store, keep_last=0)
    order = [i.ref for i in counted.garbage]
    assert [r for r in order if r.kind == "report"] == reports
    for r in reports:
        (volume,) = (store.ref(*p.split(":")) for p in store.manifest(r).parents.values())
        assert order.index(volume) == order.index(r) + 1
    enough = counted.bytes - counted.garbage[0].bytes - counted.garbage[1].bytes
    assert [i.ref for i in chosen(counted, limit=enough)] == order[:2]
    assert [i.ref for i in chosen(counted, older_than=time.time() - 15 * 86400)] == order[:4]
    assert chosen(counted, limit=counted.bytes) == []


def test_never_what_a_run_in_progress_uses_nor_what_that_was_made_of(store):
    old, _last = screen(store, offset=1, step=2), screen(store, offset=2)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(store.root), str(old)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "using\n"
        assert collect(store) == []
        assert store.verify(old) == "whole"
        assert census(store, keep_last=0).in_use == sum(i.bytes for i in census(store, keep_last=0).kept) > 0
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert [r.kind for r in collect(store)] == ["report", "volume"]


def test_what_a_run_names_after_the_census_stays_too(store):
    old, _last = screen(store, offset=1), screen(store, offset=2)
    counted = census(store)
    (item,) = counted.garbage
    late = Store(store.root)
    late.use(old)
    assert not remove(store, item, counted.since)
    late.forget()  # it ended, and may have given the ref to somebody
    assert not remove(store, item, counted.since)
    assert store.verify(old) == "whole"


@pytest.mark.parametrize("shared", ["0", "1"])
def test_what_is_being_made_stays(tmp_path, monkeypatch, shared):
    monkeypatch.setenv("HOUNSFIELD_SHARED", shared)
    store = Store(tmp_path / "on a disk of its own or a shared one")
    assert store.leases == (shared == "1")
    old, _last = screen(store, offset=1), screen(store, offset=2)
    counted = census(store)
    with Store(store.root).lock(old.digest):
        assert [remove(store, i, counted.since) for i in counted.garbage] == [False]
    assert store.exists(old)


def test_a_removed_artifact_is_made_again_by_its_stage_alone(store):
    old, _last = screen(store, offset=1), screen(store, offset=2)
    collect(store)
    assert screen(store, offset=1) == old
    assert store.verify(old) == "whole"


def test_a_damaged_artifact_keeps_what_its_last_recipe_needs_while_it_is_wanted(store):
    last = screen(store, offset=2)
    (last.path / "manifest.json").write_text("{}")
    assert last in going(store)  # of no use as it is
    toy_line(Line(store, "5ca9" * 8), Scan([1, 2]))
    assert len(list(store.refs("numbers"))) == 1


def test_workspaces_whose_artifact_is_there_or_that_were_left_long_ago_go(store):
    last = screen(store)
    for digest in (last.digest, "aa" * 16, "bb" * 16):
        (store.workspace(store.ref("trained", digest)) / "epoch").write_text("7")
    for path in [store.root / "work" / ("aa" * 16), store.root / "work" / ("aa" * 16) / "epoch"]:
        os.utime(path, (0, time.time() - 10 * 86400))
    stale = stale_workspaces(store, time.time() - 7 * 86400)
    assert {p.name for p in stale} == {last.digest, "aa" * 16}
    with store.lock("aa" * 16):
        assert {p.name for p in stale_workspaces(Store(store.root), time.time() - 7 * 86400)} == {last.digest}


def test_a_collection_that_was_killed_half_way_leaves_nothing_with_a_name(store):
    old, _last = screen(store, offset=1), screen(store, offset=2)
    old.path.rename(old.path.parent / f".tmp-{old.digest}-removed-12345678")
    assert old not in set(store.refs())
    assert store.sweep() >= 1
    assert not list(old.path.parent.glob(".tmp-*"))
    assert using.in_use(store.root / "uses") == set()
