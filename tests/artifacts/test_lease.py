"""Leases: one holder on a shared folder, no clock compared, a dead holder's lease taken over."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from filelock import Timeout

from artifacts import lease as leases
from artifacts.lease import FREE, lease, locks_for
from artifacts.store import Store

HOLD = """
import sys, time
from pathlib import Path
import artifacts.lease as leases
if sys.argv[2] == "elsewhere":
    leases.host = lambda: "0000beef"
with leases.lease(Path(sys.argv[1]), "key", heartbeat_s=0.1, expiry_s=1):
    print("held", flush=True)
    time.sleep(600)
"""

COUNT = """
import sys, time
from pathlib import Path
from artifacts.lease import lease
folder = Path(sys.argv[1])
for _ in range(40):
    with lease(folder / "locks", "key", heartbeat_s=5, expiry_s=30):
        n = int((folder / "n").read_text())
        time.sleep(0.001)
        (folder / "n").write_text(str(n + 1))
"""


def holder(folder, where="here"):
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, where], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(leases, "LOOK_S", 0.02)


def test_held_by_one_and_given_back(tmp_path):
    with lease(tmp_path, "key"):
        with pytest.raises(Timeout), lease(tmp_path, "key", wait=False):
            pass
        with lease(tmp_path, "other", wait=False):
            pass
    with lease(tmp_path, "key", wait=False):
        pass
    assert [(tmp_path / f).read_text() for f in os.listdir(tmp_path) if f.startswith("key")][-1] == FREE


def test_processes_that_count_together_lose_no_count(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "n").write_text("0")
    script = COUNT.replace("from artifacts.lease import lease", "import artifacts.lease as m; m.LOOK_S = 0.002; lease = m.lease")
    counting = [subprocess.Popen([sys.executable, "-c", script, tmp_path]) for _ in range(3)]
    assert [p.wait(120) for p in counting] == [0, 0, 0]
    assert (tmp_path / "n").read_text() == "120"


def test_a_killed_holder_on_this_machine_is_noticed_at_once(tmp_path):
    process = holder(tmp_path)
    end(process)
    with lease(tmp_path, "key", wait=False):
        pass


def test_a_dead_holder_elsewhere_is_waited_for_until_its_lease_has_run_out_and_a_live_one_for_ever(tmp_path):
    process = holder(tmp_path, "elsewhere")
    try:
        waiting = threading.Thread(target=lambda: lease(tmp_path, "key", expiry_s=1).__enter__(), daemon=True)
        waiting.start()
        waiting.join(2.5)
        assert waiting.is_alive()  # its heart beats
    finally:
        end(process)
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_clock_that_jumps_takes_no_lease_away(tmp_path, monkeypatch):
    process = holder(tmp_path, "elsewhere")
    try:
        monkeypatch.setattr(time, "time", lambda: 4e9)
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0))
        with pytest.raises(Timeout), lease(tmp_path, "key", wait=False, expiry_s=1):
            pass
    finally:
        end(process)


def test_a_holder_that_overslept_disturbs_nobody(tmp_path):
    sleeper = lease(tmp_path, "key", heartbeat_s=1000)
    sleeper.__enter__()
    (mine,) = tmp_path.iterdir()
    mine.write_text("0000beef 1 x 0")  # as if on another machine, whose heart stopped
    with lease(tmp_path, "key", expiry_s=0.1):
        sleeper.__exit__(None, None, None)
        with pytest.raises(Timeout), lease(tmp_path, "key", wait=False, expiry_s=10):
            pass


def test_a_store_settles_once_how_it_locks(tmp_path, monkeypatch):
    assert locks_for(tmp_path) == "files"
    monkeypatch.setenv("HOUNSFIELD_SHARED", "1")
    shared = Store(tmp_path / "shared")
    monkeypatch.delenv("HOUNSFIELD_SHARED")
    assert shared.leases
    again = Store(tmp_path / "shared")
    assert again.leases  # every machine locks the same way, whatever its environment says
    assert again.identity == shared.identity
    assert not Store(tmp_path / "own").leases
    with shared.lock("aa"), pytest.raises(Timeout), lease(shared.root / "locks", "aa", wait=False):
        pass


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre", "9p"])
def test_network_disks_are_known(monkeypatch, tmp_path, kind):
    monkeypatch.delenv("HOUNSFIELD_SHARED", raising=False)
    monkeypatch.setattr(leases, "_filesystem", lambda path: kind)
    assert locks_for(tmp_path) == "leases"
