"""Scans over a Dask cluster: scheduler and workers in processes of their own, one killed in the middle; one shared store."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.flows.conftest import Cli
from tests.flows.test_ui import HANG

pytestmark = [pytest.mark.server, pytest.mark.slow]


class Cluster:
    """A scheduler and workers, each with a home of its own, as on machines of their own; the store is shared."""

    def __init__(self, cli: Cli, folder):
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(HANG)
        self.folder, self.env, self.running = folder, cli.env | {"HOUNSFIELD_STORE": str(cli.home / "store")}, []
        scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self._said(scheduler, r"(tcp://127\.0\.0\.1:\d+)")

    def worker(self, name, **env):
        home = self.folder / name
        home.mkdir()
        path = f"{self.folder / 'site'}:{ROOT}"
        more = {"HOUNSFIELD_HOME": str(home), "PYTHONPATH": path} | env
        process = self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name, **more)
        self._said(process, r"(Registered to)")
        return process

    def _start(self, kind, *arguments, **env):
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *arguments]
        path = self.folder / f"{kind}-{len(self.running)}.log"
        with path.open("w") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.env | env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        process.log = path
        self.running.append(process)
        return process

    def _said(self, process, pattern):
        return until(lambda: (m := re.search(pattern, process.log.read_text())) and m[1], 120)

    def end(self):
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def until(true, seconds):
    end = time.monotonic() + seconds
    while not (result := true()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return result


@pytest.fixture
def cluster(cli, tmp_path):
    cli.home.mkdir()
    cluster = Cluster(cli, tmp_path)
    yield cluster
    cluster.end()


@pytest.fixture
def tree(phantom_series, tmp_path):
    """Two scans: the phantom, and the phantom without its last slices under another UID."""
    import pydicom

    shutil.copytree(phantom_series, tmp_path / "tree" / "Doe^Jane")
    shutil.copytree(phantom_series, tmp_path / "tree" / "Roe^Richard")
    for path in sorted((tmp_path / "tree" / "Roe^Richard").iterdir()):
        image = pydicom.dcmread(path)
        image.SeriesInstanceUID, image.StudyInstanceUID = image.SeriesInstanceUID[:-1] + "1", "1.2.3"
        image.save_as(path)
    return tmp_path / "tree"


def committed(cli):
    """kind:digest -> inode of the manifest, of every whole artifact."""
    artifacts = (cli.home / "store" / "artifacts").glob("*/[0-9a-f]*/manifest.json")
    return {f"{p.parent.parent.name}:{p.parent.name}": p.stat().st_ino for p in artifacts}


def test_a_worker_killed_in_the_middle_loses_nothing_and_nothing_is_computed_again(cli, cluster, tree):
    doomed = cluster.worker("a")
    (cluster.folder / "a" / "hang").touch()
    command = [sys.executable, "-m", "flows.cli", "inbox", "run", str(tree), "--quiet", "0", "--dask", cluster.address]
    run = subprocess.Popen(command, cwd=ROOT, env=cli.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until((cluster.folder / "a" / "hanging").exists, 240)
        before = committed(cli)
        assert {r.partition(":")[0] for r in before} == {"volume", "lungmask"}
        cluster.worker("b")
        os.killpg(doomed.pid, signal.SIGKILL)
        output, _ = run.communicate(timeout=400)
    finally:
        run.kill()
    assert run.returncode == 0, output
    assert cli("inbox", "status", "--json").json["counts"] == {"done": 2}
    after = committed(cli)
    assert before.items() <= after.items()
    assert len([r for r in after if r.startswith("report:")]) == 2
    assert not list((cli.home / "store" / "artifacts").rglob(".tmp-*"))
    logs = output + "".join(p.log.read_text() for p in cluster.running)
    assert not [w for w in ("Doe", "Roe", "Richard") if w in logs]


def test_a_worker_with_other_weights_is_one_clear_line_before_any_scan(cli, cluster, tree):
    from artifacts.home import SHIPPED_WEIGHTS

    other = cluster.folder / "b" / "weights" / "phantom"
    cluster.worker("a")
    cluster.worker("b")
    shutil.copytree(SHIPPED_WEIGHTS / "phantom", other)
    card = other / "nodule.json"
    card.write_text(card.read_text().replace('"licence"', '"note": "another one",\n "licence"', 1))
    shutil.rmtree(tree / "Roe^Richard")
    done = cli("inbox", "run", tree, "--quiet", "0", "--dask", cluster.address)
    assert done.code == 5, done.err
    assert "1 of the cluster's 2 workers cannot take part" in done.err
    assert cli("inbox", "status", "--json").json["counts"] == {"due": 1}
    assert committed(cli) == {}


def test_a_cluster_that_is_not_there_is_one_line(cli, cluster, tree):
    cluster.end()
    done = cli("inbox", "run", tree, "--quiet", "0", "--dask", cluster.address)
    assert done.code == 7, done.err
    assert f"no Dask scheduler answers at {cluster.address}" in done.err
