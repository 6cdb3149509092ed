"""`hounsfield doctor`: each thing that can be wrong is one line with what mends it, and decides the exit code."""

import json
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import prefect
import pytest

from flows import doctor, doctor_server
from flows.ui import declared
from tests.flows.in_process import InProcess


@pytest.fixture(autouse=True)
def no_server_here(monkeypatch):
    monkeypatch.setattr(doctor_server, "USUAL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_API_URL", "")


@pytest.fixture
def home(screened, tmp_path):
    return shutil.copytree(screened.home, tmp_path / "home")


def examined(home, *more):
    done = InProcess(home)("doctor", "--json", *more)
    lines = {x["what"]: x for x in json.loads(done.out)["lines"]}
    return done.code, lines


def test_a_healthy_home_without_a_server(home):
    code, lines = examined(home)
    assert code == 0
    assert {w for w, x in lines.items() if x["state"] == "bad"} == set()
    assert lines["server"]["state"] == "warn"
    assert lines["server"]["mend"] == "hounsfield ui"
    assert "9 artifacts" not in lines["store"]["text"] or lines["store"]["state"] == "ok"
    text = InProcess(home)("doctor").out
    assert all(line[:4] in ("ok  ", "warn", "bad ") or line.strip().startswith("→") for line in text.splitlines())


def test_a_home_that_does_not_exist_yet_is_fine(tmp_path):
    code, lines = examined(tmp_path / "new")
    assert code == 0
    assert "not there yet" in lines["store"]["text"]
    assert not (tmp_path / "new").exists()


def test_a_store_whose_disk_is_not_mounted(tmp_path, mounted):
    place = tmp_path / "disk" / "shared"
    place.mkdir(parents=True)
    mounted.add(place.parent)
    assert examined(tmp_path / "home", "--store", place)[0] == 0
    shutil.rmtree(place)
    mounted.clear()
    code, lines = examined(tmp_path / "home", "--store", place)
    assert code == 6
    assert "is its disk mounted?" in lines["store"]["text"]
    assert lines["store"]["mend"] == "mount its disk, or HOUNSFIELD_NEW_STORE=1 hounsfield doctor"
    assert not place.exists()


