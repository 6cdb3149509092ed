"""What a person at the terminal sees while a flow runs: one line a stage, a bar inside the long ones. On stderr."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from artifacts.store import Ref
from tasks.stage import Outcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status


def wide_console(markup: bool = True) -> Console:
    """Stdout for tables: the terminal's own width, and wide enough where the output goes to a file or a pipe.

    Without ``markup`` brackets are brackets: for what holds names that people, cards or files gave.
    """
    from rich.console import Console

    console = Console(soft_wrap=True, markup=markup)
    return console if console.is_terminal else Console(width=160, soft_wrap=True, markup=markup)


def engine() -> str:
    """What runs the flow, for the first line at the terminal."""
    from prefect.settings import PREFECT_API_URL

    if url := PREFECT_API_URL.value():
        return f"through the Prefect server at {url} (--direct does without)"
    return "through Prefect (its embedded server takes some seconds to start; --direct does without)"


class TerminalWatcher:
    """One line a stage: what, how long, what came out, its ref."""

    def __init__(self, console: Console):
        self.console = console
        self._status: Status | None = None

    def started(self, stage: str) -> None:
        if self.console.is_terminal:
            self._status = self.console.status(f"{stage} …")
            self._status.start()

    def progress(self, share: float) -> None:
        if self._status:
            self._status.update(f"{self._bar(share)} {share:4.0%}")

    @staticmethod
    def _bar(share: float, width: int = 30) -> str:
        full = round(share * width)
        return "━" * full + "╌" * (width - full)

    def tell(self, metrics: Mapping[str, Any]) -> None:
        self.say("  " + measured(metrics))

    def finished(self, stage: str, ref: Ref, outcome: Outcome, seconds: float) -> None:
        from rich.markup import escape

        self.close()
        mark = "[cyan]reused[/]" if outcome.reused else "[green]ran   [/]"
        line = f"{stage:<14} {mark} {seconds:6.2f} s  [dim]{ref}[/]  {escape(outcome.headline)}"
        self.console.print(line, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def close(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


class LogWatcher:
    """The same to the log of the Prefect run, where nobody sits at a terminal."""

    def __init__(self) -> None:
        self._logger = _run_logger()

    def started(self, stage: str) -> None:
        self._logger.info("%s …", stage)

    def progress(self, share: float) -> None:
        pass

    def tell(self, metrics: Mapping[str, Any]) -> None:
        self._logger.info(measured(metrics))

    def finished(self, stage: str, ref: Ref, outcome: Outcome, seconds: float) -> None:
        self._logger.info("%s %s in %.2f s: %s %s", stage, "reused" if outcome.reused else "ran", seconds, ref, outcome.headline)

    def say(self, text: str) -> None:
        self._logger.info(text)

    def close(self) -> None:
        pass


def measured(metrics: Mapping[str, Any]) -> str:
    """``epoch 3  loss 0.1234  eta 12 s``"""

    def text(name: str, value: Any) -> str:
        if name.endswith("_s"):
            return f"{name[:-2].replace('_', ' ')} {value:.0f} s"
        short = f"{value:.0f}" if isinstance(value, float) and abs(value) >= 1000 else f"{value:.4g}"
        return f"{name.replace('_', ' ')} {short if isinstance(value, float) else value}"

    return "  ".join(text(n, v) for n, v in metrics.items())


watching: ContextVar[TerminalWatcher | LogWatcher | None] = ContextVar("watching", default=None)


def watcher() -> TerminalWatcher | LogWatcher:
    """Who looks on: the terminal that the command line set, or the run's log."""
    return watching.get() or LogWatcher()


def _run_logger() -> logging.Logger | logging.LoggerAdapter:
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("hounsfield")
