"""A table as somebody wrote it: delimiter sniffed, columns found by their usual names, bad cells told by row number."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError

DELIMITERS = (",", ";", "\t", "|")
NAMED = 5  # rows named one by one in a line
MOST_BYTES = 2**30

# What a column may be called; compared without case, spaces and underscores.
NAMES = {
    "uid": ("seriesuid", "seriesinstanceuid", "series", "uid", "scanuid", "scan", "filename"),
    "x": ("coordx", "x", "xmm", "centerx", "centrex", "centerxmm", "centrexmm", "lpsx", "xlps", "centerlpsx", "worldx"),
    "y": ("coordy", "y", "ymm", "centery", "centrey", "centerymm", "centreymm", "lpsy", "ylps", "centerlpsy", "worldy"),
    "z": ("coordz", "z", "zmm", "centerz", "centrez", "centerzmm", "centrezmm", "lpsz", "zlps", "centerlpsz", "worldz"),
    "diameter": ("diametermm", "diameter", "diammm", "diam", "sizemm", "equivdiametermm"),
    "class": ("class", "candidateclass", "isnodule"),
    "malignant": ("malignant", "malbool", "ismalignant", "label", "malignantbool"),
    "rating": ("malignancy", "rating", "malignancyrating", "malignancymedian", "medianmalignancy"),
    "ratings": ("maldetails", "ratings", "malignancies"),
    "readers": ("readers", "nreaders", "annotators", "lenmaldetails", "agreement", "agreementlevel"),
    "excluded": ("excluded", "exclude"),
    "probability": ("probability", "p", "pnodule", "score", "confidence"),
    "kind": ("kind", "type", "texturekind"),
    "margin": ("margin",),
    "place": ("place",),
    "risk": ("risk", "pmalignant", "truerisk"),
}
CENTER = ("uid", "x", "y", "z")
TRUE, FALSE = ("1", "1.0", "true", "yes", "malignant"), ("0", "0.0", "false", "no", "benign")


@dataclass
class Notes:
    """What was wrong, counted, one line each; a line never holds a path or a name."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def rows(self, table: str, rows: Iterable[int], what: str, done: str = "left out") -> None:
        """``annotations: 3 rows (4, 9, 12) have no number in diameter: left out``"""
        numbers = list(rows)
        if not numbers:
            return
        some = ", ".join(map(str, numbers[:NAMED])) + (", …" if len(numbers) > NAMED else "")
        word = "row" if len(numbers) == 1 else f"{len(numbers)} rows:"
        self.say(f"{table}: {word} {some}: {what}; {done}")


@dataclass
class Table:
    """Columns by what they mean (the keys of NAMES), as text. rows[k]: the line of the file that row k stands in (header: 1)."""

    name: str
    columns: dict[str, NDArray[Any]]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, *columns: str) -> bool:
        return all(c in self.columns for c in columns)

    def keep(self, which: NDArray[np.bool_]) -> Table:
        return Table(self.name, {n: c[which] for n, c in self.columns.items()}, self.rows[which])

    def numbers(self, column: str) -> NDArray[np.float64]:
        """NaN where the cell is empty or no number."""
        import pandas as pd

        text = pd.Series(self.columns[column], dtype=object)
        values = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, copy=True)
        if np.isnan(values).any():  # a decimal comma, as spreadsheets in much of Europe write
            lost = np.isnan(values)
            again = text[lost].astype(str).str.replace(",", ".", regex=False)
            values[lost] = pd.to_numeric(again, errors="coerce").to_numpy(np.float64)
        return values


def columns_of(data: bytes) -> frozenset[str]:
    """What the columns of a table mean, by its first line; empty where it is no table."""
    try:
        first = _decoded(data[:65536], whole=False).lstrip().splitlines()[0]
    except (IndexError, UnicodeError):
        return frozenset()
    return frozenset(_meanings(first.split(_delimiter(first))).values())


def read_table(data: bytes, name: str, needs: Iterable[str], notes: Notes) -> Table:
    """Every row of a CSV. Raises InputError: empty, too large, no text, or without a column of ``needs`` (says which)."""
    import pandas as pd

    if len(data) > MOST_BYTES:
        raise InputError(f"{name}: the table is larger than {MOST_BYTES // 2**20} MiB")
    try:
        text = _decoded(data)
    except UnicodeError:
        raise InputError(f"{name}: this is no text: write the table as CSV in UTF-8") from None
    header = next((line for line in text.splitlines() if line.strip()), "")
    if not header:
        raise InputError(f"{name}: the table is empty: a first row with column names is needed")
    delimiter = _delimiter(header)
    meanings = _meanings(_cells(header, delimiter))
    _check_columns(name, header, delimiter, set(meanings.values()), needs)
    frame, ragged = _parsed(pd, text, delimiter, name)
    notes.rows(name, ragged, f"more cells than the {len(_cells(header, delimiter))} columns")
    frame = frame.loc[:, sorted(meanings)]
    columns = {
        meanings[i]: np.array([c.strip() for c in frame[i].fillna("").astype(str)], dtype=object) for i in sorted(meanings)
    }
    table = Table(name, columns, frame.index.to_numpy(np.int64) + 1)
    filled = np.zeros(len(table), bool)
    for column in columns.values():
        filled |= column != ""
    return table.keep(filled)


def _decoded(data: bytes, whole: bool = True) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "strict" if whole else "ignore")
    if b"\0" in data[:4096]:
        raise UnicodeError
    try:
        return data.decode("utf-8-sig", "strict" if whole else "ignore")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=lambda d: len(set(_meanings(header.split(d)).values())) * 100 + header.count(d))


