"""A real server, a worker and the deployments of prefect.yaml in a real browser: what a person sees, and what cancelling leaves.

With HOUNSFIELD_SHOTS=docs/img the pictures of docs/ui.md are taken anew.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from artifacts.ledger import Ledger
from flows.slots import make_slots
from tests.conftest import ROOT
from tests.flows.browser import CHROMIUM, Browser
from tests.flows.conftest import Cli
from tests.flows.test_cli import STAGES
from tests.flows.test_deployments import DEPLOYMENTS

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium here: apt install chromium"),
]

PATIENCE_S = 600  # for a run on a busy machine
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

# Put on the path of the worker's runs: HeatMap.write waits where the file `hang` lies beside the store, as if on a GPU: in a
# run of Prefect it holds the slot of the first one.
HANG = """
import os, pathlib, time
import artifacts.heatmap
plain = artifacts.heatmap.HeatMap.write
def write(self, folder):
    plain(self, folder)
    sign = pathlib.Path(os.environ["HOUNSFIELD_HOME"], "hang")
    if sign.exists():
        from tasks.stage import gpu_slot
        with gpu_slot("cuda:0"):
            sign.with_name("hanging").touch()
            time.sleep(1200)
artifacts.heatmap.HeatMap.write = write
"""


class Ui:
    """`hounsfield ui` with a home of its own, asked over its API."""

    def __init__(self, home, port, root):
        self.cli, self.url = Cli(home), f"http://127.0.0.1:{port}"
        (home / "site").mkdir(parents=True)
        (home / "site" / "sitecustomize.py").write_text(HANG)
        env = self.cli.env | {"PYTHONPATH": f"{home / 'site'}:{ROOT}"}
        command = [sys.executable, "-m", "flows.cli", "ui", "--port", str(port), "--root", str(root), "--root", str(home)]
        self.log = (home / "ui.log").open("w")
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        try:
            self.until(lambda: "(CTRL-C ends)" in (home / "ui.log").read_text(), PATIENCE_S)
            make_slots(f"{self.url}/api", 1)
            self.shown = self.api("deployments/filter", {"limit": 200})
        except BaseException:
            self.end()
            raise

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def api(self, path, body=None, method=None):
        """What the server answers; one that is busy (503) is asked again."""
        data = None if body is None else json.dumps(body).encode()
        about = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/{path}", data, about, method=method)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    return json.loads(reply.read() or b"null")
            except (urllib.error.HTTPError, TimeoutError) as e:
                if getattr(e, "code", 503) != 503 or time.monotonic() > end:
                    raise
                time.sleep(1)

    @property
    def deployments(self):
        return {d["name"]: d for d in self.shown}

    def until(self, true, seconds):
        end = time.monotonic() + seconds
        while not (result := true()):
            assert time.monotonic() < end, (self.cli.home / "ui.log").read_text()[-3000:]
            assert self.process.poll() is None, (self.cli.home / "ui.log").read_text()[-3000:]
            time.sleep(0.5)
        return result

    def start(self, name, **parameters):
        return self.api(f"deployments/{self.deployments[name]['id']}/create_flow_run", {"parameters": parameters})["id"]

    def ended(self, run):
        def final():
            state = self.api(f"flow_runs/{run}")["state"]
            return state if state["type"] in ENDED else None

        return self.until(final, PATIENCE_S)

    def completed(self, name, **parameters):
        run = self.start(name, **parameters)
        state = self.ended(run)
        assert state["type"] == "COMPLETED", (state["message"], self.logs(run)[-3000:])
        return run

    def logs(self, run):
        return json.dumps([x["message"] for x in self.api("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})])

    def artifacts(self, run):
        found = self.api("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {(a["key"] or a["type"]).rpartition("-")[0] or a["key"] or a["type"]: a for a in found}

    def held(self, name):
        """How many slots of a concurrency limit are taken."""
        return self.api(f"v2/concurrency_limits/{name}")["active_slots"]

    def unended(self, deployment):
        wanted = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}}
        about = {"deployments": {"id": {"any_": [deployment["id"]]}}, "flow_runs": {"state": wanted}}
        return self.api("flow_runs/filter", about)

    def refs(self, kind):
        """The artifacts of a kind, oldest first."""
        folders = [p for p in (self.cli.home / "store" / "artifacts" / kind).glob("*") if not p.name.startswith(".")]
        return [f"{kind}:{p.name}" for p in sorted(folders, key=lambda p: p.stat().st_mtime)]


@pytest.fixture(scope="module")
def ui(tmp_path_factory, phantom_series):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    ui = Ui(tmp_path_factory.mktemp("ui"), port, phantom_series.parent)
    yield ui
    ui.end()


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def screened_in_ui(ui, phantom_series):
    """Screened once with a bar a little lower, so that there is a finding more, and once with the default."""
    low = ui.completed("screen", source=str(phantom_series), measure={"min_probability": 0.33})
    return low, ui.completed("screen", source=str(phantom_series))


def keep(browser, name, height=None):
    """A picture for the documentation, where it was asked for."""
    if folder := os.environ.get("HOUNSFIELD_SHOTS"):
        browser.shot(Path(ROOT, folder, f"{name}.png"), height)


def see(ui, browser, artifact, *texts):
    browser.open(f"{ui.url}/artifacts/artifact/{artifact['id']}")
    return browser.wait_for(*texts, seconds=PATIENCE_S)


def test_a_screening_shows_its_stages_its_nodule_table_and_its_pictures(ui, browser, screened_in_ui):
    first, second = screened_in_ui
    kinds = {"volume", "lungmask", "heatmap", "lumps", "crops", "scores", "findings", "report"}
    for run, measured in ((first, "Completed"), (second, "Completed")):
        shown = ui.artifacts(run)
        assert shown.keys() == kinds  # also what was reused
        assert all("### Lineage" in a["data"] for a in shown.values())
        states = {
            t["name"]: t["state"]["name"] for t in ui.api("task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run]}}})
        }
        assert states["measure"] == measured
    assert states["segment"] == "Reused"
    browser.open(f"{ui.url}/runs/flow-run/{first}")
    browser.wait_for("Completed", "Task Runs", seconds=PATIENCE_S)
    browser.click("Artifacts")
    browser.wait_for("findings-", "heatmap-", seconds=PATIENCE_S)
    keep(browser, "ui-run")
    findings = ui.artifacts(first)["findings"]
    text = see(ui, browser, findings, "p nodule", "p malignant", "diameter, mm", "made of")
    assert "axial, coronal, sagittal" in text
    browser.wait_until("[...document.querySelectorAll('img')].some(i => i.src.startsWith('data:image/') && i.naturalWidth > 100)")
    keep(browser, "ui-findings")
    for kind in ("volume", "lungmask", "heatmap", "report"):
        assert "data:image/" in ui.artifacts(first)[kind]["data"]


def test_the_forms_show_titles_descriptions_and_values(ui, browser):
    browser.open(f"{ui.url}/deployments/deployment/{ui.deployments['group']['id']}/run")
    browser.wait_for("Threshold", "Peak separation", "Any artifact of the scan", "Refresh", seconds=PATIENCE_S)
    keep(browser, "ui-form")
    browser.open(f"{ui.url}/deployments/deployment/{ui.deployments['screen']['id']}/run")
    browser.wait_for("Scan", "Weights", "Precision", "Window", seconds=PATIENCE_S)


def of_stage(ui, _series):
    return {"ref": ui.refs("report")[-1], "refresh": True}


def two_reports(ui, _series):
    before, after = ui.refs("report")[:2]
    return {"before": before, "after": after}


# name -> parameters on the phantom, and what its page shows; what is not here must say why below
RUNS = dict.fromkeys(STAGES, (of_stage, None)) | {
    "diff": (two_reports, "vanished"),
    "lineage": (lambda ui, _: {"ref": f"{ui.refs('report')[0]}#1"}, "arrows that follow from others"),
    "tidy": (lambda _ui, _series: {"dry_run": True}, "would go"),
}
ELSEWHERE = {"screen", "inbox", "backfill"}  # in tests of their own here
COSTLY = {"cifar", "cifar-compare", "cache", "train-segmenter", "train-nodule", "train-malignancy", "crop-for-grade"}


@pytest.mark.parametrize("name", RUNS)
def test_each_deployment_runs_and_its_page_shows_what_happened(ui, browser, screened_in_ui, phantom_series, name):
    parameters, text = RUNS[name]
    run = ui.completed(name, **parameters(ui, phantom_series))
    shown = ui.artifacts(run)
    assert shown
    if text:
        pages = sorted(shown.values(), key=lambda a: a["type"] != "markdown")
        artifact = next(a for a in pages if text in json.dumps([a["data"], a["description"]]))
        see(ui, browser, artifact, text)
        if name == "lineage":
            browser.wait_until(
                "[...document.querySelectorAll('img')].some(i => i.src.startsWith('data:image/png') && i.naturalWidth > 100)"
            )
            browser.run("[...document.querySelectorAll('img')].find(i => i.src.startsWith('data:image/png')).scrollIntoView()")
        keep(browser, f"ui-{name}")
    else:
        assert all(a["type"] == "markdown" and "### Lineage" in a["data"] for a in shown.values())


def test_every_deployment_is_tried_or_named_here():
    tried = RUNS.keys() | ELSEWHERE | COSTLY
    missing = DEPLOYMENTS.keys() - tried
    assert not {n for n in missing if n in {"screen", "inbox", "backfill", "tidy", "diff", "lineage", *STAGES}}


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
    ui.until(lambda: "outline" in ui.logs(run) and "Finished in state" in ui.logs(run), 60)  # logs come a little later
    logs = ui.api("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    runs = ui.api(f"flow_runs/{run}")["state"]
    assert not [w for w in ("Doe^", "Roe^", "Richard") if w in json.dumps([logs, kept, scan, runs])]
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
        ui.until((home / "hanging").exists, PATIENCE_S)
        ui.api(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        assert ui.ended(run)["type"] == "CANCELLED"
        ui.until(lambda: not list((home / "store" / "artifacts").rglob(".tmp-*")), 30)
        assert Ledger(home / "private" / "inbox.db").runs()[0].how == "cancelled"
    finally:
        os.remove(home / "hang")
        (home / "hanging").unlink(missing_ok=True)
    run = ui.start("inbox", folders=[str(tree)], quiet_s=0)
    assert ui.ended(run)["type"] == "COMPLETED"
    shown = {a["key"]: a for a in ui.api("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})}
    assert [row["state"] for row in json.loads(shown["inbox"]["data"])] == ["done"]


def test_a_path_outside_the_roots_is_refused_in_one_line_and_named_nowhere(ui, tmp_path):
    named = tmp_path / "Doe^Jane"
    named.mkdir()
    run = ui.start("screen", source=str(named))
    state = ui.ended(run)
    assert state["type"] == "FAILED"
    assert "outside what deployments may read" in state["message"]
    assert "\n" not in state["message"]
    kept = ui.api(f"flow_runs/{run}")
    assert kept["parameters"]["source"].startswith("source-")
    assert "Doe" not in json.dumps(kept) + ui.logs(run)
    again = ui.ended(ui.start("screen", source=kept["parameters"]["source"]))
    assert again["type"] == "FAILED"


def test_a_typed_path_is_hidden_also_where_something_else_in_the_form_is_wrong(ui, tmp_path):
    run = ui.start("cifar", data=str(tmp_path / "Doe^Jane"), train={"network": "resnt"})
    assert "did you mean resnet" in ui.ended(run)["message"]
    assert "Doe" not in json.dumps(ui.api(f"flow_runs/{run}")) + ui.logs(run)


def test_a_schedule_fires_by_itself(ui):
    deployment = ui.deployments["tidy"]
    schedule = {"active": True, "schedule": {"interval": 30, "anchor_date": "2020-01-01T00:00:00+00:00"}}
    (made,) = ui.api(f"deployments/{deployment['id']}/schedules", [schedule])
    wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    try:
        fired = lambda: [r for r in ui.api("flow_runs/filter", wanted) if r["auto_scheduled"]]  # noqa: E731
        assert ui.until(fired, PATIENCE_S)
    finally:
        ui.api(f"deployments/{deployment['id']}/schedules/{made['id']}", method="DELETE")
        for run in ui.unended(deployment):  # those that wait for the slot of the one that runs outlive their schedule
            if run["state"]["type"] != "RUNNING":
                ui.api(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}})
        ui.until(lambda: not ui.unended(deployment), PATIENCE_S)


def test_a_run_cancelled_in_the_ui_stops_within_seconds_and_leaves_nothing(ui, phantom_series):
    home = ui.cli.home
    (home / "hang").touch()
    try:
        run = ui.start("screen", source=str(phantom_series), refresh=["segment"])
        ui.until((home / "hanging").exists, PATIENCE_S)
        assert ui.held("gpu-0") == 1
        asked = time.monotonic()
        ui.api(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        assert ui.ended(run)["type"] == "CANCELLED"
        assert time.monotonic() - asked < 60
        ui.until(lambda: not list((home / "store" / "artifacts").rglob(".tmp-*")), 30)
        ui.until(lambda: not list((home / "private" / "scratch").glob("*")), 30)
        ui.until(lambda: ui.held("gpu-0") == 0, 30)
        held = ui.api("v2/concurrency_limits/filter", {})
        assert not [limit["name"] for limit in held if limit["active_slots"]]  # nor one of a deployment's own
    finally:
        os.remove(home / "hang")
        (home / "hanging").unlink(missing_ok=True)
    assert ui.completed("screen", source=str(phantom_series))
