"""What can go wrong, each with the exit code that the command line ends with.

A message is one line: what was wrong, what was allowed, what to do. It never holds a path, a file name or anything else that
may name a patient, because it travels to logs and to the Prefect UI. What only the person at the terminal may see goes into
``private`` and is printed there alone.
"""

from __future__ import annotations

import errno

PASSING = frozenset(
    (errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.ESTALE, errno.ETIMEDOUT)
)  # a disk that is busy, or away for a moment


class HounsfieldError(Exception):
    """An expected failure: one clear line for people, a documented exit code for scripts.

    passing  whether trying again in a moment may help: a busy disk, never a bad scan
    """

    exit_code = 1

    def __init__(self, message: str, *, private: str | None = None, passing: bool = False):
        super().__init__(message)
        self.private, self.passing = private, passing


class UsageError(HounsfieldError):
    """The request itself is off: an unknown stage, an ambiguous reference, a parameter out of bounds."""

    exit_code = 2


class InputError(HounsfieldError):
    """The input cannot be read as a CT: nothing there, no CT in it, broken or hostile files."""

    exit_code = 3


class ScanRefused(HounsfieldError):
    """The scan was read but is not fit to be screened: no lungs, part of a chest, gaps, not Hounsfield units."""

    exit_code = 4


class NoLungs(ScanRefused):
    """There are no lungs in the scan: whatever it shows, it is no chest."""


class WeightsError(HounsfieldError):
    """A checkpoint is missing, damaged, hostile, or made for something else."""

    exit_code = 5


class NotFiniteError(WeightsError):
    """A network answers with something that is no number: its weights are damaged, or a training has broken them."""


class StoreError(HounsfieldError):
    """The store cannot be used: disk full, read-only, made by a newer version."""

    exit_code = 6


class ServerError(HounsfieldError):
    """The Prefect server, or the Dask cluster, cannot be reached or does not answer."""

    exit_code = 7


class TrainingError(HounsfieldError):
    """Training cannot go on: the loss is no longer a number, there is nothing to learn from, a kept state does not fit."""

    exit_code = 8


EXIT_CODES = {
    0: "done",
    1: "an unexpected failure; a defect worth reporting",
    2: "the command was called wrongly (unknown option, stage or reference)",
    3: "the input cannot be read as a CT (nothing there, no eligible series, broken or hostile files)",
    4: "the scan was read but refused (no lungs, part of a chest, gaps, not Hounsfield units)",
    5: "the weights cannot be used (missing, damaged, hostile, made for something else)",
    6: "the store, or the folder of --out, cannot be used (disk full, read-only, made by a newer version)",
    7: "the Prefect server, or the Dask cluster, cannot be reached",
    8: "training stopped (loss not a number, nothing to learn from, a kept state that does not fit)",
    130: "cancelled (CTRL-C)",
}
