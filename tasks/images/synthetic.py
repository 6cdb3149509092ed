"""A small image set that ships as code: ten kinds of shapes, for who has no data yet. It shows that the line works, no more."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from tasks.images.records import ArrayRecords

VERSION = 1
TRAIN, TEST, SIDE, SEED = 4000, 1000, 32, 2009
CLASSES = ("bars", "checks", "circle", "cross", "diamond", "half", "ring", "square", "stripes", "triangle")


def synthetic_digest() -> str:
    return hashlib.blake2b(f"synthetic {VERSION} {TRAIN} {TEST}".encode(), digest_size=16).hexdigest()


def open_synthetic() -> ArrayRecords:
    """4,000 training and 1,000 test images of 32 x 32, the same every time."""
    parts = {p: drawn(n, SEED + k) for k, (p, n) in enumerate((("train", TRAIN), ("validation", 0), ("test", TEST)))}
    images, labels = {p: v[0] for p, v in parts.items()}, {p: v[1] for p, v in parts.items()}
    return ArrayRecords("synthetic shapes (no data was given)", CLASSES, images, labels)


def drawn(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 ``[n, y, x, 3]`` and labels: a shape turned, moved, sized and coloured by chance, on a noisy ground."""
    chance = np.random.default_rng(seed)
    labels = chance.permutation(np.arange(count) % len(CLASSES)).astype(np.int64)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    middle = SIDE / 2 + chance.uniform(-4, 4, (2, count, 1, 1)).astype(np.float32)
    size = chance.uniform(7, 12, (count, 1, 1)).astype(np.float32)
    angle = chance.uniform(-0.35, 0.35, (count, 1, 1)).astype(np.float32)
    dy, dx = (y - middle[0]) / size, (x - middle[1]) / size
    u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    inside = np.zeros(u.shape, dtype=bool)
    for label in range(len(CLASSES)):
        of = labels == label
        inside[of] = shape(label, u[of], v[of])
    ground, ink = (chance.integers(0, 256, (count, 1, 1, 3)) for _ in range(2))
    near = np.abs(ground - ink).max(axis=-1, keepdims=True) < 60
    ink = np.where(near, 255 - ground, ink)
    image = np.where(inside[..., None], ink, ground) + chance.normal(0, 25, (count, SIDE, SIDE, 3))
    return np.clip(image, 0, 255).astype(np.uint8), labels


def shape(label: int, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the shape is; ``u`` and ``v`` are its own coordinates, -1..1 inside its box."""
    radius, box = np.hypot(u, v), np.maximum(np.abs(u), np.abs(v)) < 1
    shapes = (
        lambda: box & (np.floor((u + 1) * 2.5) % 2 == 0),
        lambda: box & ((np.floor((u + 1) * 2) + np.floor((v + 1) * 2)) % 2 == 0),
        lambda: radius < 1,
        lambda: box & ((np.abs(u) < 0.3) | (np.abs(v) < 0.3)),
        lambda: np.abs(u) + np.abs(v) < 1.2,
        lambda: (radius < 1) & (v > 0),
        lambda: (radius < 1) & (radius > 0.6),
        lambda: box,
        lambda: box & (np.floor((v + 1) * 2.5) % 2 == 0),
        lambda: (v < 0.9) & (np.abs(u) < (v + 1) / 1.9),
    )
    return np.asarray(shapes[label]())
