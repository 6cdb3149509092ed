"""Marks, nodules and scan lists: the three tables that LUNA16's evaluation takes, read and written in its own form.

A table that is odd in a way that would change a score is refused with one line, never mended: a result that quietly leaves out
what it could not read is worse than none. What changes nothing (rows that are there twice) is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from artifacts.errors import InputError
from tasks.datasets.table import WRITE, Notes, Table, columns_of, read_table

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "probability")
DIGITS = 6  # decimals of a millimetre in a submission; more is noise
Series = NDArray[np.str_]


@dataclass(frozen=True)
class Marks:
    """What a reader points at. series ``[n]``; center_lps_mm ``[n, 3]`` in mm; probability ``[n]``, any finite number."""

    series: Series
    center_lps_mm: NDArray[np.float64]
    probability: NDArray[np.float64]
    said: list[str] = field(default_factory=list)  # what was odd about the table, one line each

    def __len__(self) -> int:
        return len(self.probability)


@dataclass(frozen=True)
class Nodules:
    """What is there. diameter_mm ``[n]``, negative where unknown; excluded ``[n]``: neither to be found nor to be blamed for."""

    series: Series
    center_lps_mm: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]
    excluded: NDArray[np.bool_]
    said: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.diameter_mm)


def marks_of(series: Sequence[str], center_lps_mm: ArrayLike, probability: ArrayLike, said: Sequence[str] = ()) -> Marks:
    """Marks of plain sequences."""
    centers = np.asarray(center_lps_mm, dtype=np.float64).reshape(-1, 3)
    return Marks(np.array(series, dtype=np.str_), centers, np.asarray(probability, dtype=np.float64), list(said))


def nodules_of(
    series: Sequence[str], center_lps_mm: ArrayLike, diameter_mm: ArrayLike, excluded: ArrayLike, said: Sequence[str] = ()
) -> Nodules:
    """Nodules of plain sequences."""
    centers = np.asarray(center_lps_mm, dtype=np.float64).reshape(-1, 3)
    diameters, out = np.asarray(diameter_mm, dtype=np.float64), np.asarray(excluded, dtype=bool)
    return Nodules(np.array(series, dtype=np.str_), centers, diameters, out, list(said))


def read_submission(path: Path) -> Marks:
    """LUNA16's submission: seriesuid, coordX, coordY, coordZ, probability. Rows that are there twice count once, and are said.

    InputError, one line, for a table that is not one, lacks a column, or has a cell that is no finite number.
    """
    name = "the submission"
    table, numbers = _read(path, name, ("x", "y", "z", "probability"))
    once = _once(table.columns["uid"], numbers)
    said = _doubled(name, len(numbers) - len(once))
    if not len(numbers):
        said.append(f"{name} has no marks, only a line of names")
    return marks_of([table.columns["uid"][i] for i in once], numbers[once, :3], numbers[once, 3], said)


def read_nodules(annotations: Path, excluded: Path | None = None) -> Nodules:
    """LUNA16's annotations.csv and, where given, annotations_excluded.csv (whose diameter may be -1: unknown).

    An annotation that is there twice counts once, and is said; among the excluded it makes no difference. InputError as above.
    """
    parts = [_read_annotations(annotations, "the annotations", least_mm=0.0)]
    if excluded:
        parts.append(_read_annotations(excluded, "the excluded annotations", least_mm=-np.inf))
    series = [s for names, _ in parts for s in names]
    numbers = np.concatenate([n for _, n in parts])
    out = np.repeat([i > 0 for i in range(len(parts))], [len(n) for _, n in parts])
    once = _once(series, np.column_stack([numbers, out]))
    said = _doubled("the annotations", int((~out).sum() - (~out[once]).sum()))
    return nodules_of([series[i] for i in once], numbers[once, :3], numbers[once, 3], out[once], said)


def read_scans(path: Path) -> tuple[list[str], list[str]]:
    """(series UIDs in the file's order, what was odd): the column called seriesuid or, without such a header, the first one."""
    name = "the scan list"
    data = _bytes(path, name)
    if "uid" not in columns_of(data):
        data = b"seriesuid\n" + b"\n".join(line.split(b",")[0].split(b";")[0].split(b"\t")[0] for line in data.splitlines())
    uids = [u for u in read_table(data, name, ("uid",), Notes()).columns["uid"] if u]
    if not uids:
        raise InputError(f"{name} names no series: give one series UID a line")
    unique = list(dict.fromkeys(uids))
    return unique, _doubled(name, len(uids) - len(unique))


def write_submission(path: Path, marks: Marks) -> None:
    """LUNA16's submission CSV, the most probable mark of all first; whole or not at all."""
    from artifacts.store import write_whole

    write_whole(path, submission_csv(marks))


def submission_csv(marks: Marks) -> str:
    order = np.argsort(-marks.probability, kind="stable")
    rows = [
        f"{marks.series[i]},{','.join(f'{v:.{DIGITS}f}' for v in marks.center_lps_mm[i])},{float(marks.probability[i])!r}"
        for i in order
    ]
    return "\n".join([",".join(COLUMNS), *rows]) + "\n"


# -- reading, strictly -------------------------------------------------------------------------------------------------------


def _bytes(path: Path, name: str) -> bytes:
    if not path.is_file():
        raise InputError(f"{name} is not there: give a CSV file", private=str(path))
    try:
        return path.read_bytes()
    except OSError as e:
        raise InputError(f"{name} cannot be read ({e.strerror})", private=str(path)) from e


def _read(path: Path, name: str, columns: tuple[str, ...]) -> tuple[Table, NDArray[np.float64]]:
    """The table and its ``columns`` as finite numbers ``[n, columns]``; InputError names the first row that has none."""
    notes = Notes()
    table = read_table(_bytes(path, name), name, ("uid", *columns), notes)
    if notes.lines:
        raise InputError(f"{notes.lines[0].rpartition('; ')[0]}: correct the table")
    numbers = np.stack([table.numbers(c) for c in columns], axis=1) if len(table) else np.empty((0, len(columns)))
    named = table.columns["uid"] != ""
    bad = np.flatnonzero(~(np.isfinite(numbers).all(axis=1) & named))
    if len(bad):
        row, more = bad[0], len(bad) - 1
        column = int(np.isfinite(numbers[row]).argmin())
        also = f", and {more} more rows like it" if more else ""
        what = (
            f"{WRITE.get(columns[column], columns[column])} is '{table.columns[columns[column]][row][:40]}', not a finite number"
            if named[row]
            else "no series UID"
        )
        raise InputError(f"{name}: row {table.rows[row]}: {what}{also}: correct the table")
    return table, numbers


def _read_annotations(path: Path, name: str, least_mm: float) -> tuple[list[str], NDArray[np.float64]]:
    table, numbers = _read(path, name, ("x", "y", "z", "diameter"))
    bad = np.flatnonzero(numbers[:, 3] <= least_mm)
    if bad.size:
        at, mm = table.rows[bad[0]], numbers[bad[0], 3]
        raise InputError(f"{name}: row {at}: a diameter of {mm:g} mm; a nodule that counts has one above 0: correct the table")
    return list(table.columns["uid"]), numbers


def _once(series: Sequence[str] | NDArray, numbers: NDArray[np.float64]) -> NDArray[np.intp]:
    """The first row of each that are equal, in the order of the file."""
    seen: dict[tuple[str, bytes], int] = {}
    for i, name in enumerate(series):
        seen.setdefault((name, numbers[i].tobytes()), i)
    return np.fromiter(seen.values(), dtype=np.intp, count=len(seen))


def _doubled(name: str, count: int) -> list[str]:
    return [f"{name}: {count} {'row is' if count == 1 else 'rows are'} there twice; each counts once"] if count else []
