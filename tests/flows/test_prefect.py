"""Through Prefect's embedded server: the same store and keys as --direct, a preview on every run, no path in what it keeps."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.flows.conftest import TIMEOUT_S
from tests.flows.test_cli import STAGES

pytestmark = pytest.mark.server

# What the server kept, asked through its own client.
KEPT = """
import asyncio, json, os
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = os.environ["PREFECT_SERVER_LOGGING_LEVEL"] = "CRITICAL"
from prefect import get_client
async def main():
    async with get_client() as client:
        flows = [r.model_dump(mode="json") for r in await client.read_flow_runs()]
        tasks = [t.model_dump(mode="json") for t in await client.read_task_runs()]
        artifacts = [a.model_dump(mode="json") for a in await client.read_artifacts()]
        logs = [x.model_dump(mode="json") for x in await client.read_logs()]
    print(json.dumps({"flows": flows, "tasks": tasks, "artifacts": artifacts, "logs": logs}))
asyncio.run(main())
"""


def test_prefect_reuses_what_direct_made_and_shows_it(cli, phantom_series, tmp_path):
    named = shutil.copytree(phantom_series, tmp_path / "DOE^JANE")
    direct = cli("screen", named, "--direct", "--out", tmp_path / "direct")
    assert direct.code == 0, direct.err
    through = cli("screen", named, "--refresh", "group", "--out", tmp_path / "through")
    assert through.code == 0, through.err
    assert through.err.count("reused") == len(STAGES) - 1
    assert (tmp_path / "through" / "report.json").read_text() == (tmp_path / "direct" / "report.json").read_text()
    refused = cli("screen", named, "--set", "outline.least_ml=1000", "--set", "outline.close_mm=0", "--series", "1.2.3")
    assert refused.code == 3
    assert [x for x in refused.err.splitlines() if x.startswith("hounsfield: ")]
    assert "Traceback" not in refused.err
    asked = subprocess.run(
        [sys.executable, "-c", KEPT], cwd=ROOT, env=cli.env, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    kept = json.loads(asked.stdout)
    assert {t["name"].split("-")[0]: t["state"]["name"] for t in kept["tasks"]} == {
        s: "Completed" if s == "group" else "Reused" for s in STAGES
    }
    assert len([a for a in kept["artifacts"] if a["key"]]) == len(STAGES)
    assert {f["state"]["type"] for f in kept["flows"]} == {"COMPLETED", "FAILED"}
    assert "DOE^" not in asked.stdout  # with a letter that no picture spells by chance
    assert str(named) not in asked.stdout  # the store's own place may be told, the scan's never


DEFECT = """
from flows.cli import quiet_prefect
quiet_prefect()
from flows.flow import flow
from tasks.stage import as_task

def broken():
    raise FileNotFoundError(2, "No such file", "/archive/DOE^JANE/1950")

@flow("in a stage")
def in_a_stage():
    as_task("load", {}, broken)

@flow("before any")
def before_any():
    broken()

for run in (in_a_stage, before_any):
    try:
        run()
    except Exception as e:
        print(type(e).__name__, e)
"""


def test_a_defect_tells_prefect_nothing_private(cli):
    said = subprocess.run(
        [sys.executable, "-c", DEFECT], cwd=ROOT, env=cli.env, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert said.stdout.count("Unexpected unexpected FileNotFoundError; details in") == 2, said.stderr
    asked = subprocess.run(
        [sys.executable, "-c", KEPT], cwd=ROOT, env=cli.env, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    kept = json.loads(asked.stdout)
    assert {f["state"]["type"] for f in kept["flows"]} == {"FAILED"}
    assert "unexpected FileNotFoundError" in json.dumps(kept["flows"])
    assert kept["logs"], "what the engine logs of a failure is looked at too"
    assert "DOE^" not in said.stdout + said.stderr + asked.stdout
