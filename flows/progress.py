"""How far a run over many scans has come, and when it will be done: a line a scan, and a bar on the run's page."""

from __future__ import annotations

import time
from typing import Any

from artifacts.publish import shown
from flows.console import watcher
from tasks.stage import inside_prefect

SHOWN_EVERY_S = 5.0  # a call to the server costs some milliseconds


class Progress:
    """Of ``total`` scans, ``at_once`` at a time."""

    def __init__(self, name: str, total: int, at_once: int):
        self.name, self.total, self.at_once = name, total, at_once
        self.done, self._started, self._shown = 0, time.monotonic(), 0.0
        self._watcher = watcher()
        self._bar: Any = self._make_bar() if inside_prefect() and total else None

    def step(self, line: str, seconds: float) -> None:
        """One more scan has come to something."""
        self.done += 1
        self._watcher.say(f"[{self.done} of {self.total}, {self.left()}] {line} ({seconds:.1f} s)")
        now = time.monotonic()
        if self._bar and (now - self._shown > SHOWN_EVERY_S or self.done == self.total):
            self._shown = now
            self._show()

    @property
    def eta_s(self) -> float:
        """Seconds until the last scan is done, going on as it went so far."""
        return (time.monotonic() - self._started) / max(1, self.done) * (self.total - self.done)

    def left(self) -> str:
        return "all done" if self.done >= self.total else f"{duration(self.eta_s)} left"

    def _make_bar(self) -> Any:
        from prefect.artifacts import create_progress_artifact

        key = f"{self.name}-progress"
        return shown(create_progress_artifact, "the progress", progress=0.0, key=key, description=self._text())

    def _show(self) -> None:
        from prefect.artifacts import update_progress_artifact

        share = 100.0 * self.done / self.total
        shown(update_progress_artifact, "the progress", artifact_id=self._bar, progress=share, description=self._text())

    def _text(self) -> str:
        return f"{self.name}: {self.done} of {self.total} scans" + (f", {self.left()}" if self.done else "")


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``, ``2.1 d``"""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}" if unit != "h" else f"{seconds / size:.1f} h"
    return f"{seconds / 86_400:.1f} d"
