"""What a power cut leaves: a slot whose holder died with the server is free again; a run that died is said to have crashed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from flows import ui
from flows.died import NAME, SILENT_S, say_died
from flows.slots import make_slots

pytestmark = [pytest.mark.server, pytest.mark.slow]

PATIENCE_S = 600
SLEEPER = """
import time
from prefect import flow

@flow
def sleeper():
    print("at work", flush=True)
    time.sleep(600)

sleeper()
"""


@pytest.fixture
def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def environment(tmp_path):
    home = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path}/prefect.db"}
    return os.environ | home | ui.LEASES_KEPT


@pytest.fixture
def start(environment, port):
    """Starts the server; the last one is ended."""
    servers = []

    def started():
        server = ui.start("server", "start", "--host", "127.0.0.1", "--port", str(port), environment=environment)
        servers.append(server)
        ui.wait_for(f"http://127.0.0.1:{port}", server)
        return server

    yield started
    servers[-1].terminate()
    try:
        servers[-1].wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(servers[-1].pid, signal.SIGKILL)


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def until(true):
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(2)


def test_a_slot_outlives_neither_its_holder_nor_the_server(start, port):
    api, server = f"http://127.0.0.1:{port}/api", start()
    (name,) = make_slots(api, 1)
    taken = {"names": [name], "slots": 1, "mode": "concurrency", "lease_duration": 60}
    ask(f"{api}/v2/concurrency_limits/increment-with-lease", taken)
    assert ask(f"{api}/v2/concurrency_limits/{name}")["active_slots"] == 1
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    start()
    until(lambda: not ask(f"{api}/v2/concurrency_limits/{name}")["active_slots"])


def test_a_run_that_was_killed_does_not_stand_as_running_for_ever(start, port, environment):
    api = f"http://127.0.0.1:{port}/api"
    start()
    say_died(api, silent_s=40)
    say_died(api)
    assert [a["name"] for a in ask(f"{api}/automations/filter", {})] == [NAME]  # the first is left as it is
    lively = environment | {"PREFECT_API_URL": api, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    run = subprocess.Popen([sys.executable, "-c", SLEEPER], env=lively, stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout
        assert run.stdout.readline() == "at work\n"
        beats = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
        until(lambda: ask(f"{api}/events/filter", beats)["events"])
    finally:
        run.kill()
        run.wait()
    state = lambda: ask(f"{api}/flow_runs/filter", {})[0]["state"]  # noqa: E731
    assert state()["type"] == "RUNNING"
    until(lambda: state()["type"] == "CRASHED")
    assert state()["message"].startswith("it died")


def test_a_run_that_lives_is_heard_three_times_before_it_is_given_up():
    from prefect.settings import get_current_settings

    beat_s = get_current_settings().flows.heartbeat_frequency
    assert beat_s
    assert beat_s * 3 < SILENT_S
