"""A server that is not there is one line and exit code 7, of every command that runs through one."""

import os

import pytest

from flows import cli
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


@pytest.mark.parametrize("code", [0, 7])
def test_a_failed_command_does_not_wait_for_a_server_that_has_gone(monkeypatch, code):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def at_once(code):
        raise InterruptedError(code)

    monkeypatch.setattr(os, "_exit", at_once)
    with temporary_settings({PREFECT_API_URL: NOBODY}), pytest.raises(InterruptedError if code else SystemExit):
        cli.leave(code)
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(SystemExit):
        cli.leave(code)
