"""A scan's process: ended when it takes too long, its death a result, its memory gone; whoever started it may die too."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.scan_process import Ended, ScanProcess, ScanProcesses
from tests.conftest import ROOT
from tests.flows.odd_jobs import Odd

OWNER = """
import sys
from flows.scan_process import ScanProcess
from tests.flows.odd_jobs import Odd
ScanProcess(1).run(Odd("sleep"), 600, lambda line: print(line, flush=True), None)
"""


SCREENING = """
import sys
from contextlib import nullcontext
from pathlib import Path
from artifacts.home import find_weights
from artifacts.store import Store
from flows import scan_job, scan_process
scan_process.import_everything()
known = {name.partition(".")[0] for name in sys.modules} | sys.stdlib_module_names
store = Store(Path(sys.argv[2]))
settings = scan_job.Settings(
    "phantom", {role: c.digest for role, c in find_weights("phantom").items()}, str(store.root), store.identity
)
result = scan_job.do(scan_job.Job("scan", settings, source=Path(sys.argv[1])), lambda device: nullcontext())
print(result.state, result.ran, sorted({name.partition(".")[0] for name in sys.modules} - known))
"""


@contextmanager
def no_slot(device):
    yield


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    os.environ["HOUNSFIELD_HOME"] = str(tmp_path_factory.mktemp("home"))
    process = ScanProcess(1)
    yield process
    process.end()
    del os.environ["HOUNSFIELD_HOME"]


def run(process, what, limit_s=60.0, slot=no_slot):
    return process.run(Odd(what), limit_s, lambda line: None, slot)


def test_each_job_has_a_fresh_process_and_failures_are_results(process):
    first, second = run(process, "pid"), run(process, "pid")
    assert first.why != second.why
    assert first.state == "failed"
    refused, defect = run(process, "refuse"), run(process, "defect")
    assert (refused.state, refused.why) == ("refused", "no lungs")
    assert defect.why == "unexpected ZeroDivisionError; details in $HOUNSFIELD_HOME/private/failures"
    busy = run(process, "busy")
    assert (busy.state, busy.passing) == ("failed", True)


def test_a_job_that_kills_its_process_is_said_and_the_next_one_runs(process):
    with pytest.raises(Ended, match="ended by signal 9"):
        run(process, "die")
    assert run(process, "refuse").state == "refused"


def test_the_time_limit_holds_even_where_nothing_listens(process):
    started = time.monotonic()
    with pytest.raises(Ended, match="took longer than 1 s and its process was ended"):
        run(process, "deaf", limit_s=1)
    assert time.monotonic() - started < 30
    assert run(process, "refuse").state == "refused"


def test_a_scan_whose_run_is_ended_is_not_said_to_have_died_of_itself(process, monkeypatch, tmp_path):
    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path))
    crew = ScanProcesses(1)
    with crew.one() as ours, pytest.raises(Ended, match="the run was ended in the middle of it"):
        ours.run(Odd("sleep"), 60, lambda _line: crew.close(), no_slot)


def test_the_gpu_slot_is_held_by_whoever_started_the_job_and_waiting_for_it_does_not_count(process):
    held = []

    @contextmanager
    def slot(device):
        time.sleep(1.5)
        held.append(device)
        yield
        held.append("free")

    assert run(process, "gpu", limit_s=1.2, slot=slot).why == "had the slot"
    assert held == ["cuda:0", "free"]


def test_kill_9_of_whoever_started_it_ends_the_scan_too(tmp_path):
    env = os.environ | {"HOUNSFIELD_HOME": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    pid = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    end = time.monotonic() + 30
    while (stat := Path(f"/proc/{pid}/stat")).exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.1)


def test_what_a_scan_needs_is_imported_before_the_fork(tmp_path, phantom_series):
    """Stages import lazily; a helper that left that to its children made each scan wait for PyTorch."""
    command = [sys.executable, "-c", SCREENING, str(phantom_series), str(tmp_path / "store")]
    env = os.environ | {"HOUNSFIELD_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=env)
    assert done.stdout.strip() == "done 9 []"
