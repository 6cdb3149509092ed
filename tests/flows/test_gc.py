"""`hounsfield gc`: says what would go, removes it, and what stays is still reused; Prefect forgets old runs."""

import json
import shutil

import pytest

from artifacts.errors import UsageError
from flows.units import bytes_of, seconds_of, size_text
from tests.flows.conftest import Cli
from tests.flows.in_process import InProcess
from tests.flows.test_cli import STAGES


@pytest.fixture
def home(screened, tmp_path):
    return shutil.copytree(screened.home, tmp_path / "home")


def artifacts(home):
    return {p for p in (home / "store" / "artifacts").glob("*/*") if not p.name.startswith(".")}


def test_what_the_last_report_needs_stays_and_is_reused(home, phantom_series, tmp_path):
    run = InProcess(home)
    first = artifacts(home)
    assert run("gc").code == 0
    assert artifacts(home) == first
    again = ["screen", phantom_series, "--direct", "--out", tmp_path / "out", "--set", "group.threshold=0.6"]
    assert run(*again).code == 0
    both = artifacts(home)
    dry = run("gc", "--dry-run", "--json")
    assert artifacts(home) == both
    said = json.loads(dry.out)
    assert {f"{i['ref'].split(':')[0]}/{i['digest']}" for i in said["items"]} == {
        f"{p.parent.name}/{p.name}" for p in first - _shared(home)
    }
    assert "would go" in run("gc", "--dry-run").out
    done = run("gc")
    assert done.code == 0, done.err
    assert "removed" in done.out
    assert len(artifacts(home)) == len(both) - len(said["items"])
    assert run(*again).err.count("reused") == len(STAGES)
    assert run("gc", "--json").out.count('"ref"') == 0


def _shared(home):
    """Folders that the last report was made of."""
    from artifacts.store import Store

    store = Store(home / "store")
    last = list(store.refs("report"))[-1]
    return {store.ref(m.kind, m.digest).path for m in store.lineage(last)}


def test_a_limit_that_kept_runs_exceed_is_said(home):
    done = InProcess(home)("gc", "--limit", "1kB")
    assert done.code == 0
    assert "above the limit" in done.out
    assert InProcess(home)("gc", "--limit", "1kB", "--keep-last", "0").code == 0
    assert artifacts(home) == set()


@pytest.mark.parametrize("wrong", [("--limit", "much"), ("--older-than", "30 parsecs"), ("--limit", "-3GB")])
def test_a_wrong_size_or_age_is_one_line(home, wrong):
    done = InProcess(home)("gc", *wrong)
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_sizes_and_ages_as_people_write_them():
    assert [bytes_of(t) for t in ("50GB", "1.5 TiB", "200M", "12")] == [50 * 10**9, round(1.5 * 2**40), 200 * 10**6, 12]
    assert [seconds_of(t) for t in ("30d", "12h", "2w")] == [30 * 86400, 12 * 3600, 14 * 86400]
    assert [size_text(n) for n in (0, 999, 1000, 123456, 1234567, 999_600, 5 * 10**12)] == [
        "0 B", "999 B", "1 kB", "123 kB", "1.23 MB", "1 MB", "5 TB",
    ]  # fmt: skip
    with pytest.raises(UsageError):
        bytes_of("5 GBP")


OLD = """
import os, sys, time
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = os.environ["PREFECT_SERVER_LOGGING_LEVEL"] = "CRITICAL"
from prefect import flow, get_client
from prefect.artifacts import create_table_artifact
from flows.prefect_history import forget_old_runs
@flow
def old():
    create_table_artifact([{"a": 1}], key="old")
old(); old()
print(forget_old_runs(1).runs, forget_old_runs(1e-7, dry=True).runs, forget_old_runs(1e-7).pages)
with get_client(sync_client=True) as client:
    print(len(client.read_flow_runs()), len(client.read_artifacts()))
"""


@pytest.mark.server
def test_prefect_forgets_runs_that_ended_long_ago_and_their_pages(cli: Cli):
    cli.home.mkdir()
    process = cli.python(OLD)
    output, _ = process.communicate(timeout=120)
    assert output.split("\n")[-3:-1] == ["0 2 2", "0 0"], output
