"""A real server, a worker and the deployments of prefect.yaml: what a person sees, and that cancelling leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.conftest import ROOT
from tests.flows.conftest import Cli
from tests.flows.test_cli import STAGES

pytestmark = [pytest.mark.server, pytest.mark.slow]

# Put on the path of the worker's runs: HeatMap.write waits where the file `hang` lies beside the store.
HANG = """
import os, pathlib, time
import artifacts.heatmap
plain = artifacts.heatmap.HeatMap.write
def write(self, folder):
    plain(self, folder)
    sign = pathlib.Path(os.environ["HOUNSFIELD_HOME"], "hang")
    if sign.exists():
        sign.with_name("hanging").touch()
        time.sleep(600)
artifacts.heatmap.HeatMap.write = write
"""


class Ui:
    def __init__(self, home, port):
        self.cli, self.url = Cli(home), f"http://127.0.0.1:{port}"
        (home / "site").mkdir(parents=True)
        (home / "site" / "sitecustomize.py").write_text(HANG)
        env = self.cli.env | {"PYTHONPATH": f"{home / 'site'}:{ROOT}"}
        command = [sys.executable, "-m", "flows.cli", "ui", "--port", str(port)]
        self.log = (home / "ui.log").open("w")
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        self.until(lambda: self.deployments().keys() >= {"screen", "inbox", *STAGES}, 300)

    def api(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/{path}", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    def deployments(self):
        try:
            return {d["name"]: d for d in self.api("deployments/filter", {})}
        except OSError:
            return {}

    def until(self, true, seconds):
        end = time.monotonic() + seconds
        while not (result := true()):
            assert time.monotonic() < end, (self.cli.home / "ui.log").read_text()[-3000:]
            assert self.process.poll() is None, (self.cli.home / "ui.log").read_text()[-3000:]
            time.sleep(0.5)
        return result

    def start(self, name, **parameters):
        return self.api(f"deployments/{self.deployments()[name]['id']}/create_flow_run", {"parameters": parameters})["id"]

    def ended(self, run):
        def final():
            state = self.api(f"flow_runs/{run}")["state"]
            return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        return self.until(final, 120)

    def artifacts(self, run):
        found = self.api("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {a["key"].rsplit("-", 1)[0]: a for a in found}

    def page(self, path):
        """The page as a browser builds it, scripts run."""
        chromium = shutil.which("chromium") or pytest.skip("no chromium here: apt install chromium")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=15000", "--dump-dom"]
        return subprocess.run([*command, self.url + path], capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def ui(tmp_path_factory):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    ui = Ui(tmp_path_factory.mktemp("ui"), port)
    yield ui
    ui.process.send_signal(signal.SIGTERM)
    ui.process.wait(40)


def test_a_run_shows_its_previews_also_for_reused_artifacts(ui, phantom_series):
    for expected in ("Completed", "Reused"):
        run = ui.start("screen", source=str(phantom_series))
        assert ui.ended(run)["type"] == "COMPLETED"
        shown = ui.artifacts(run)
        assert shown.keys() == {"volume", "lungmask", "heatmap", "lumps", "crops", "scores", "findings", "report"}
        for kind in ("volume", "lungmask", "heatmap", "findings"):
            assert "data:image/" in shown[kind]["data"]
        assert all("### Lineage" in a["data"] for a in shown.values())
        states = ui.api("task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run]}}})
        assert {t["state"]["name"] for t in states} == {expected}
    page = ui.page(f"/artifacts/artifact/{shown['findings']['id']}")
    assert "Findings" in page
    assert "data:image/" in page


def test_the_forms_show_titles_and_descriptions(ui):
    page = ui.page(f"/deployments/deployment/{ui.deployments()['group']['id']}/run")
    for text in ("Threshold", "Peak separation", "Any artifact of the scan", "Refresh"):
        assert text in page


def test_one_stage_by_itself_from_its_own_form(ui, phantom_series):
    ui.ended(ui.start("screen", source=str(phantom_series)))
    (volume,) = (ui.cli.home / "store" / "artifacts" / "volume").iterdir()
    run = ui.start("outline", ref=f"volume:{volume.name}", params={"close_mm": 10})
    assert ui.ended(run)["type"] == "COMPLETED"
    assert ui.artifacts(run).keys() == {"lungmask"}


def test_the_inbox_screens_a_folder_tree_with_a_report_a_scan_and_names_nobody(ui, phantom_series):
    inbox = ui.cli.home / "inbox"
    shutil.copytree(phantom_series, inbox / "2026" / "Doe^Jane")
    (inbox / "Roe^Richard").mkdir()
    (inbox / "Roe^Richard" / "1.dcm").write_bytes(b"no DICOM")
    run = ui.start("inbox", folders=[str(inbox)], quiet_s=0)
    assert ui.ended(run)["type"] == "COMPLETED"
    kept = ui.api("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    shown = {a["key"]: a for a in kept}
    assert {"inbox", "inbox-status", "inbox-progress"} <= shown.keys()
    assert sorted(row["state"] for row in json.loads(shown["inbox"]["data"])) == ["done", "refused"]
    assert "| done | 1 |" in shown["inbox-status"]["data"]
    (report,) = [a for key, a in shown.items() if key.startswith("report-")]
    assert "### Lineage" in report["data"]
    (scan,) = ui.api("task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run]}}})
    assert scan["name"].startswith("2.25.")
    logs = ui.api("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    assert "outline ran" in json.dumps(logs)
    runs = ui.api(f"flow_runs/{run}")["state"]
    assert not [w for w in ("Doe", "Roe") if w in json.dumps([logs, kept, scan, runs])]
    again = ui.start("inbox", folders=[str(inbox)], quiet_s=0)
    assert ui.ended(again)["type"] == "COMPLETED"
    assert ui.api("task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [again]}}}) == []


def test_a_backfill_screens_again_what_changes_and_shows_how_far_it_is(ui, phantom_series):
    ui.ended(ui.start("screen", source=str(phantom_series)))
    run = ui.start("backfill", settings=["measure.merge_mm=11"])
    assert ui.ended(run)["type"] == "COMPLETED"
    shown = {a["key"]: a for a in ui.api("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})}
    assert shown["backfill-progress"]["data"] == "100.0" or float(shown["backfill-progress"]["data"]) == 100
    table = {row["stage"]: (row["run"], row["because"]) for row in json.loads(shown["backfill"]["data"])}
    assert table["group"] == (0, "")
    assert table["measure"][0] == 1
    assert "merge_mm" in table["measure"][1]


def test_a_cancelled_inbox_run_ends_the_scan_it_is_at_and_the_next_run_goes_on(ui, phantom_series):
    home = ui.cli.home
    tree = home / "cancelled"
    shutil.copytree(phantom_series, tree / "one")
    for f in sorted((tree / "one").iterdir())[:2]:
        f.unlink()  # another scan than the others
    (home / "hang").touch()
    try:
        run = ui.start("inbox", folders=[str(tree)], quiet_s=0)
        ui.until((home / "hanging").exists, 90)
        ui.api(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        assert ui.ended(run)["type"] == "CANCELLED"
        ui.until(lambda: not list((home / "store" / "artifacts").rglob(".tmp-*")), 30)
    finally:
        os.remove(home / "hang")
        (home / "hanging").unlink(missing_ok=True)
    run = ui.start("inbox", folders=[str(tree)], quiet_s=0)
    assert ui.ended(run)["type"] == "COMPLETED"
    shown = {a["key"]: a for a in ui.api("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})}
    assert [row["state"] for row in json.loads(shown["inbox"]["data"])] == ["done"]


def test_a_run_cancelled_in_the_ui_stops_within_seconds_and_leaves_nothing(ui, phantom_series):
    home = ui.cli.home
    (home / "hang").touch()
    try:
        run = ui.start("screen", source=str(phantom_series), refresh=["segment"])
        ui.until((home / "hanging").exists, 60)
        asked = time.monotonic()
        ui.api(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        assert ui.ended(run)["type"] == "CANCELLED"
        assert time.monotonic() - asked < 60
        ui.until(lambda: not list((home / "store" / "artifacts").rglob(".tmp-*")), 30)
    finally:
        os.remove(home / "hang")
    run = ui.start("screen", source=str(phantom_series))
    assert ui.ended(run)["type"] == "COMPLETED"
