"""From a path to the scans in it: found, chosen, recognised without reading pixels where they are known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.errors import InputError
from artifacts.private_index import PrivateIndex, signature
from flows.settle import without_paths
from tasks.line import UNKNOWN
from tasks.reading.choose import choose_series
from tasks.reading.find import find_series
from tasks.reading.found import FoundSeries, uid_is_pseudonym
from tasks.reading.read import READER, read_scan
from tasks.reading.source import open_source

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

    @property
    def name(self) -> str:
        """The series UID, or the pseudonym that the volume has as well."""
        pseudonym = uid_is_pseudonym(self.found.uid) and self.digest != UNKNOWN
        return f"scan-{self.digest[:12]}" if pseudonym else self.found.uid

    def open(self) -> RawScan:
        raw, self._raw = self._raw or read_scan(self.found), None
        return raw


@contextmanager
def scans_in(
    path: Path, index: PrivateIndex, *, series: str, kernel: str, partial: bool, verify: bool = False, read: bool = True
) -> Iterator[Iterator[Scan]]:
    """The scans of ``path`` that ``series`` (best, all or a UID) chooses.

    ``verify`` reads even known files; without ``read`` unknown files stay unread and their digest is ``UNKNOWN``.
    """
    if not path.exists():
        raise InputError("there is nothing at the given path: give a folder of DICOM, a zip, .mhd, .mha, .nii, .nii.gz or .nrrd")
    with without_paths(), index.scratch() as scratch, open_source(path, scratch) as opened:
        chosen = choose_series(find_series(opened), series, kernel=kernel, partial=partial)  # type: ignore[arg-type]
        yield (recognised(found, reason, path, opened, index, verify, read) for found, reason in chosen)


def recognised(found: FoundSeries, reason: str, path: Path, opened: Path, index: PrivateIndex, verify: bool, read: bool) -> Scan:
    """A series found under ``path`` (unpacked at ``opened``): read only where its files are not known, or ``verify`` asks."""
    mark = signature(found.files, opened if opened == path and path.is_dir() else path, READER)
    known = None if verify else index.scan_digest(mark)
    if known or not read:
        return Scan(found, reason, known or UNKNOWN)
    raw = read_scan(found)
    digest = raw.digest()
    index.remember_scan(mark, digest, path, found.uid)
    return Scan(found, reason, digest, raw)
