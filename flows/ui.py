"""The Prefect server, a worker and the deployments of prefect.yaml, started together and ended together."""

from __future__ import annotations

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from artifacts.errors import ServerError, UsageError
from artifacts.home import home, store_folder
from artifacts.known_stores import check_known
from artifacts.using import host

ROOT = Path(__file__).parents[1]
POOL = "hounsfield"
ANYWHERE = "default"  # the queue of what any machine may run; the other one, of prefect.yaml, is for the machine of `serve`
READY_S = 300  # a busy machine takes over a minute


def serve(port: int, inbox: Path | None, roots: Sequence[Path] = (), prefect_days: int = 30) -> None:
    """Run until CTRL-C. Processes that were started here end with it.

    roots: folders that runs started in the UI may read, beside the inbox; prefect_days: how long Prefect keeps ended runs.
    """
    from flows.died import say_died
    from flows.slots import make_slots

    url, folder = f"http://127.0.0.1:{port}", inbox_folder(inbox)
    check_known(store_folder())
    environment = dict(os.environ)
    for name in ("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "PREFECT_LOGGING_INTERNAL_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL"):
        environment.pop(name, None)
    environment |= {"PREFECT_API_URL": f"{url}/api", "PREFECT_UI_URL": url}
    environment |= absolute_places() | {"HOUNSFIELD_INBOX": str(folder)}
    environment["HOUNSFIELD_ROOTS"] = os.pathsep.join([*map(str, roots), *filter(None, [os.environ.get("HOUNSFIELD_ROOTS")])])
    environment = kept_small(prefect_days) | LEASES_KEPT | environment
    running: list[subprocess.Popen] = []
    try:
        if answers(url):
            same_version(url)
            print(f"using the Prefect server that already answers at {url}", flush=True)
        elif taken(port):
            raise ServerError(f"port {port} is taken by something that is no Prefect server: give another --port")
        else:
            with said("starting the Prefect server"):
                running.append(start("server", "start", "--host", "127.0.0.1", "--port", str(port), environment=environment))
                wait_for(url, running[0])
        with said(f"deploying the {len(declared())} flows of prefect.yaml"):
            call("work-pool", "create", POOL, "--type", "process", "--overwrite", environment=environment)
            call("--no-prompt", "deploy", "--all", environment=environment)
        slots = make_slots(environment["PREFECT_API_URL"])
        print(f"GPU slots: {', '.join(slots) or 'no GPU here'}", flush=True)
        say_died(environment["PREFECT_API_URL"])
        running.append(start("worker", "start", "--pool", POOL, environment=environment))
        print(f"\nHounsfield in the Prefect UI: {url}/deployments (CTRL-C ends)", flush=True)
        while all(p.poll() is None for p in running):
            time.sleep(0.5)
        raise ServerError("the server or the worker ended by itself: its last lines above say why")
    finally:
        end(running)


@contextmanager
def said(what: str) -> Iterator[None]:
    """A line before and one after what takes its time, written out at once wherever they go."""
    began = time.monotonic()
    print(f"{what} …", flush=True)
    yield
    print(f"{what}: done in {time.monotonic() - began:.0f} s", flush=True)


def inbox_folder(named: Path | None) -> Path:
    """The inbox: ours is made, a named one must be there, for one that is not mounted is not empty. Raises UsageError."""
    if named and not named.is_dir():
        raise UsageError("the inbox folder is not there: mount or make it, or name another one", private=str(named))
    folder = (named or home() / "inbox").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def absolute_places() -> dict[str, str]:
    """Home and store for the runs, which start in another folder than this command."""
    return {"HOUNSFIELD_HOME": str(home()), "HOUNSFIELD_STORE": str(store_folder().absolute())}


def kept_small(days: int) -> dict[str, str]:
    """The server's settings by which it forgets runs that ended longer ago, with their logs and previews."""
    vacuum = "PREFECT_SERVER_SERVICES_DB_VACUUM"
    return {f"{vacuum}_ENABLED": "events,flow_runs", f"{vacuum}_RETENTION_PERIOD": str(days * 24 * 3600)}


# Who holds which slot (a GPU's, a deployment's own) outlives the server: one that remembers it in memory alone and is killed
# finds the slots taken when it starts again, and nobody who would ever give them back.
LEASES_KEPT = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}


def declared() -> set[str]:
    """Names of the deployments in prefect.yaml."""
    import yaml

    return {d["name"] for d in yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]}


def work(api_url: str) -> None:
    """A further worker for a server that runs elsewhere, until CTRL-C: the slots of this machine's GPUs are made first."""
    from flows.slots import make_slots

    api_url = api_url.rstrip("/")
    check_known(store_folder())
    if not answers(api_url.removesuffix("/api")):
        raise ServerError(f"no Prefect server answers at {api_url}: the address ends with /api, and this machine must reach it")
    same_version(api_url.removesuffix("/api"))
    environment = os.environ | absolute_places() | {"PREFECT_API_URL": api_url}
    environment.setdefault("HOUNSFIELD_GPUS", f"gpu-{host()}")  # other GPUs than those of the server's machine
    os.environ["HOUNSFIELD_GPUS"] = environment["HOUNSFIELD_GPUS"]
    print(f"GPU slots: {', '.join(make_slots(api_url)) or 'no GPU here'}", flush=True)
    running = [start("worker", "start", "--pool", POOL, "--work-queue", ANYWHERE, environment=environment)]
    try:
        raise ServerError(f"the worker ended by itself (code {running[0].wait()}): its last lines above say why")
    finally:
        end(running)


def prefect() -> str:
    """The prefect command of this environment."""
    beside = Path(sys.executable).with_name("prefect")
    return str(beside) if beside.exists() else shutil.which("prefect") or "prefect"


def start(*arguments: str, environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen([prefect(), *arguments], cwd=ROOT, env=environment, start_new_session=True)


def call(*arguments: str, environment: dict[str, str]) -> None:
    done = subprocess.run([prefect(), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"`prefect {' '.join(arguments)}` failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def same_version(url: str) -> None:
    """Raises ServerError where the server speaks for another Prefect than ours."""
    import prefect

    with urllib.request.urlopen(f"{url}/api/admin/version", timeout=10) as reply:
        theirs = str(json.load(reply))
    if theirs.split(".")[:2] != prefect.__version__.split(".")[:2]:
        advice = "stop it, give another --port, or install the same version"
        raise ServerError(f"the Prefect server at {url} is {theirs}, this installation is {prefect.__version__}: {advice}")


def taken(port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(2)
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait_for(url: str, server: subprocess.Popen, sleep: Callable[[float], None] = time.sleep) -> None:
    for _ in range(READY_S * 2):
        if answers(url):
            return
        if server.poll() is not None:
            raise ServerError(f"the Prefect server did not start at {url}: its last lines above say why")
        sleep(0.5)
    raise ServerError(f"the Prefect server did not answer at {url} within {READY_S} s")


def end(processes: list[subprocess.Popen]) -> None:
    """Politely, then not. The last first: a worker gives its runs a moment to clean up, and tells the server that they ended."""
    for process in reversed(processes):
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # and the runs it had started
