"""The ledger of the inbox: what became of every scan. One SQLite file in the private folder, written row by row.

It knows scans by series UID (or ``source-…`` token of an archive), never by path or name. A run that dies leaves every
row as it was last written.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from artifacts.errors import StoreError
from artifacts.store import explained

STATES = ("waiting", "due", "running", "done", "failed", "refused", "left out", "gone")
VERSION = 1


@dataclass
class Entry:
    """One scan. Times are seconds since 1970 by this machine's clock; 0: never.

    state      waiting   its files are still arriving
               due       to be screened; running: in a run now, or in one that died
               done, failed (and when it is tried again: ``due_at``), refused (until its files change)
               left out  not the one that the series policy chose
               gone      its files are no longer there
    why        of a failure, a refusal, a wait; choice: why the policy chose this series
    mark       of its files, as the header index gives it; quiet_since: when this mark was first seen
    settings   digest of the parameters that it was screened or refused with
    """

    name: str
    study: str = ""
    state: str = "waiting"
    why: str = ""
    choice: str = ""
    mark: str = ""
    settings: str = ""
    tries: int = 0
    due_at: float = 0.0
    first_seen: float = 0.0
    quiet_since: float = 0.0
    finished_at: float = 0.0
    seconds: float = 0.0
    scan: str = ""  # digest
    reports: list[str] = field(default_factory=list)  # refs
    weights: str = ""


@dataclass(frozen=True)
class Run:
    """One run over the inbox. ended: 0 while it goes on, or where it died; how: empty, cancelled, or failed: why."""

    number: int
    started: float
    ended: float
    counts: dict[str, int]
    how: str = ""


class Ledger:
    """The ledger in ``path``. Raises StoreError where it cannot be read or written."""

    def __init__(self, path: Path):
        self.path = path
        with self._open() as db:
            columns = ", ".join(f"{f.name}{' PRIMARY KEY' if f.name == 'name' else ''}" for f in fields(Entry))
            db.execute(f"CREATE TABLE IF NOT EXISTS scans ({columns})")
            db.execute("CREATE TABLE IF NOT EXISTS runs (number INTEGER PRIMARY KEY, started, ended, counts, how DEFAULT '')")
            if "how" not in {column[1] for column in db.execute("PRAGMA table_info(runs)")}:  # a ledger of before
                db.execute("ALTER TABLE runs ADD COLUMN how DEFAULT ''")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise StoreError("the inbox's ledger was made by a newer Hounsfield: upgrade")
            db.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction: whole or not at all."""
        try:
            with explained("write", "inbox's ledger", "$HOUNSFIELD_HOME"):
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                if not self.path.exists():
                    os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            db = sqlite3.connect(self.path, timeout=60)
            try:
                with db:
                    yield db
            finally:
                db.close()
        except sqlite3.OperationalError as e:
            busy = "locked" in str(e)
            what = "is busy" if busy else "cannot be written (disk full or read-only)"
            raise StoreError(f"the inbox's ledger {what}: see $HOUNSFIELD_HOME/private", passing=busy) from e
        except sqlite3.DatabaseError as e:
            again = "remove $HOUNSFIELD_HOME/private/inbox.db; what is in the store stays and is reused"
            raise StoreError(f"the inbox's ledger is damaged: {again}") from e

    def entries(self, *states: str) -> dict[str, Entry]:
        """Every scan, or those in ``states``, by name, oldest first."""
        where = f"WHERE state IN ({','.join('?' * len(states))})" if states else ""
        with self._open() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM scans {where} ORDER BY first_seen, name", states).fetchall()
        return {e.name: e for e in map(_entry, rows)}

    def put(self, *entries: Entry) -> None:
        """Write these rows, all or none."""
        marks = ", ".join("?" * len(fields(Entry)))
        with self._open() as db:
            db.executemany(f"INSERT OR REPLACE INTO scans ({_COLUMNS}) VALUES ({marks})", map(_row, entries))

    def drop(self, *names: str) -> None:
        with self._open() as db:
            db.executemany("DELETE FROM scans WHERE name = ?", [(n,) for n in names])

    def counts(self) -> dict[str, int]:
        """How many scans are in each state."""
        with self._open() as db:
            found = dict(db.execute("SELECT state, COUNT(*) FROM scans GROUP BY state").fetchall())
        return {s: int(found[s]) for s in STATES if s in found}

    def begin(self, now: float) -> int:
        """A new run's number."""
        with self._open() as db:
            return int(db.execute("INSERT INTO runs (started, ended, counts) VALUES (?, 0, '{}')", (now,)).lastrowid or 0)

    def end(self, number: int, now: float, counts: Mapping[str, int], how: str = "") -> None:
        with self._open() as db:
            said = (now, json.dumps(dict(counts)), how, number)
            db.execute("UPDATE runs SET ended = ?, counts = ?, how = ? WHERE number = ?", said)

    def runs(self, last: int = 5) -> list[Run]:
        """The last runs, newest first."""
        with self._open() as db:
            query = "SELECT number, started, ended, counts, how FROM runs ORDER BY number DESC LIMIT ?"
            rows = db.execute(query, (last,)).fetchall()
        return [Run(number, started, ended, json.loads(counts), how) for number, started, ended, counts, how in rows]


_COLUMNS = ", ".join(f.name for f in fields(Entry))


def _row(entry: Entry) -> tuple[Any, ...]:
    return tuple(json.dumps(v) if isinstance(v, list) else v for v in asdict(entry).values())


def _entry(row: tuple[Any, ...]) -> Entry:
    values = dict(zip((f.name for f in fields(Entry)), row, strict=True))
    return Entry(**values | {"reports": json.loads(values["reports"])})
