"""Stores that this machine has used: one that was there and holds nothing now is a disk that is not mounted, not a new store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from artifacts.errors import StoreError
from artifacts.home import home, private_folder
from artifacts.store import Store, explained

ACCEPTED = "HOUNSFIELD_NEW_STORE"  # set: an empty place where a store was becomes a new one


def known_store(root: Path) -> Store:
    """The store at ``root``, made where nobody knew one; remembered. Raises StoreError for one that was there and is empty now.

    A store inside the home lies on the disk of the index that would remember it: nothing to be told from that, and none is.
    """
    root = root.expanduser().absolute()
    check_known(root)
    store = Store(root)
    if not root.is_relative_to(home()) and not (mark := _mark(root)).exists():
        with explained("write"):
            mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            mark.touch(mode=0o600)
    return store


def check_known(root: Path) -> None:
    """Raises StoreError where a store of this machine was, and nothing is now. Makes nothing."""
    root = root.expanduser().absolute()
    if is_store(root) or os.environ.get(ACCEPTED) or not _mark(root).exists():
        return
    if not any((root / "artifacts").glob("*/*")):
        raise StoreError(
            "the store that was used here before is empty or gone: is its disk mounted? To begin a new one in its place, run the "
            f"command once with {ACCEPTED}=1",
            private=str(root),
        )


def is_store(root: Path) -> bool:
    return (root / "format.json").is_file()


def _mark(root: Path) -> Path:
    return private_folder() / "stores" / hashlib.blake2b(os.fsencode(root), digest_size=16).hexdigest()
