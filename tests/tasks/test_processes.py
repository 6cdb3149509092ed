"""Work in processes: in order, heard as it is done, and nothing of it outlives a parent that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.processes import in_processes

SLEEPERS = """
import os, sys, time
from pathlib import Path
from tasks.processes import in_processes

def sleep(k):
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    in_processes(sleep, [1, 2], 2)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_each_is_heard(workers: int) -> None:
    heard: list[int] = []
    assert in_processes(abs, [-3, 1, -2], workers, heard.append) == [3, 1, 2]
    assert sorted(heard) == [1, 2, 3]
    assert in_processes(abs, [], workers) == []


def test_what_goes_wrong_in_a_process_is_heard_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        in_processes(int, ["1", "x", "2"], 2)


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script, pids = tmp_path / "sleepers.py", tmp_path / "pids"
    script.write_text(SLEEPERS)
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(pids)], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    try:
        until(lambda: len(list(pids.iterdir())) == 2)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    until(lambda: not any(alive(int(p.name)) for p in pids.iterdir()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)
