"""`hounsfield …` in this process: spares the seconds that importing torch takes. What it prints and how it ends, caught."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from unittest import mock

from tests.flows.conftest import Done

QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL", "COLUMNS": "200"}


class InProcess:
    """The command line with ``home`` as its home; a test of the process itself uses ``Cli``."""

    def __init__(self, home: Path):
        self.home = home

    def __call__(self, *arguments: object) -> Done:
        from flows.cli import main

        out, err, code = io.StringIO(), io.StringIO(), None
        terminate = signal.getsignal(signal.SIGTERM)
        environment = {k: v for k, v in os.environ.items() if k not in ("HOUNSFIELD_STORE", "HOUNSFIELD_DEBUG")}
        with (
            mock.patch.dict(os.environ, environment | QUIET | {"HOUNSFIELD_HOME": str(self.home)}, clear=True),
            mock.patch.object(sys, "argv", ["hounsfield", *map(str, arguments)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
            finally:
                signal.signal(signal.SIGTERM, terminate)
        assert code is not None, "main() ends with an exit code"
        return Done(code, out.getvalue(), err.getvalue())
