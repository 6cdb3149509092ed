"""Whole batches on their device: which examples, moved and changed how, windowed. Epoch ``k`` is the same one every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from artifacts.checkpoint import InputSpec
from tasks.nets.network import windowed
from tasks.training.augment import AugmentParams, augment
from tasks.training.pile import Pile

Batch = tuple[Tensor, Tensor]


def drawn(rng: np.random.Generator, kinds: Sequence[NDArray[np.intp]], counts: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """Endless index arrays: so many of each kind, each kind in its own reshuffled order, nothing twice before all once."""
    queues = [np.zeros(0, np.intp) for _ in kinds]
    while True:
        batch = []
        for k, (kind, count) in enumerate(zip(kinds, counts, strict=True)):
            while len(queues[k]) < count:
                queues[k] = np.concatenate([queues[k], rng.permutation(kind)])
            batch.append(queues[k][:count])
            queues[k] = queues[k][count:]
        yield np.concatenate(batch)


def counted(size: int, shares: Sequence[float], kinds: Sequence[NDArray[np.intp]]) -> list[int]:
    """``size`` examples by these shares; what an empty kind leaves goes to the last one that is not."""
    counts = [round(size * share) if len(kind) else 0 for share, kind in zip(shares, kinds, strict=True)]
    last = max(k for k, kind in enumerate(kinds) if len(kind))
    counts[last] = size - (sum(counts) - counts[last])
    return counts


@dataclass
class Balanced:
    """What an epoch of batches is made of: so many examples of each kind a batch, ``steps`` of them.

    device: where batches are made: cpu, cuda (this process's own) or cuda:N.
    """

    kinds: list[NDArray[np.intp]]
    counts: list[int]
    steps: int
    augmentation: AugmentParams
    input: InputSpec
    seed: int
    device: str = "cpu"

    def indices(self, epoch: int) -> list[NDArray[np.intp]]:
        """Which examples each batch of an epoch has."""
        return list(islice(drawn(np.random.default_rng([self.seed, epoch]), self.kinds, self.counts), self.steps))

    def chance(self, epoch: int) -> torch.Generator:
        """What an epoch's augmentation is drawn from, on the device."""
        return torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + epoch)


@dataclass
class SliceBatches(Balanced):
    """For a segmenter: windowed ``N x slices x crop x crop`` and masks uint8 ``N x crop x crop``: 1 nodule, 2 not counted."""

    hu: Pile | None = None  # int16 [n, slices, y, x]
    masks: Pile | None = None  # uint8 [n, y, x]
    crop: int = 64

    def __call__(self, epoch: int) -> Iterator[Batch]:
        assert self.hu is not None
        assert self.masks is not None
        indices, chance, device = self.indices(epoch), self.chance(epoch), torch.device(self.device)
        for hu, y in zip(self.hu.takes(indices, device), self.masks.takes(indices, device), strict=True):
            x, moved = augment(hu.float(), self.augmentation, chance, mask=y, out=(self.crop, self.crop))
            if float(torch.rand((), generator=chance, device=device)) < 0.5 and self.augmentation.flip:
                x = x.flip(1)  # upside down: the middle slice stays where it is
            assert moved is not None
            yield windowed(x, self.input), moved


@dataclass
class CropBatches(Balanced):
    """For a classifier: windowed ``N x 1 x D x H x W`` and targets float32 ``N`` in 0..1."""

    hu: Pile | None = None  # int16 [n, z, y, x], as large as the network's input or larger
    target: NDArray[np.float32] | None = None
    crop_zyx: tuple[int, int, int] = (32, 32, 32)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        assert self.hu is not None
        assert self.target is not None
        indices, chance, device = self.indices(epoch), self.chance(epoch), torch.device(self.device)
        for index, hu in zip(indices, self.hu.takes(indices, device), strict=True):
            x, _ = augment(hu.float()[:, None], self.augmentation, chance, out=self.crop_zyx)
            yield windowed(x, self.input), torch.from_numpy(self.target[index]).to(device)
