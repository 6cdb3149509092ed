"""Stores that this machine has used: one on a disk that is not mounted now is refused, never made anew on the disk below.

Where a store was removed on purpose its disk is still there, and a new one is begun.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from artifacts.errors import StoreError
from artifacts.home import home, make_private, private_folder
from artifacts.store import Store, explained, write_whole

ACCEPTED = "HOUNSFIELD_NEW_STORE"  # set: an empty place where a store was becomes a new one


def known_store(root: Path) -> Store:
    """The store at ``root``, made where none is; its disk is remembered. Raises StoreError where that is not mounted now."""
    root = root.expanduser().absolute()
    check_known(root)
    store, mark, disk = Store(root), _mark(root), mount_of(root)
    if not root.is_relative_to(home()) and _disk(mark) != disk:
        with explained("write"):
            make_private(mark.parent)
            write_whole(mark, disk)
    return store


def check_known(root: Path) -> None:
    """Raises StoreError where a store of this machine was, and neither it nor its disk is there now. Makes nothing."""
    root = root.expanduser().absolute()
    known = _disk(_mark(root))
    if known and mount_of(root) != known and not is_store(root) and not os.environ.get(ACCEPTED):
        raise StoreError(
            "the store that was used here before is not there: is its disk mounted? To begin a new store in its place, "
            f"run the command once with {ACCEPTED}=1",
            private=str(root),
        )


def mount_of(root: Path) -> str:
    """The mount point that ``root`` lies below, or would."""
    return next((str(p) for p in (root, *root.parents) if os.path.ismount(p)), root.anchor)


def is_store(root: Path) -> bool:
    return (root / "format.json").is_file()


def _disk(mark: Path) -> str:
    try:
        return mark.read_text("utf-8")
    except (OSError, UnicodeError):
        return ""


def _mark(root: Path) -> Path:
    return private_folder() / "stores" / hashlib.blake2b(os.fsencode(root), digest_size=16).hexdigest()
