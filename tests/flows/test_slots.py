"""A slot whose holder died with the server, in a power cut perhaps, is free again once the server is back."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from flows import ui
from flows.slots import make_slots

pytestmark = [pytest.mark.server, pytest.mark.slow]

PATIENCE_S = 600


@pytest.fixture
def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def test_a_slot_outlives_neither_its_holder_nor_the_server(tmp_path, port):
    home = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path}/prefect.db"}
    environment = os.environ | home | ui.LEASES_KEPT
    url = f"http://127.0.0.1:{port}"
    start = lambda: ui.start("server", "start", "--host", "127.0.0.1", "--port", str(port), environment=environment)  # noqa: E731
    server = start()
    try:
        ui.wait_for(url, server)
        (name,) = make_slots(f"{url}/api", 1)
        taken = {"names": [name], "slots": 1, "mode": "concurrency", "lease_duration": 60}
        ask(f"{url}/api/v2/concurrency_limits/increment-with-lease", taken)
        assert ask(f"{url}/api/v2/concurrency_limits/{name}")["active_slots"] == 1
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server = start()
        ui.wait_for(url, server)
        end = time.monotonic() + PATIENCE_S
        while ask(f"{url}/api/v2/concurrency_limits/{name}")["active_slots"]:
            assert time.monotonic() < end
            time.sleep(2)
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
