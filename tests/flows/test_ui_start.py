"""`hounsfield ui` before anything is started: what is not as it should be is one clear line."""

import socket

import pytest

from artifacts.errors import ServerError, UsageError
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
