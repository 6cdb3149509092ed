"""Jobs that do one odd thing as soon as they are looked into."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from artifacts.errors import HounsfieldError, ScanRefused, StoreError


class Odd:
    choice = ""

    def __init__(self, what: str):
        self.name = self.what = what

    @property
    def settings(self) -> Any:
        return getattr(self, f"_{self.what}")()

    def _pid(self) -> None:
        raise HounsfieldError(str(os.getpid()))

    def _refuse(self) -> None:
        raise ScanRefused("no lungs")

    def _busy(self) -> None:
        raise StoreError("the disk is busy", passing=True)

    def _defect(self) -> None:
        raise ZeroDivisionError("/home/doe")

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _deaf(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)

    def _sleep(self) -> None:
        _caller("tell")(str(os.getpid()))
        time.sleep(600)

    def _gpu(self) -> None:
        with _caller("slot")("cuda:0"):
            raise HounsfieldError("had the slot")


def _caller(name: str) -> Any:
    """An argument of ``scan_job.do``, which called us."""
    import sys

    frame = sys._getframe()
    while frame and frame.f_code.co_name != "do":
        frame = frame.f_back  # type: ignore[assignment]
    return frame.f_locals[name]
