"""Where a scan lies: from what logs, the ledger and the UI call it to its folders. For the eyes of whoever owns this machine."""

from __future__ import annotations

from pathlib import Path

from artifacts.errors import UsageError
from artifacts.home import private_folder
from artifacts.private_index import TOKEN
from flows.archive import known_scans
from flows.settle import open_index, open_store
from tasks.reading.header_index import HeaderIndex


def whereabouts(named: str) -> list[Path]:
    """Folders (of an archive the file) of a scan: by series UID, its beginning or its ``source-…`` token, or any artifact of it.

    Asks the private index of this machine alone. Raises UsageError where nobody knows.
    """
    index, store = open_index(), open_store()
    if named.startswith(TOKEN):
        places = [index.known_path(named)]
    elif ":" in named:
        scan = named.removeprefix("scan:") if named.startswith("scan:") else store.manifest(store.resolve(named)).scan
        places = [s.source for s in known_scans(store, index) if s.digest.startswith(scan)]
    else:
        places = [*HeaderIndex(private_folder() / "headers", index.token).folders_of(named)]
        places = places or [s.source for s in known_scans(store, index) if s.name.startswith(named)]
    if found := [p for p in places if p]:
        return found
    raise UsageError(f"nobody here knows '{named}': give it as `inbox status` or a log names it, or as kind:digest")
