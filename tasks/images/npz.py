"""An npz of arrays: ``train_images`` N x H x W x 3 uint8, ``train_labels``, the same of ``test``, perhaps ``class_names``."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError
from tasks.images.records import ArrayRecords

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PARTS = ("train", "validation", "test")


def open_npz(path: Path) -> ArrayRecords:
    """Without names ten classes of 32 x 32 colour images are CIFAR-10's, others are called by their number. Never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError) as e:
        raise InputError("the npz is damaged, cut short, or holds Python objects: write plain arrays again") from e
    missing = [name for name in ("train_images", "train_labels") if name not in arrays]
    if missing:
        raise InputError(f"the npz has no {' and no '.join(missing)}: it has {', '.join(sorted(arrays)) or 'nothing'}")
    images = {p: arrays[f"{p}_images"] for p in PARTS if f"{p}_images" in arrays}
    labels = {p: whole_numbers(arrays.get(f"{p}_labels"), p) for p in images}
    names, told = class_names(arrays, labels["train"], images["train"])
    empty = np.zeros((0, *images["train"].shape[1:]), dtype=images["train"].dtype)
    images |= {p: empty for p in PARTS if p not in images}
    labels |= {p: np.zeros(0, dtype=np.int64) for p in PARTS if p not in labels}
    return ArrayRecords("npz" if told else "npz without class names", names, images, labels)


def whole_numbers(labels: NDArray[Any] | None, part: str) -> NDArray[np.int64]:
    if labels is None:
        raise InputError(f"the npz has {part}_images and no {part}_labels")
    if labels.ndim == 2 and 1 in labels.shape:
        labels = labels.ravel()
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{part}_labels are whole numbers, one an image, not {labels.dtype} {labels.shape}")
    return labels.astype(np.int64)


def class_names(arrays: dict[str, NDArray[Any]], labels: NDArray[np.int64], images: NDArray[Any]) -> tuple[tuple[str, ...], bool]:
    for key in ("class_names", "classes", "label_names"):
        if key in arrays:
            return tuple(str(n) for n in arrays[key].ravel()), True
    count = int(labels.max(initial=-1)) + 1
    if count == len(CIFAR10) and images.shape[1:] == (32, 32, 3):
        return CIFAR10, False
    return tuple(str(k) for k in range(count)), False
