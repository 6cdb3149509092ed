"""Small image sets in every form that a source may have: stripes and checks, which any network tells apart."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from PIL import Image

CLASSES = ("across", "checks", "down")


def images(count: int, seed: int = 0, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """uint8 ``[n, side, side, 3]`` and labels 0, 1, 2, 0, …"""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    y, x = np.mgrid[:side, :side] // 2 % 2
    patterns = np.stack([y, y ^ x, x])[labels][..., None]
    return np.clip(patterns * 120 + 60 + chance.normal(0, 25, (count, side, side, 3)), 0, 255).astype(np.uint8), labels


def npz(path: Path, train: int = 90, test: int = 30, **more: np.ndarray) -> Path:
    arrays: dict[str, np.ndarray] = {"class_names": np.array(CLASSES)}
    for part, count, seed in (("train", train, 0), ("test", test, 1)):
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = images(count, seed)
    np.savez(path, **(arrays | more))
    return path


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def files(train: int = 30, test: int = 12, kind: str = "PNG") -> dict[str, bytes]:
    """Name in the tree -> bytes."""
    found = {}
    for part, count, seed in (("train", train, 0), ("test", test, 1)):
        pixels, labels = images(count, seed)
        for k, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            found[f"{part}/{CLASSES[label]}/{k:03}.{kind.lower()}"] = encoded(image, kind)
    return found


def folder(path: Path, given: dict[str, bytes] | None = None) -> Path:
    for name, body in (files() if given is None else given).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(body)
    return path


def zipped(path: Path, given: dict[str, bytes] | None = None) -> Path:
    with ZipFile(path, "w") as archive:
        for name, body in (files() if given is None else given).items():
            archive.writestr(name, body)
    return path
