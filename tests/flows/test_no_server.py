"""A server that is not there is one line and exit code 7, of every command that runs through one."""

import pytest

from tests.flows.conftest import Cli

NOBODY = "http://127.0.0.1:9/api"


@pytest.mark.parametrize("command", ["screen", "inbox", "stage", "diff", "backfill"])
def test_no_server(screened: Cli, phantom_series, command):
    (report,) = [f"report:{p.name}" for p in (screened.home / "store" / "artifacts" / "report").iterdir()]
    arguments = {
        "screen": ("screen", phantom_series),
        "inbox": ("inbox", "run", phantom_series),
        "stage": ("stage", "group", report),
        "diff": ("diff", report, report),
        "backfill": ("backfill",),
    }[command]
    done = screened(*arguments, PREFECT_API_URL=NOBODY)
    assert done.code == 7, done.err
    (said,) = [line for line in done.err.splitlines() if line.startswith("hounsfield: ")]
    assert said == "hounsfield: the Prefect server did not answer: start it, unset PREFECT_API_URL, or use --direct"
    assert "Traceback" not in done.err