def test_damaged_artifacts_are_counted_and_deep_reads_every_byte(home):
    (crops,) = (home / "store" / "artifacts" / "crops").iterdir()
    victim = max((p for p in crops.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    body = bytearray(victim.read_bytes())
    body[len(body) // 2] ^= 1
    victim.write_bytes(body)
    assert "artifacts" not in examined(home)[1]
    code, lines = examined(home, "--deep")
    assert code == 0
    assert lines["artifacts"]["text"].startswith("1 damaged: crops:")


def test_a_store_made_by_a_newer_version(home):
    (home / "store" / "format.json").write_text('{"version": 99}')
    code, lines = examined(home)
    assert code == 6
    assert "newer" in lines["store"]["text"]
    assert "pip install -U" in lines["store"]["mend"]


def test_a_store_that_cannot_be_written(home, monkeypatch):
    if os.geteuid():
        os.chmod(home / "store", 0o500)
    else:  # nothing is read-only to root

        def refuse(*_args, **_kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(doctor.Path, "write_bytes", refuse)
    code, lines = examined(home)
    assert code == 6
    assert "cannot be written" in lines["store"]["text"]


def test_rights_that_let_others_in_are_said(home):
    os.chmod(home / "store", 0o755)
    code, lines = examined(home)
    assert code == 0
    assert lines["store rights"]["state"] == "warn"
    assert lines["store rights"]["mend"] == f"chmod 700 {home / 'store'}"


def test_little_space(home, monkeypatch):
    usage = shutil.disk_usage(home)
    for free, state, ends in ((5 * 10**9, "warn", 0), (10**8, "bad", 6)):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _p, free=free: usage._replace(free=free))
        code, lines = examined(home)
        assert (lines["space"]["state"], code) == (state, ends)
        assert "hounsfield gc" in lines["space"]["mend"]


def test_weights_that_cannot_be_used(home):
    broken = home / "weights" / "mine"
    shutil.copytree("weights/phantom", broken)
    (broken / "nodule.safetensors").write_bytes(b"cut")
    done = InProcess(home)("doctor")
    assert done.code == 0
    assert "mine: " in done.out
    shutil.copytree(broken, home / "weights" / "phantom")  # the user's own come before the shipped ones
    assert examined(home)[0] == 5


class Server:
    """Answers like Prefect's API."""

    def __init__(self, version=prefect.__version__, beat_s=10, names=None, paused=(), pool=True, late=0):
        now = datetime.now(UTC)
        schedules = [{"active": True}]
        rows = [{"name": n, "paused": n in paused, "schedules": schedules} for n in (declared() if names is None else names)]
        beat = (now - timedelta(seconds=beat_s)).isoformat()
        answers = {"admin/version": version, "deployments/filter": rows, "flow_runs/count": late}
        if pool:
            answers["work_pools/hounsfield/workers/filter"] = [{"last_heartbeat_time": beat}]

        class Handler(BaseHTTPRequestHandler):
            def reply(self):
                known = answers.get(self.path.removeprefix("/api/"))
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(200 if known is not None else 404)
                self.end_headers()
                self.wfile.write(json.dumps(known).encode())

            do_GET = do_POST = reply

            def log_message(self, *_):
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/api"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def serve(monkeypatch):
    servers = []

    def start(known=True, **how):
        server = Server(**how)
        servers.append(server.http)
        monkeypatch.setenv("PREFECT_API_URL", server.url if known else "")
        return server.url

    yield start
    for http in servers:
        http.shutdown()
        http.server_close()


def said():
    return {line.what: line for line in doctor_server.server_lines()}


def test_a_server_with_everything(serve):
    serve()
    lines = said()
    assert {x.state for x in lines.values()} == {"ok"}
    assert lines.keys() == {"server", "deployments", "schedules", "worker"}


def test_a_server_of_another_version(serve):
    serve(version="2.20.1")
    assert said()["server"].state == "bad"
    assert "2.20.1" in said()["server"].text
    assert doctor.exit_code(list(said().values())) == 7


def test_a_dead_server_and_one_on_another_port(serve, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert "nothing answers" in said()["server"].text
    assert "hounsfield ui --port 9" in said()["server"].mend
    url = serve()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:8/api")
    monkeypatch.setattr(doctor_server, "USUAL", url)
    line = said()["server"]
    assert (line.state, line.exit_code, line.mend) == ("bad", 7, f"export PREFECT_API_URL={url}")


def test_a_server_that_commands_do_not_know(serve, monkeypatch):
    url = serve(known=False)
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setattr(doctor_server, "USUAL", url)
    monkeypatch.setattr(doctor_server, "api_url", lambda: None)
    line = said()["server"]
    assert (line.state, line.mend) == ("warn", f"export PREFECT_API_URL={url}")


def test_no_worker_lives_or_there_is_no_pool(serve):
    serve(beat_s=3600)
    assert said()["worker"].state == "bad"
    assert "60 min ago" in said()["worker"].text
    serve(pool=False)
    assert "no work pool" in said()["worker"].text


def test_deployments_that_are_missing_or_paused_and_runs_that_are_late(serve):
    serve(names=["screen"], late=3)
    lines = said()
    assert lines["deployments"].text.startswith("1 of ")
    assert "tidy" in lines["deployments"].text or "…" in lines["deployments"].text or "," in lines["deployments"].text
    assert lines["runs"].text.startswith("3 late")
    serve(paused=["inbox"])
    assert "paused: inbox" in said()["schedules"].text


def test_a_check_that_fails_itself_is_a_line(monkeypatch):
    def broken():
        raise RuntimeError("boom")
        yield

    monkeypatch.setattr(doctor, "weights_lines", broken)
    lines = doctor.examine()
    assert any(x.state == "bad" and "boom" in x.text for x in lines)
    assert doctor.exit_code(lines) == 1
