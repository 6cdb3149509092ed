"""The lock of a machine: every process on it heeds it, whatever its store; a dead one's is free."""

import os
import signal
import subprocess
import sys
import time

import pytest

from artifacts import machine_lock
from artifacts.errors import StoreError

HOLD = """
import sys, time
from pathlib import Path
from artifacts import machine_lock
machine_lock.FOLDER = Path(sys.argv[1])
with machine_lock.machine_lock("gpu-x"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_lock, "FOLDER", tmp_path)
    return tmp_path


def test_one_process_at_a_time_and_a_killed_one_gives_it_back(here):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(here)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        lock = machine_lock._opened(here / "hounsfield-gpu-x.lock")
        with pytest.raises(BlockingIOError):
            machine_lock.fcntl.flock(lock, machine_lock.fcntl.LOCK_EX | machine_lock.fcntl.LOCK_NB)
        os.close(lock)
        other.send_signal(signal.SIGKILL)
    with machine_lock.machine_lock("gpu-x"):
        pass


def test_other_cards_are_free(here):
    begun = time.monotonic()
    with machine_lock.machine_lock("gpu-x"), machine_lock.machine_lock("gpu-y"):
        assert time.monotonic() - begun < 30


def test_everybody_may_lock_and_nobody_is_led_astray(here):
    with machine_lock.machine_lock("gpu-x"):
        assert (here / "hounsfield-gpu-x.lock").stat().st_mode & 0o777 == 0o444
    (here / "hounsfield-gpu-z.lock").symlink_to(here / "elsewhere")
    with pytest.raises(StoreError), machine_lock.machine_lock("gpu-z"):
        pass
    assert not (here / "elsewhere").exists()
