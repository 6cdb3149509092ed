"""Doctor: what this installation stands on, line by line, and the command that mends what is wrong."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from artifacts.errors import HounsfieldError, StoreError, WeightsError
from artifacts.home import find_weights, home, private_folder, store_folder, weights_sets
from artifacts.known_stores import ACCEPTED, check_known, known_store
from artifacts.ledger import Ledger
from artifacts.store import FORMAT
from flows.inbox_run import goes_on
from flows.inbox_status import status
from flows.units import size_text

State = Literal["ok", "warn", "bad"]
LITTLE, TOO_LITTLE = 10 * 10**9, 10**9  # bytes free on the store's disk: a night's scans; one scan


@dataclass(frozen=True)
class Line:
    """What was looked at, how it is, and the command that mends it. exit_code: of a command that ends because it is bad."""

    what: str
    state: State
    text: str
    mend: str = ""
    exit_code: int = 0


def examine(deep: bool = False) -> list[Line]:
    """Every line; a check that fails itself is a bad line, never a traceback. ``deep`` reads every byte of the store."""
    from flows.doctor_server import server_lines

    checks: list[Callable[[], Iterator[Line]]] = [python_lines, device_lines, lambda: store_lines(deep), space_lines]
    checks += [weights_lines, folder_lines, inbox_lines, server_lines]
    lines: list[Line] = []
    for check in checks:
        try:
            lines += check()
        except Exception as e:
            name = getattr(check, "__name__", "store_lines").removesuffix("_lines")
            lines.append(Line(name, "bad", f"could not be looked at: {type(e).__name__}: {e}", exit_code=1))
    return lines


def exit_code(lines: list[Line]) -> int:
    """Of the first bad line; 0 where there is none."""
    return next((line.exit_code or 1 for line in lines if line.state == "bad"), 0)


def python_lines() -> Iterator[Line]:
    version = platform.python_version()
    enough = sys.version_info >= (3, 11)
    yield Line("python", "ok" if enough else "bad", version, "" if enough else "install Python 3.11 or later, then make setup", 1)
    pinned, odd = Path(__file__).parents[1] / "constraints.txt", []
    with suppress(OSError):
        odd = list(_other_versions(pinned.read_text()))
    text = (
        "as pinned" if not odd else f"not as pinned: {', '.join(odd[:5])}" + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
    )
    yield Line("packages", "warn" if odd else "ok", text, "pip install -c constraints.txt -e ." if odd else "")


def device_lines() -> Iterator[Line]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        free, total = torch.cuda.mem_get_info()
        yield Line("torch", "ok", f"{torch.__version__}, {names}, {size_text(free)} of {size_text(total)} free")
    else:
        built = f"built for CUDA {torch.version.cuda}, no device here" if torch.version.cuda else "built without CUDA"
        yield Line("torch", "ok", f"{torch.__version__}, cpu, {torch.get_num_threads()} threads ({built})")


def store_lines(deep: bool) -> Iterator[Line]:
    place = store_folder()
    try:
        check_known(place)
    except StoreError as e:
        yield Line("store", "bad", f"{e} ({place})", f"mount its disk, or {ACCEPTED}=1 hounsfield doctor", e.exit_code)
        return
    if not place.exists() and not os.environ.get(ACCEPTED):
        yield Line("store", "ok", f"not there yet: the first screening makes it ({place})")
        return
    try:
        store = known_store(place)
        mark = place / f".doctor-{uuid.uuid4().hex[:8]}"
        try:
            mark.write_bytes(b"")
        finally:
            mark.unlink(missing_ok=True)
    except HounsfieldError as e:
        newer = "newer" in str(e)
        mend = (
            "pip install -U hounsfield (or --store DIR for another one)" if newer else f"chmod -R u+rwX {place}, or --store DIR"
        )
        yield Line("store", "bad", str(e), mend, StoreError.exit_code)
        return
    except OSError as e:
        yield Line("store", "bad", f"cannot be written ({e.strerror})", f"chmod -R u+rwX {place}, or --store DIR", 6)
        return
    refs = list(store.refs())
    look = store.verify if deep else store.state
    damaged = [r for r in refs if look(r) != "whole"]
    how = "every byte read" if deep else "names and sizes looked at; --deep reads every byte"
    yield Line("store", "ok", f"layout {FORMAT}, writable, {len(refs)} artifacts ({how}), {place}")
    if damaged:
        named = ", ".join(map(str, damaged[:3]))
        mend = "screen their scans again: that mends them; hounsfield gc removes those that nothing needs"
        yield Line("artifacts", "warn", f"{len(damaged)} damaged: {named}", mend)


def inbox_lines() -> Iterator[Line]:
    """How the last run over the inbox ended; nothing where there never was one."""
    path = private_folder() / "inbox.db"
    if not path.exists():
        return
    found = status(Ledger(path), time.time(), goes_on())
    for last in found["runs"][:1]:
        state: State = "warn" if last["how"].startswith(("died", "failed")) else "ok"
        counts = ", ".join(f"{n} {what}" for what, n in found["counts"].items()) or "nothing yet"
        yield Line("inbox", state, f"last run {last['started']}, {last['how']}; in all {counts}", "hounsfield inbox status")


def folder_lines() -> Iterator[Line]:
    """Only the owner may read what may name patients."""
    for what, place in (("store rights", store_folder()), ("index rights", private_folder())):
        if place.exists():
            mode = place.stat().st_mode & 0o777
            open_to = "its owner alone may read it" if not mode & 0o077 else f"others may enter it (mode {mode:03o})"
            yield Line(what, "warn" if mode & 0o077 else "ok", open_to, f"chmod 700 {place}" if mode & 0o077 else "")


def space_lines() -> Iterator[Line]:
    place = store_folder()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    state: State = "bad" if usage.free < TOO_LITTLE else "warn" if usage.free < LITTLE else "ok"
    mend = "" if state == "ok" else "hounsfield gc --dry-run, then hounsfield gc; or --store DIR on another disk"
    yield Line("space", state, f"{size_text(usage.free)} of {size_text(usage.total)} free on the store's disk", mend, 6)


def weights_lines() -> Iterator[Line]:
    sets = weights_sets()
    if not sets:
        yield Line("weights", "bad", "none", "git checkout weights/phantom, or hounsfield weights import", WeightsError.exit_code)
    for name in sets:
        try:
            digests = [c.digest[:8] for c in find_weights(name).values() if c.tensors()]
            yield Line("weights", "ok", f"{name}: {', '.join(digests)}")
        except WeightsError as e:
            state: State = "bad" if name == "phantom" else "warn"
            mend = "git checkout weights/phantom" if name == "phantom" else f"hounsfield weights import --replace --name {name} …"
            yield Line("weights", state, f"{name}: {e}", mend, WeightsError.exit_code)


def _other_versions(constraints: str) -> Iterator[str]:
    """``name 1.2 (pinned 1.3)`` for what is installed in another version."""
    from importlib.metadata import PackageNotFoundError, version

    for line in constraints.splitlines():
        name, pinned, wanted = line.split("#")[0].strip().partition("==")
        if pinned:
            with suppress(PackageNotFoundError):
                if (installed := version(name)).split("+")[0] != wanted.split("+")[0]:
                    yield f"{name} {installed} (pinned {wanted})"


def as_json(lines: list[Line]) -> str:
    rows: list[dict[str, Any]] = [{"what": x.what, "state": x.state, "text": x.text, "mend": x.mend} for x in lines]
    return json.dumps({"lines": rows, "exit_code": exit_code(lines), "home": str(home())}, indent=1)
