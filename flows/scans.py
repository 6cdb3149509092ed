"""From a path to the scans in it: found, chosen, recognised without reading pixels where they are known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.errors import HounsfieldError, InputError, ScanRefused
from artifacts.private_index import PrivateIndex, signature
from flows.settle import without_paths
from tasks.line import UNKNOWN
from tasks.reading.choose import choose_series, next_best
from tasks.reading.find import find_series
from tasks.reading.found import FoundSeries, uid_is_pseudonym
from tasks.reading.read import READER, read_scan
from tasks.reading.source import check_there, meant, open_source

if TYPE_CHECKING:
    from tasks.reading.raw import RawScan


@dataclass
class Scan:
    """One series to screen: what ``load`` takes. Not read at all where its digest is known and no stage asks."""

    found: FoundSeries
    choice: str  # why this series
    digest: str
    _raw: RawScan | None = None
    mark: str = ""  # of its files: by it they are known again
    refused: HounsfieldError | None = None  # why it cannot be read, or was not fit to be screened

    @property
    def name(self) -> str:
        """The series UID, or the pseudonym that the volume has as well."""
        pseudonym = uid_is_pseudonym(self.found.uid) and self.digest != UNKNOWN
        return f"scan-{self.digest[:12]}" if pseudonym else self.found.uid

    def open(self) -> RawScan:
        if isinstance(self.refused, InputError):
            raise self.refused
        raw, self._raw = self._raw or read_scan(self.found), None
        return raw


@contextmanager
def scans_in(
    path: Path, index: PrivateIndex, *, series: str, kernel: str, partial: bool, verify: bool = False, read: bool = True
) -> Iterator[Iterator[Scan]]:
    """The scans of ``path`` that ``series`` (best, all or a UID) chooses; of the best another where that one comes back refused.

    ``verify`` reads even known files; without ``read`` unknown files stay unread and their digest is ``UNKNOWN``.
    """
    with without_paths():
        check_there(path)
        path = meant(path)
    with without_paths(), index.scratch() as scratch, open_source(path, scratch) as opened:
        found = find_series(opened)
        chosen = choose_series(found, series, kernel=kernel, partial=partial)  # type: ignore[arg-type]

        def scans() -> Iterator[Scan]:
            refused: list[Scan] = []
            while chosen:
                f, reason = chosen.pop(0)
                scan = recognised(f, reason + _after(refused), path, opened, index, verify, read)
                yield scan
                if series == "best" and isinstance(scan.refused, InputError | ScanRefused):
                    refused.append(scan)
                    chosen.extend(next_best(found, [s.found for s in refused], kernel, partial))

        yield scans()


def _after(refused: list[Scan]) -> str:
    """What the choice says of series that were better and could not be screened."""
    return "".join(f"; {scan.name} would be, but is refused: {scan.refused}" for scan in refused)


def recognised(found: FoundSeries, reason: str, path: Path, opened: Path, index: PrivateIndex, verify: bool, read: bool) -> Scan:
    """A series found under ``path`` (unpacked at ``opened``): read only where its files are not known, or ``verify`` asks."""
    mark = signature(found.files, opened if opened == path and path.is_dir() else path, READER)
    known = None if verify else index.scan_digest(mark)
    if known or not read:
        return Scan(found, reason, known or UNKNOWN)
    try:
        raw = read_scan(found)
    except InputError as e:
        return Scan(found, reason, UNKNOWN, refused=e)
    digest = raw.digest()
    index.remember_scan(mark, digest, path, found.uid)
    return Scan(found, reason, digest, raw)
