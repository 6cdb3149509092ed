"""What runs in progress use is known to others, until they end, however they end."""

import os
import signal
import subprocess
import sys
import time

from artifacts.using import Uses, begin, in_use, sweep

RUN = """
import sys, time
from pathlib import Path
from artifacts.using import Uses
uses = Uses(Path(sys.argv[1]))
uses.add(["aa", "bb"])
print("using", flush=True)
time.sleep(600)
"""


def test_what_is_named_is_used_until_the_end(tmp_path):
    uses = Uses(tmp_path / "uses")
    assert in_use(tmp_path / "uses") == set()
    uses.add(["aa"])
    uses.add(["aa", "bb"])
    assert in_use(tmp_path / "uses") == {"aa", "bb"}
    uses.end()
    assert in_use(tmp_path / "uses") == set()


def test_a_killed_process_uses_nothing_any_more(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "using\n"
    assert in_use(tmp_path) == {"aa", "bb"}
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert in_use(tmp_path) == set()


def test_what_a_run_used_that_ended_after_the_beginning_still_counts(tmp_path):
    uses = Uses(tmp_path)
    since = begin(tmp_path)
    uses.add(["aa"])
    uses.end()
    assert in_use(tmp_path, since) == {"aa"}
    time.sleep(0.05)
    assert in_use(tmp_path, begin(tmp_path)) == set()


def test_a_run_on_another_machine_counts_for_a_day(tmp_path):
    other = tmp_path / "0000beef-17-12345678"
    other.write_text("aa\n")
    assert in_use(tmp_path) == {"aa"}
    os.utime(other, (0, time.time() - 25 * 3600))
    assert in_use(tmp_path) == set()
    assert sweep(tmp_path) == 1
    assert not other.exists()


def test_sweeping_leaves_a_run_in_progress_alone(tmp_path):
    uses = Uses(tmp_path)
    uses.add(["aa"])
    assert sweep(tmp_path, kept_s=-1) == 0
    uses.end()
    assert sweep(tmp_path, kept_s=-1) == 1
