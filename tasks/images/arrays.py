"""Arrays in an npz or HDF5 file: ``train_images`` N x H x W x 3 (or N x 3 x H x W) uint8, ``train_labels``, the same of ``test``.

Perhaps ``class_names``, of which an HDF5 may have an attribute ``classes``: so `hounsfield cifar export` writes it.
"""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError
from tasks.images.records import ArrayRecords

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PARTS = ("train", "validation", "test")
NAMES = ("class_names", "classes", "label_names")


def open_npz(path: Path) -> ArrayRecords:
    """Never unpickles. InputError where the file is damaged, or holds more than the memory does."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as e:
        raise InputError("the npz is damaged, cut short, or holds Python objects: write plain arrays again") from e
    except MemoryError as e:
        raise InputError("the npz says that it holds more than this machine's memory: give a part of it") from e
    return records_of(arrays, "npz")


def open_hdf5(path: Path) -> ArrayRecords:
    """Follows no link into another file. InputError where it is damaged, or holds more than the memory does."""
    import h5py

    try:
        with h5py.File(path) as file:
            wanted = [n for n in file if n.startswith(PARTS) or n in NAMES]
            if foreign := [n for n in wanted if not own(file, n)]:
                raise InputError(f"{foreign[0]} is no array in the HDF5 itself (a group, or a link elsewhere): write it as one")
            arrays = {n: file[n].asstr()[...] if n in NAMES else file[n][...] for n in wanted}
            if "classes" in file.attrs:
                arrays.setdefault("classes", np.array([str(c) for c in file.attrs["classes"]]))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as e:
        raise InputError("the HDF5 is damaged, cut short, or holds something else than arrays of numbers") from e
    except MemoryError as e:
        raise InputError("the HDF5 says that it holds more than this machine's memory: give a part of it") from e
    return records_of(arrays, "HDF5")


def own(file: Any, name: str) -> bool:
    """Whether the values of ``name`` lie in ``file`` itself: no link, no raw data elsewhere, no mosaic of other files."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return False
    found = file[name]
    return isinstance(found, h5py.Dataset) and not found.external and not found.is_virtual


def records_of(arrays: dict[str, NDArray[Any]], form: str) -> ArrayRecords:
    """Without names ten classes of 32 x 32 colour images are CIFAR-10's, others are called by their number."""
    missing = [name for name in ("train_images", "train_labels") if name not in arrays]
    if missing:
        raise InputError(
            f"the {form} has no {' and no '.join(missing)}: it has {', '.join(sorted(arrays)) or 'nothing of a set'}"
        )
    for p in PARTS:
        if f"{p}_labels" in arrays and f"{p}_images" not in arrays:
            raise InputError(f"there are {p}_labels and no {p}_images")
    images = {p: channels_last(arrays[f"{p}_images"]) for p in PARTS if f"{p}_images" in arrays}
    labels = {p: whole_numbers(arrays.get(f"{p}_labels"), p) for p in images}
    names, told = class_names(arrays, labels["train"], images["train"])
    empty = np.zeros((0, *images["train"].shape[1:]), dtype=images["train"].dtype)
    images |= {p: empty for p in PARTS if p not in images}
    labels |= {p: np.zeros(0, dtype=np.int64) for p in PARTS if p not in labels}
    return ArrayRecords(form if told else f"{form} without class names", names, images, labels)


def channels_last(images: NDArray[Any]) -> NDArray[Any]:
    """``N x 3 x H x W`` turned to ``N x H x W x 3``; anything else as it is. So images are never three pixels high."""
    turned = images.ndim == 4 and images.shape[1] == 3
    return np.moveaxis(images, 1, -1) if turned else images


def whole_numbers(labels: NDArray[Any] | None, part: str) -> NDArray[np.int64]:
    if labels is None:
        raise InputError(f"there are {part}_images and no {part}_labels")
    if labels.ndim == 2 and 1 in labels.shape:
        labels = labels.ravel()
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{part}_labels are whole numbers, one an image, not {labels.dtype} {labels.shape}")
    return labels.astype(np.int64)


def class_names(arrays: dict[str, NDArray[Any]], labels: NDArray[np.int64], images: NDArray[Any]) -> tuple[tuple[str, ...], bool]:
    for key in NAMES:
        if key in arrays:
            given = arrays[key].ravel()
            names = tuple(n.decode("utf-8", "backslashreplace") if isinstance(n, bytes) else str(n) for n in given.tolist())
            if twice := [n for n, times in Counter(names).items() if times > 1]:
                raise InputError(f"{key} names {twice[0]} twice: give every class its own name")
            return names, True
    count = int(labels.max(initial=-1)) + 1
    if count > len(labels):
        raise InputError(
            f"a label is {count - 1} (of training image {int(labels.argmax())}), and there are {len(labels)} training images: "
            "number the classes from 0, or give class_names"
        )
    if count == len(CIFAR10) and images.shape[1:] == (32, 32, 3):
        return CIFAR10, False
    return tuple(str(k) for k in range(count)), False
