"""Endless balanced batches out of arrays in memory, augmented whole batches at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HU = tuple[float, float]  # a window
Batch = tuple[Tensor, Tensor]


def balanced(rng: np.random.Generator, positive: NDArray[np.bool_], size: int, share: float = 0.5) -> Iterator[NDArray[np.int64]]:
    """Endless index arrays ``[size]``: ``share`` of them positive, each kind in its own reshuffled order."""
    kinds = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    if not all(map(len, kinds)):
        kinds, counts = [np.arange(len(positive))], [size]
    else:
        counts = [round(share * size), size - round(share * size)]
    queues: list[list[int]] = [[] for _ in kinds]
    while True:
        for queue, kind, count in zip(queues, kinds, counts, strict=True):
            while len(queue) < count:
                queue.extend(rng.permutation(kind).tolist())
        yield np.array([queue.pop(0) for queue, n in zip(queues, counts, strict=True) for _ in range(n)])


def patch_batches(
    rng: np.random.Generator, hu: NDArray[np.int16], masks: NDArray[np.uint8], window: HU, *, size: int, crop: int
) -> Iterator[Batch]:
    """For a segmenter of slices: windowed float32 ``N x slices x crop x crop`` and masks ``N x crop x crop``.

    hu ``[n, slices, y, x]``, masks ``[n, y, x]``.
    """
    for index in balanced(rng, np.asarray(masks.any(axis=(1, 2))), size):
        j, i = rng.integers(0, hu.shape[-1] - crop + 1, 2)
        x, y = (torch.from_numpy(a[index][..., j : j + crop, i : i + crop]) for a in (hu, masks))
        yield augmented(rng, x, y, window)


def crop_batches(
    rng: np.random.Generator, hu: NDArray[np.int16], target: NDArray[np.float32], window: HU, *, size: int, share: float = 0.5
) -> Iterator[Batch]:
    """For a classifier: windowed float32 ``N x 1 x D x H x W`` and targets ``N``; hu ``[n, z, y, x]``, target in 0..1."""
    for index in balanced(rng, target > 0.5, size, share):
        moved = shifted(rng, torch.from_numpy(hu[index]))
        x, _ = augmented(rng, moved, moved[:, 0], window)
        yield x.unsqueeze(1), torch.from_numpy(target[index])


def shifted(rng: np.random.Generator, x: Tensor, most: int = 2) -> Tensor:
    """``N x D x H x W`` moved by up to ``most`` voxels along each axis; what leaves at one end comes back at the other."""
    return torch.roll(x, tuple(int(v) for v in rng.integers(-most, most + 1, 3)), dims=(1, 2, 3))


def augmented(rng: np.random.Generator, x: Tensor, y: Tensor, window: HU) -> Batch:
    """One draw of quarter turns, flips (slices too) and noise for a whole batch; then the window."""
    turns, flip, upside_down = int(rng.integers(4)), rng.random() < 0.5, rng.random() < 0.5
    x, y = (torch.rot90(a, turns, (-2, -1)) for a in (x, y))
    if flip:
        x, y = x.flip(-1), y.flip(-1)
    if upside_down:
        x = x.flip(-3)
    x = x.float()
    x = x + torch.randn(x.shape) * rng.uniform(0, 12) + rng.normal(0, 8)
    return x.clamp_(*window), y
