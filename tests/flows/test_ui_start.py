"""`hounsfield ui` before anything is started: what is not as it should be is one clear line."""

import io
import shutil
import socket
import sys

import pytest

from artifacts.errors import ServerError, StoreError, UsageError
from artifacts.known_stores import known_store
from flows import ui
from flows.cli import quiet_prefect
from flows.console import engine
from tests.flows.test_doctor import Server


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch, tmp_path):
    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ui, "start", lambda *a, **k: pytest.fail("something was started"))


def test_an_inbox_that_is_not_mounted_is_not_made(tmp_path):
    with pytest.raises(UsageError, match="not there") as refused:
        ui.serve(9, tmp_path / "Doe^Jane")
    assert "Doe" not in str(refused.value)
    assert not (tmp_path / "Doe^Jane").exists()
    assert ui.inbox_folder(None) == tmp_path / "home" / "inbox"
    assert (tmp_path / "home" / "inbox").is_dir()


def test_what_takes_its_time_is_said_before_it_begins(monkeypatch, tmp_path):
    """Into a journal or a pipe too, where Python would keep lines back."""
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    seen = lambda: said.buffer.getvalue().decode()  # noqa: E731

    class Ended:
        pid = 0

        def poll(self):
            return 0

        def terminate(self): ...
        def wait(self, _seconds):
            return 0

    def called(*arguments, environment):
        assert "deploying the 24 flows of prefect.yaml …" in seen()

    monkeypatch.setattr(sys, "stdout", said)
    monkeypatch.setattr(ui, "declared", lambda: set(range(24)))
    monkeypatch.setattr(ui, "answers", lambda url: True)
    monkeypatch.setattr(ui, "same_version", lambda url: None)
    monkeypatch.setattr(ui, "call", called)
    monkeypatch.setattr(ui, "start", lambda *a, **k: Ended())
    monkeypatch.setattr("flows.slots.make_slots", lambda api_url: [])
    monkeypatch.setattr("flows.died.say_died", lambda api_url: None)
    with pytest.raises(ServerError, match="ended by itself"):
        ui.serve(9, None)
    assert "deploying the 24 flows of prefect.yaml: done in 0 s" in seen()
    assert seen().rstrip().endswith("(CTRL-C ends)")


def test_the_worker_has_ended_before_the_server_is_told_to():
    told = []

    class Process:
        def __init__(self, name):
            self.name = name

        def terminate(self):
            told.append(f"{self.name} told")

        def wait(self, _seconds):
            told.append(f"{self.name} ended")

    ui.end([Process("server"), Process("worker")])
    assert told == ["worker told", "worker ended", "server told", "server ended"]


def test_a_store_that_is_not_mounted_is_said_before_anything_starts(monkeypatch, tmp_path, mounted):
    monkeypatch.setenv("HOUNSFIELD_STORE", str(tmp_path / "shared"))
    mounted.add(tmp_path)
    known_store(tmp_path / "shared")
    shutil.rmtree(tmp_path / "shared")
    mounted.clear()
    for attempt in (lambda: ui.serve(9, None), lambda: ui.work("http://127.0.0.1:9/api")):
        with pytest.raises(StoreError, match="is its disk mounted"):
            attempt()
    assert not (tmp_path / "shared").exists()


def test_a_port_that_something_else_holds():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServerError, match="is taken by something that is no Prefect server: give another --port"):
            ui.serve(other.getsockname()[1], None)


def test_a_server_of_another_version_gets_no_deployments_of_ours(monkeypatch):
    server = Server(version="2.20.1")
    monkeypatch.setattr(ui, "answers", lambda url: True)
    try:
        for attempt in (lambda: ui.serve(server.http.server_port, None), lambda: ui.work(server.url)):
            with pytest.raises(ServerError, match=r"is 2\.20\.1, this installation is 3\."):
                attempt()
    finally:
        server.http.shutdown()
        server.http.server_close()


def test_a_home_for_prefect_of_which_not_even_the_folder_above_is_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "new" / "prefect"))
    quiet_prefect()
    assert (tmp_path / "new" / "prefect").is_dir()


def test_the_first_line_names_the_server_that_is_asked():
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4207/api"}):
        assert "the Prefect server at http://127.0.0.1:4207/api" in engine()
    with temporary_settings({PREFECT_API_URL: None}):
        assert "embedded" in engine()


def test_nobody_waits_to_show_something_to_a_server_that_died():
    """Prefect's own client would ask for minutes, at every scan of a night."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from artifacts.publish import shown

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert shown(lambda: pytest.fail("it was asked"), "the table") is None
    with temporary_settings({PREFECT_API_URL: None}):
        assert shown(lambda: "id", "the table") == "id"


def test_the_server_remembers_on_disk_who_holds_which_slot_and_forgets_old_runs(monkeypatch):
    """By Prefect's own names for it, which it ignores where they are wrong."""
    from importlib import import_module

    from prefect.settings import Settings

    for name, value in (ui.kept_small(7) | ui.LEASES_KEPT).items():
        monkeypatch.setenv(name, value)
    server = Settings().server
    assert import_module(server.concurrency.lease_storage).__name__.endswith(".filesystem")
    assert server.services.db_vacuum.enabled_vacuum_types >= {"events", "flow_runs"}
    assert server.services.db_vacuum.retention_period.total_seconds() == 7 * 24 * 3600
