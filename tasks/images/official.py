"""The official CIFAR-10 and CIFAR-100 pickles, through torchvision: it checks their sums before it unpickles anything."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from artifacts.errors import InputError
from tasks.images.records import ArrayRecords

FILES = {  # name -> (folder of the batches, archive, its MD5), as torchvision and the data set's page have them
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
}
NAMES = tuple(FILES)


def dataset(name: str) -> Any:
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def recognised(path: Path) -> tuple[str, Path] | None:
    """(name, torchvision root) where ``path`` is such a root, its batches' folder, or the archive; None where it is not."""
    for name, (batches, archive, _) in FILES.items():
        if path.is_dir() and path.name == batches:
            return name, path.parent
        if path.is_dir() and ((path / batches).is_dir() or (path / archive).is_file()):
            return name, path
        if path.is_file() and path.name == archive:
            return name, path
    return None


def official_digest(name: str) -> str:
    """Of the published checksum: the content is known before it is there."""
    return hashlib.blake2b(f"{name} {FILES[name][2]}".encode(), digest_size=16).hexdigest()


def open_official(name: str, place: Path, download: bool) -> ArrayRecords:
    """From a torchvision root, from its archive, or (``download``) from the net into that root."""
    kind = dataset(name)
    archive = place if place.is_file() else place / kind.filename
    if (place / kind.base_folder).is_dir():
        return read(name, place)
    if archive.is_file():
        check_sum(archive, kind)
        with tempfile.TemporaryDirectory(prefix="hounsfield-") as folder:
            batches = Path(folder) / kind.base_folder
            batches.mkdir()
            with tarfile.open(archive) as packed:
                for member in packed:
                    if member.isfile() and PurePosixPath(member.name).parent == PurePosixPath(kind.base_folder):
                        with packed.extractfile(member) as source, (batches / Path(member.name).name).open("wb") as into:  # type: ignore[union-attr]
                            shutil.copyfileobj(source, into)
            return read(name, Path(folder))
    if not download:
        raise InputError(f"neither {kind.base_folder} nor {kind.filename} is there")
    fetch(kind, place)
    return read(name, place)


def check_sum(archive: Path, kind: Any) -> None:
    with archive.open("rb") as f:
        found = hashlib.file_digest(f, "md5").hexdigest()
    if found != kind.tgz_md5:
        raise InputError(
            f"{kind.filename} has the checksum (MD5) {found}, not {kind.tgz_md5}: it is cut short or another file; get it again"
        )


def fetch(kind: Any, root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        kind(root, download=True)
    except Exception as e:  # URLError, timeouts, HTTP errors, half a file
        raise InputError(
            f"{kind.filename} could not be downloaded ({type(e).__name__}): get it from {kind.url} on a machine with a network, "
            f"put it into $HOUNSFIELD_HOME/data and run this again; or give --data a zip, a folder, an npz or an HDF5",
            private=str(root),
        ) from e


def read(name: str, root: Path) -> ArrayRecords:
    kind = dataset(name)
    try:
        train, test = kind(root, train=True, download=False), kind(root, train=False, download=False)
    except (RuntimeError, OSError, EOFError, KeyError) as e:
        raise InputError(f"a file in {kind.base_folder} has a wrong checksum or is missing: unpack {kind.filename} again") from e
    nothing = np.zeros((0, *train.data.shape[1:]), dtype=np.uint8)
    arrays = {"train": train.data, "validation": nothing, "test": test.data}
    labels = {p: np.array(y, dtype=np.int64) for p, y in (("train", train.targets), ("validation", []), ("test", test.targets))}
    return ArrayRecords(f"torchvision {kind.__name__}", tuple(train.classes), arrays, labels)
