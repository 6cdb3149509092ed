"""Failures without what may name a patient: an unexpected error's words, and the chain of errors behind an expected one.

What Prefect logs and keeps of a failure is the error that a flow or a task ends with, and its traceback; a library's error may
hold a path or a header's words. So it ends with our own line, and the whole traceback stays in the private folder.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from artifacts.errors import HounsfieldError
from artifacts.home import make_private, private_folder


class Unexpected(HounsfieldError):
    """A defect, or a scan that nobody has thought of."""


@contextmanager
def discreet() -> Iterator[None]:
    """Whatever goes wrong comes out as a HounsfieldError that holds nothing private, without the errors that led to it.

    ``HOUNSFIELD_DEBUG`` lets everything out as it is.
    """
    try:
        yield
    except HounsfieldError as e:
        if os.environ.get("HOUNSFIELD_DEBUG"):
            raise
        raise e from None
    except Exception as e:
        if os.environ.get("HOUNSFIELD_DEBUG") or type(e).__module__.startswith("prefect."):  # its signals: a cancelled run
            raise
        if interrupted(e):
            raise KeyboardInterrupt from None
        raise Unexpected(f"unexpected {type(e).__name__}; {kept(e)}; HOUNSFIELD_DEBUG=1 shows it here") from None


def interrupted(e: BaseException | None) -> bool:
    """Whether CTRL-C stands behind an error: a library (Prefect between two tasks) may stumble while it cleans up after one."""
    seen = []
    while e is not None and e not in seen:
        if isinstance(e, KeyboardInterrupt):
            return True
        seen.append(e)
        e = e.__cause__ or e.__context__
    return False


def kept(e: BaseException, of: str = "") -> str:
    """Write the traceback where only the owner reads it; says where that is. ``of`` whom: the last one alone is kept."""
    name = (of or f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}") + ".txt"
    with suppress(OSError):
        folder = private_folder() / "failures"
        make_private(folder)
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", errors="replace") as f:
            f.write("".join(traceback.format_exception(e)))
        return f"details in $HOUNSFIELD_HOME/private/failures/{name}"
    return "details could not be kept"
