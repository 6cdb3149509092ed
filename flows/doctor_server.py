"""The doctor's lines on Prefect: a server, its version, our deployments, a worker that lives, schedules that fire."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from artifacts.errors import ServerError
from flows.doctor import Line

USUAL = "http://127.0.0.1:4200/api"
LATE_S = 90  # a worker says that it lives every 30 s
STARTS = "hounsfield ui"


def server_lines() -> Iterator[Line]:
    """What PREFECT_API_URL names, else what answers at the usual port; without a server the rest is not asked."""
    import prefect

    asked = api_url()
    url = asked or USUAL
    there = answer(f"{url}/admin/version")
    if there is None:
        yield _no_answer(asked)
        return
    ours, theirs = prefect.__version__, str(there)
    if ours.split(".")[:2] != theirs.split(".")[:2]:
        mend = f"stop it and start {STARTS}, or set PREFECT_API_URL to a server of version {ours}"
        yield Line("server", "bad", f"{url} is Prefect {theirs}, this installation is {ours}", mend, ServerError.exit_code)
        return
    differs = "" if ours == theirs else f" (this installation is {ours})"
    text = f"Prefect {theirs}{differs} at {url}"
    if asked is None:
        yield Line("server", "warn", f"{text}, but commands here do not know it", f"export PREFECT_API_URL={url}")
    else:
        yield Line("server", "warn" if differs else "ok", text, f"pip install prefect=={theirs}" if differs else "")
    try:
        yield from _deployments(url)
        yield from _worker(url)
    except (OSError, ValueError, KeyError, TypeError) as e:
        yield Line(
            "server", "bad", f"{url} does not answer like a Prefect server ({type(e).__name__})", STARTS, ServerError.exit_code
        )


def api_url() -> str | None:
    """Where commands look for the server: the environment, else Prefect's profile; None: an embedded one."""
    if "PREFECT_API_URL" in os.environ:
        return os.environ["PREFECT_API_URL"].rstrip("/") or None
    from prefect.settings import get_current_settings

    found = get_current_settings().api.url
    return str(found).rstrip("/") if found else None


def answer(url: str, body: Any = None, timeout: float = 5) -> Any:
    """JSON of a reply; None where nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, {"content-type": "application/json"}), timeout=timeout
        ) as r:
            return json.load(r)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _no_answer(asked: str | None) -> Line:
    if asked is None:
        text = "none runs: commands start an embedded one; schedules and the UI need one that stays"
        return Line("server", "warn", text, STARTS)
    if asked != USUAL and answer(f"{USUAL}/admin/version"):
        text = f"nothing answers at {asked} (PREFECT_API_URL), but a server does at {USUAL}"
        return Line("server", "bad", text, f"export PREFECT_API_URL={USUAL}", ServerError.exit_code)
    mend = f"{STARTS} --port {asked.split(':')[-1].split('/')[0]}" if asked.startswith("http://127.0.0.1:") else STARTS
    return Line("server", "bad", f"nothing answers at {asked} (PREFECT_API_URL)", f"{mend}, or unset PREFECT_API_URL", 7)


def _deployments(url: str) -> Iterator[Line]:
    from flows.ui import declared

    wanted = declared()
    there = {d["name"]: d for d in answer(f"{url}/deployments/filter", {"limit": 200}) or []}
    missing = sorted(wanted - there.keys())
    text = f"{len(wanted) - len(missing)} of {len(wanted)}" + (f", missing: {', '.join(missing[:6])}" if missing else "")
    yield Line(
        "deployments", "warn" if missing else "ok", text, f"{STARTS} (deploys them), or prefect deploy --all" if missing else ""
    )
    ours = {n: d for n, d in there.items() if n in wanted}
    paused = sorted(n for n, d in ours.items() if d.get("paused"))
    active = sorted(n for n, d in ours.items() if not d.get("paused") and any(s.get("active") for s in d.get("schedules", [])))
    text = f"on: {', '.join(active) or 'none'}" + (f"; paused: {', '.join(paused)}" if paused else "")
    mend = "turn one on in the UI: Deployments, or prefect deployment schedule resume"
    yield Line("schedules", "ok" if active and not paused else "warn", text, "" if active and not paused else mend)


def _worker(url: str) -> Iterator[Line]:
    from flows.ui import POOL

    start = f"{STARTS} (starts one), or prefect worker start --pool {POOL}"
    workers = answer(f"{url}/work_pools/{POOL}/workers/filter", {})
    if workers is None:
        yield Line("worker", "warn", f"there is no work pool '{POOL}'", start)
        return
    beats = [datetime.fromisoformat(w["last_heartbeat_time"].replace("Z", "+00:00")) for w in workers if w["last_heartbeat_time"]]
    now = datetime.now(UTC)
    living = [b for b in beats if now - b < timedelta(seconds=LATE_S)]
    if not living:
        last = f", the last one {_ago(now - max(beats))} ago" if beats else ""
        yield Line("worker", "bad", f"none lives{last}: no deployment runs", start, ServerError.exit_code)
        return
    yield Line("worker", "ok", f"{len(living)} alive, heard {_ago(now - max(living))} ago")
    late = answer(f"{url}/flow_runs/count", {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}})
    if late:
        yield Line(
            "runs", "warn", f"{late} late: the worker has not taken them yet", "see Runs in the UI; start more workers, or wait"
        )


def _ago(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
