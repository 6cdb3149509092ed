"""kill -9, damage, a full disk, two at once: finishes with the same command, loses nothing whole, does no stage twice."""

import os
import shutil
import signal
import time

import pytest

from tests.flows.conftest import TIMEOUT_S, Cli
from tests.flows.test_cli import STAGES

# Runs `screen --direct` with one stage's function (or its artifact's writing) replaced by waiting forever.
HANG = """
import os, signal, sys, time
from flows.nodule_line import STAGES
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
stage, where, series = sys.argv[1:]
def hang(*args, **kwargs):
    print("hanging", flush=True)
    time.sleep(600)
if where == "compute":
    object.__setattr__(STAGES[stage], "function", __import__("functools").wraps(STAGES[stage].function)(hang))
else:
    kind = STAGES[stage].produces
    plain = kind.write
    kind.write = lambda self, folder: (plain(self, folder), hang())
sys.argv = ["hounsfield", "screen", series, "--direct", "--out", os.environ["HOUNSFIELD_HOME"] + "/never"]
from flows.cli import main
main()
"""


def started(cli: Cli, stage: str, where: str, series):
    process = cli.python(HANG, stage, where, series)
    for line in process.stdout:
        if line.strip() == "hanging":
            return process
    raise AssertionError(f"the run ended before it came to {stage}")


def temporary(cli: Cli):
    return list((cli.home / "store" / "artifacts").rglob(".tmp-*")) + list((cli.home / "private" / "scratch").glob("*"))


QUICK = ("load", "segment", "measure")


@pytest.mark.parametrize("stage", [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in STAGES])
def test_kill_9_in_each_stage_then_the_same_command_finishes(cli, phantom_series, stage):
    process = started(cli, stage, "compute" if stage in ("load", "segment", "grade") else "write", phantom_series)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = cli("screen", phantom_series, "--direct", "--out", cli.home / "out")
    assert done.code == 0, done.err
    assert done.err.count("reused") == STAGES.index(stage)  # no whole artifact was lost, none was made twice
    assert temporary(cli) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_cancelling_stops_within_seconds_and_leaves_no_temporary_folder(cli, phantom_series, how):
    process = started(cli, "segment", "write", phantom_series)
    asked = time.monotonic()
    process.send_signal(how)
    output, _ = process.communicate(timeout=20)
    assert time.monotonic() - asked < 20
    assert process.returncode == 130
    assert "cancelled" in output
    assert temporary(cli) == []


def test_two_processes_at_once_do_each_stage_once_and_both_succeed(cli, phantom_series):
    script = "import sys; from flows.cli import main; sys.argv = ['hounsfield', *sys.argv[1:]]; main()"
    arguments = ["screen", phantom_series, "--direct", "--out"]
    both = [cli.python(script, *arguments, cli.home / f"out-{i}") for i in range(2)]
    outputs = [p.communicate(timeout=TIMEOUT_S)[0] for p in both]
    assert [p.returncode for p in both] == [0, 0], outputs
    assert sum(o.count(" ran ") for o in outputs) == len(STAGES)
    assert sum(o.count(" reused ") for o in outputs) == len(STAGES)


@pytest.fixture
def damaged(screened, tmp_path):
    shutil.copytree(screened.home, tmp_path / "home")
    return Cli(tmp_path / "home")


KINDS = ["volume", "lungmask", "heatmap", "lumps", "crops", "findings", "report"]
HARMS = [("volume", "flip"), ("heatmap", "remove"), ("crops", "empty"), ("report", "flip")]
REST = [(k, h) for k in KINDS for h in ("flip", "remove", "empty") if (k, h) not in HARMS]


@pytest.mark.parametrize(("kind", "harm"), HARMS + [pytest.param(k, h, marks=pytest.mark.slow) for k, h in REST])
def test_a_damaged_artifact_is_noticed_said_and_mended_by_its_stage_alone(damaged, phantom_series, kind, harm):
    (folder,) = [p for p in (damaged.home / "store" / "artifacts" / kind).iterdir() if not p.name.startswith(".")]
    victim = max((p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"), key=lambda p: p.stat().st_size)
    if harm == "flip":
        body = bytearray(victim.read_bytes())
        body[len(body) // 3] ^= 0x10
        victim.write_bytes(body)
    elif harm == "remove":
        victim.unlink()
    else:
        victim.write_bytes(b"")
    done = damaged("screen", phantom_series, "--direct", "--out", damaged.home / "again", "--json")
    assert done.code == 0, done.err
    ran = [line for line in done.err.splitlines() if " ran " in line]
    assert len(ran) == 1
    assert "damaged: " in ran[0]
    assert (damaged.home / "again" / "report.json").read_text() == (damaged.home / "out" / "report.json").read_text()


FULL = """
import sys
import artifacts.heatmap
def write(self, folder):
    (folder / "half").write_bytes(b"half")
    raise OSError(28, "No space left on device", "/home/doe/secret")
artifacts.heatmap.HeatMap.write = write
sys.argv = ["hounsfield", "screen", sys.argv[1], "--direct"]
from flows.cli import main
main()
"""


def test_a_full_disk_is_one_clear_line_and_keeps_what_is_whole(cli, phantom_series):
    process = cli.python(FULL, phantom_series)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 6
    assert "disk of the store is full" in output
    assert "secret" not in output
    assert temporary(cli) == []
    done = cli("screen", phantom_series, "--direct", "--out", cli.home / "out")
    assert done.code == 0
    assert done.err.count("reused") == 2


def test_a_store_that_cannot_be_written_is_said(cli, phantom_series):
    (cli.home).mkdir()
    (cli.home / "store").write_text("a file where the store should be")
    done = cli("screen", phantom_series, "--direct")
    assert done.code == 6
    assert done.err.count("hounsfield: ") == 1
