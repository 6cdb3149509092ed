"""Feed: batches of one epoch out of a training set that lies whole on the device; shuffled, moved and normalised there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from artifacts.images import TrainingImages
from tasks.images.augment import Flip, flips, moved, random_moves

LEAST_STEPS = 25  # an epoch; a small set gets smaller batches instead of fewer steps
LEAST_BATCH = 32


def batch_for(count: int, asked: int) -> int:
    """The batch size asked for, or less: at least 25 steps an epoch, at least 32 images a batch."""
    return max(min(asked, max(count // LEAST_STEPS, LEAST_BATCH), count), 1)


@dataclass
class Feed:
    """images: uint8 (or already normalised) ``N x C x H x W`` on the device; labels: int64 there.

    Every epoch is a new order; its last images that make no whole batch are left to the next. The same epoch of the same
    seed is the same, whatever ran before.
    """

    images: Tensor
    labels: Tensor
    normalise: nn.Module  # the identity where images are normalised already
    batch_size: int
    flip: Flip = "none"
    shift: int = 0
    seed: int = 0

    @classmethod
    def of(
        cls,
        part: TrainingImages,
        normalise: nn.Module,
        device: torch.device | str,
        batch_size: int,
        *,
        flip: Flip = "none",
        shift: int = 0,
        seed: int = 0,
    ) -> Feed:
        images, labels = torch.from_numpy(part.images).to(device), torch.from_numpy(part.labels).to(device)
        return cls(images, labels, normalise.to(device), batch_for(len(part), batch_size), flip, shift, seed)

    @property
    def steps(self) -> int:
        return len(self.labels) // self.batch_size

    @torch.no_grad()
    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        device = self.labels.device
        order = torch.randperm(len(self.labels), generator=chance).to(device)
        for k in range(self.steps):
            indices = order[k * self.batch_size : (k + 1) * self.batch_size]
            x = self.images[indices]
            if self.flip != "none" or self.shift:
                down, right = random_moves(len(indices), self.shift, chance, device)
                x = moved(x, flips(self.flip, indices, epoch, self.seed, chance), down, right)
            yield self.normalise(x), self.labels[indices]
