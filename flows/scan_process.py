"""A process for each scan: it takes its memory with it, and can be ended when it takes too long.

A helper process imports everything once and forks a fresh child for every scan, so that a scan costs no imports. Whoever starts
the scan keeps one end of a pair of sockets: jobs go in, lines and the result come out; when that end closes, however it
closes, the helper ends the child and itself.

    python -m flows.scan_process FD        the helper
"""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from artifacts.home import private_folder

ROOT = Path(__file__).parents[1]
GRACE_S = 3.0  # for a child to remove what it was writing
START_S = 120.0  # for the helper to import everything
TICK_S = 0.25
HEAVY = (  # what stages import when they need it, so that other commands start at once
    "torch",
    "zarr",
    "h5py",
    "cc3d",
    "jinja2",
    "PIL.ImageDraw",
    "pydicom.pixels",
    "scipy.ndimage",
    "scipy.spatial",
    "safetensors.numpy",
    "artifacts.lettering",
)


class Ended(Exception):
    """The scan's process ended without a result; the message says how."""


class ScanProcess:
    """One helper process, started when the first scan comes, and again after it had to be ended."""

    def __init__(self, threads: int):
        self.threads = threads  # of the CPU that one scan may use
        self.closed = False  # by whoever ends the whole run
        self._process: subprocess.Popen | None = None
        self._conn: Any = None

    def run(self, job: Any, limit_s: float, tell: Callable[[str], None], slot: Callable[[str], Any]) -> Any:
        """The job's result. Raises Ended where the process died or had to be ended after ``limit_s``."""
        try:
            self._start()
            self._conn.send(job)
            with ExitStack() as slots:
                return self._hear(time.monotonic() + limit_s, limit_s, tell, slot, slots)
        except (EOFError, OSError, BrokenPipeError) as e:
            self.end()
            killed = "its process ended in the middle: killed, perhaps for want of memory"
            raise Ended("the run was ended in the middle of it" if self.closed else killed) from e
        except BaseException:
            self.end()
            raise

    def _hear(self, deadline: float, limit_s: float, tell: Any, slot: Callable[[str], Any], slots: ExitStack) -> Any:
        conn = self._conn
        while True:
            if time.monotonic() > deadline:
                raise Ended(f"it took longer than {limit_s:g} s and its process was ended")
            if not conn.poll(TICK_S):
                continue
            kind, said = conn.recv()
            if kind == "line":
                tell(said)
            elif kind == "want":
                asked = time.monotonic()
                slots.enter_context(slot(said))
                deadline += time.monotonic() - asked  # waiting for a GPU is not the scan's fault
                conn.send("have")
            elif kind == "free":
                slots.close()
            elif kind == "result":
                return said
            elif kind == "died":
                raise Ended(said)

    def _start(self) -> None:
        if self._process and self._process.poll() is None:
            return
        self.end()
        ours, theirs = Pipe()
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": _path()}
        private_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        with theirs, (private_folder() / "scan-process.log").open("ab") as log:
            os.fchmod(log.fileno(), 0o600)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.scan_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._conn = ours
        if not ours.poll(START_S) or ours.recv() != ("ready", None):
            raise Ended("the process for scans did not start; see $HOUNSFIELD_HOME/private/scan-process.log")

    def end(self) -> None:
        """End the helper and the scan it is at: politely, then not."""
        process, self._process = self._process, None
        if self._conn is not None:
            with suppress(OSError):
                self._conn.close()
            self._conn = None
        if process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S + 1)  # it ends by itself, child first, when the socket closes
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class ScanProcesses:
    """As many helpers as scans go on at once. ``close`` ends them and what they do."""

    def __init__(self, at_once: int):
        threads = max(1, (os.cpu_count() or 1) // at_once)
        self._all = [ScanProcess(threads) for _ in range(at_once)]
        self._free: queue.SimpleQueue[ScanProcess] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    @contextmanager
    def one(self) -> Iterator[ScanProcess]:
        process = self._free.get()
        try:
            yield process
        finally:
            self._free.put(process)

    def close(self) -> None:
        for process in self._all:
            process.closed = True
            process.end()


def _path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


# -- the helper ----------------------------------------------------------------------------------------------------------------


def serve(conn: Connection) -> None:
    """Fork a child for each job that comes; end it when the socket closes."""
    from flows import scan_job

    import_everything()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # CTRL-C is for whoever started us; its end closes the socket
    conn.send(("ready", None))
    while True:
        try:
            job = conn.recv()
        except EOFError:
            return
        alive, inside = os.pipe()  # the child holds one end: it closes when the child does
        if (pid := os.fork()) == 0:
            os.close(alive)
            _child(scan_job, job, conn)
        os.close(inside)
        if not _watch(pid, alive, conn):
            return


def import_everything() -> None:
    """Once, before the first fork: a child that imported PyTorch, Zarr and SciPy itself would spend seconds on it."""
    for name in HEAVY:
        import_module(name)


def _child(scan_job: Any, job: Any, conn: Connection) -> None:
    def terminate(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    code = 1
    try:
        tell = lambda line: conn.send(("line", line))  # noqa: E731
        conn.send(("result", scan_job.do(job, lambda device: _slot(conn, device), tell)))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def _slot(conn: Connection, device: str) -> Iterator[None]:
    """Whoever started us holds the GPU's slot for us."""
    conn.send(("want", device))
    if conn.recv() != "have":
        raise EOFError
    try:
        yield
    finally:
        conn.send(("free", device))


def _watch(pid: int, alive: int, conn: Connection) -> bool:
    """Wait for the child; whether there is still somebody to work for."""
    poller = select.poll()
    poller.register(alive, select.POLLIN)
    poller.register(conn.fileno(), 0)  # only its end; what it says is for the child
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if alive in ready:
            break
        if conn.fileno() in ready:
            _finish(pid, alive)
            return False
    os.close(alive)
    _, status = os.waitpid(pid, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        killed = " (for want of memory, perhaps)" if code == -signal.SIGKILL else ""
        how = f"by signal {-code}{killed}" if code < 0 else f"with code {code}"
        conn.send(("died", f"its process ended {how}"))
    return True


def _finish(pid: int, alive: int) -> None:
    """End the child: it may clean up for a moment."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if not select.select([alive], [], [], GRACE_S)[0]:
            os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
