"""Source: what ``--data`` names, known by its content: a zip, a folder, arrays, a torchvision root, a name, or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from artifacts.errors import InputError
from tasks.images.arrays import open_hdf5, open_npz
from tasks.images.official import NAMES, official_digest, open_official, recognised
from tasks.images.records import Records
from tasks.images.synthetic import open_synthetic, synthetic_digest
from tasks.images.tree import folder_digest, open_folder, open_zip

SYNTHETIC = "synthetic"
OPENERS: dict[str, Callable[[Path], Records]] = {".npz": open_npz, ".zip": open_zip, ".h5": open_hdf5, ".hdf5": open_hdf5}


@dataclass(frozen=True)
class ImageSource:
    """digest: of the content, the same wherever it lies. open: reads it."""

    digest: str
    open: Callable[[], Records]


def find_source(data: str, path: Path, downloads: Path) -> ImageSource:
    """What ``data`` means: ``synthetic``, ``cifar10``, ``cifar100`` (downloaded into ``downloads`` where missing), or ``path``.

    InputError where there is nothing, or nothing that is known.
    """
    if data == SYNTHETIC:
        return ImageSource(synthetic_digest(), open_synthetic)
    if data in NAMES and not path.exists():
        return ImageSource(official_digest(data), lambda: open_official(data, downloads, download=True))
    check_there(path)
    if known := recognised(path):
        name, place = known
        return ImageSource(official_digest(name), lambda: open_official(name, place, download=False))
    if path.is_dir():
        return ImageSource(folder_digest(path), lambda: open_folder(path))
    if opener := OPENERS.get(path.suffix.lower()):
        return ImageSource(file_digest(path), lambda: opener(path))
    raise InputError(
        "the file is neither a .zip, an .npz, an HDF5 (.h5) nor cifar-10-python.tar.gz: give one of these, or a folder",
        private=str(path),
    )


def check_there(path: Path) -> None:
    """InputError says what may be given."""
    if not path.exists():
        raise InputError(
            "there is nothing at the given path: give a zip or folder of class folders, an npz, an HDF5, a torchvision root, or "
            f"{', '.join(NAMES)}",
            private=str(path),
        )


def file_digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
