"""What a run settles before it starts: store, weights, device, precision, and the parameters of each stage."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from artifacts.errors import PASSING, InputError, UsageError
from artifacts.home import private_folder, store_folder
from artifacts.known_stores import known_store
from artifacts.private_index import PrivateIndex
from artifacts.store import Store
from flows.deployed import confined
from flows.nodule_line import SLOTS, downstream
from tasks.nets.network import Precision


def open_store() -> Store:
    """The store of this machine (``HOUNSFIELD_STORE``), swept of what killed runs left behind. Raises StoreError."""
    store = known_store(store_folder())
    store.sweep()
    return store


def open_index() -> PrivateIndex:
    """The private index; in a run of a deployment it opens no path outside the configured roots."""
    return confined(PrivateIndex(private_folder()))


def settle(device: str, precision: str) -> tuple[str, Precision]:
    """``auto`` to what this machine is good at: (device, precision)."""
    from tasks.nets.network import settle_device, settle_precision

    chosen = settle_device(device)
    return str(chosen), settle_precision(precision, chosen)


def refreshed(refresh: Iterable[str], from_stage: str | None) -> frozenset[str]:
    """The stages to run again although their artifacts are whole."""
    asked = frozenset(refresh) | (downstream(known(from_stage)) if from_stage else frozenset())
    return frozenset(known(name) for name in asked)


def known(stage: str) -> str:
    if stage not in SLOTS:
        raise UsageError(f"no stage called '{stage}': the stages are {', '.join(SLOTS)}")
    return stage


@contextmanager
def without_paths() -> Iterator[None]:
    """A file that goes away or cannot be read becomes one line without its path: what follows reaches logs and the UI."""
    try:
        yield
    except OSError as e:
        why = os.strerror(e.errno) if e.errno else type(e).__name__
        raise InputError(f"a file could not be read ({why})", private=str(e), passing=e.errno in PASSING) from None


def use_store(folder: Path | None) -> None:
    """``--store``: for this process and those it starts."""
    if folder:
        os.environ["HOUNSFIELD_STORE"] = str(folder.expanduser().absolute())