def _cells(header: str, delimiter: str) -> list[str]:
    return [c.strip().strip('"') for c in header.split(delimiter)]


def _meanings(cells: list[str]) -> dict[int, str]:
    """Index of a column -> what it means; the first of two with the same meaning."""
    found: dict[int, str] = {}
    for k, cell in enumerate(cells):
        plain = re.sub(r"[\s_\-\"\[\]()]", "", cell).lower()
        meaning = next((m for m, names in NAMES.items() if plain in names), None)
        if meaning and meaning not in found.values():
            found[k] = meaning
    return found


WRITE = {"uid": "seriesuid", "x": "coordX", "y": "coordY", "z": "coordZ", "diameter": "diameter_mm", "class": "class"}


def _check_columns(name: str, header: str, delimiter: str, there: set[str], needs: Iterable[str]) -> None:
    lacking = [WRITE.get(n, n) for n in needs if n not in there]
    if lacking:
        have = ", ".join(c[:30] for c in _cells(header, delimiter)[:12])
        wanted = ", ".join(WRITE.get(n, n) for n in needs)
        raise InputError(f"{name}: no column {', '.join(lacking)}; needed are {wanted} (LPS millimetres), there are {have}")


def _parsed(pd: Any, text: str, delimiter: str, name: str) -> tuple[Any, list[int]]:
    """All cells as text, rows counted from 0 at the header, and the numbers of rows with too many cells."""
    # Python's own reader counts rows exactly, but takes 5 s where this takes 1 s for LUNA16's 750,000 candidates.
    options: dict[str, Any] = {
        "sep": delimiter,
        "header": None,
        "dtype": str,
        "skip_blank_lines": False,
        "keep_default_na": False,
    }
    at = next(k for k, line in enumerate(text.splitlines()) if line.strip())
    width = len(_cells(text.splitlines()[at], delimiter))
    try:
        frame = pd.read_csv(io.StringIO(text), names=range(width), index_col=False, on_bad_lines="error", **options)
        ragged: list[int] = []
    except (pd.errors.ParserError, ValueError):
        frame, ragged = _parsed_slowly(pd, text, delimiter, width, name)
    return frame.iloc[at + 1 :], ragged


def _parsed_slowly(pd: Any, text: str, delimiter: str, width: int, name: str) -> tuple[Any, list[int]]:
    import csv

    rows: dict[int, list[str]] = {}
    ragged: list[int] = []
    try:
        for k, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter)):
            if len(row) > width and any(c.strip() for c in row[width:]):
                ragged.append(k + 1)
                row = []
            rows[k] = (row + [""] * width)[:width]
    except csv.Error as e:
        raise InputError(f"{name}: row {len(rows) + 1} cannot be read as CSV ({e})") from None
    return pd.DataFrame.from_dict(rows, orient="index", columns=range(width)), ragged


# -- what rows say ---------------------------------------------------------------------------------------------------------------


def with_centers(table: Table, notes: Notes) -> tuple[Table, NDArray[np.float64]]:
    """The rows that have a series and three finite numbers, and their centres ``[n, 3]``; the others are told."""
    centers = np.stack([table.numbers(c) for c in "xyz"], axis=1) if len(table) else np.zeros((0, 3))
    named = table.columns["uid"] != ""
    notes.rows(table.name, table.rows[~named], "no series UID")
    for k, column in enumerate("xyz"):
        bad = named & ~np.isfinite(centers[:, k])
        notes.rows(table.name, table.rows[bad], f"no number in {WRITE[column]}")
        named &= ~bad
    return table.keep(named), centers[named]


def without_repeated(table: Table, values: NDArray[np.float64], notes: Notes) -> NDArray[np.bool_]:
    """True for the first of rows with the same series and the same ``values`` (to a micrometre); the rest is counted."""
    seen: set[tuple] = set()
    first = np.ones(len(table), bool)
    for k, (uid, row) in enumerate(zip(table.columns["uid"], np.round(values, 3).tolist(), strict=True)):
        key = (uid, *row)
        first[k] = key not in seen
        seen.add(key)
    notes.rows(table.name, table.rows[~first], "the same as an earlier row")
    return first


def optional(table: Table, column: str, convert: Callable[[str], Any], notes: Notes) -> list[Any]:
    """The column's cells converted; None where the column or the cell is absent, or the cell makes no sense (told)."""
    if column not in table.columns:
        return [None] * len(table)
    values, bad, seen = [], [], Counter[str]()
    for row, text in zip(table.rows, table.columns[column], strict=True):
        try:
            values.append(convert(text) if text and text.lower() not in ("nan", "none", "na", "null") else None)
        except ValueError:
            values.append(None)
            bad.append(int(row))
            seen[column] += 1
    notes.rows(table.name, bad, f"what stands in {column} is not understood", "taken as not known")
    return values


def as_bool(text: str) -> bool:
    """Raises ValueError for what is neither yes nor no."""
    low = text.lower()
    if low in TRUE or low in FALSE:
        return low in TRUE
    raise ValueError(text)


def as_share(text: str) -> float:
    """0..1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def as_rating(text: str) -> float:
    """1..5."""
    value = float(text)
    if not 1 <= value <= 5:
        raise ValueError(text)
    return value


def as_ratings(text: str) -> list[float]:
    """``[4, 2, 4, 2]``"""
    return [as_rating(t) for t in re.split(r"[,;\s]+", text.strip("[]() ")) if t]


def as_count(text: str) -> int:
    value = float(text)
    if value != int(value) or value < 0:
        raise ValueError(text)
    return int(value)
