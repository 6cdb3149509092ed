"""``fast``: a small convolutional network shaped so that it learns CIFAR-10 within a few epochs, with the reason for every part.

The ideas are those of the speed-runners: Page, *How to train your ResNet* (2019); Jordan, arXiv:2404.00498 (2024); Jordan and
others, *Muon* (2024). What the training does beside the network stands in ``tasks/images/fast.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.nets.registry import network

PATCH = 2  # rows and columns that the first layer sees
EPS = 5e-4  # keeps directions in which patches hardly vary from being blown up to noise


@network("fast", takes="images")
class Fast(nn.Module):
    """Whitening, three blocks, one linear layer. In: normalised ``N x channels x H x W``, from 16 x 16. Out: logits.

    whiten   2x2 patches to uncorrelated directions of equal strength, computed from the data and never trained: what the first
             layer of such networks learns slowly anyway. Each direction comes twice, with both signs, for what follows cuts off
             the negative side. Only its bias learns.
    blocks   convolution, pooling (as early as can be: it is a quarter of the work after), norm, GELU, convolution, norm, GELU.
             GELU is smooth at 0, which pays in short training.
    head     the maximum over what is left of the image, then a linear layer whose logits are scaled down: at the start all
             classes are as likely, and the gradient through the head is as small as the step that the rest can bear.
    """

    def __init__(
        self, classes: int = 10, channels: int = 3, size: Sequence[int] = (32, 32), widths: Sequence[int] = (64, 256, 256)
    ):
        super().__init__()
        if min(size) < 16:
            raise ValueError(f"images of {size[0]} x {size[1]} pixels are too small: at least 16 x 16")
        directions = channels * PATCH * PATCH
        self.whiten = nn.Conv2d(channels, 2 * directions, PATCH)
        self.whiten.weight.requires_grad_(False)
        self.activation = nn.GELU()
        inside = [2 * directions, *widths[:-1]]
        self.blocks = nn.Sequential(*(Block(i, w) for i, w in zip(inside, widths, strict=True)))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.output = nn.Linear(widths[-1], classes, bias=False)
        self.scale = 1 / 9
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def look_at(self, images: Tensor) -> None:
        """Take the whitening from normalised training images ``N x channels x H x W``; some thousand are plenty."""
        patches = images.float().unfold(2, PATCH, 1).unfold(3, PATCH, 1)[:, :, ::PATCH, ::PATCH]
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, self.whiten.weight[0].numel()).double()
        flat = flat - flat.mean(0)
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        directions = (vectors / (values + EPS).sqrt()).T.reshape(-1, *self.whiten.weight.shape[1:])
        self.whiten.weight.copy_(torch.cat([directions, -directions]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.activation(self.whiten(x)))
        return self.output(self.pool(x).flatten(1)) * self.scale


class Block(nn.Module):
    """``N x inside x H x W`` -> ``N x width x H/2 x W/2``."""

    def __init__(self, inside: int, width: int):
        super().__init__()
        self.conv1, self.conv2 = convolution(inside, width), convolution(width, width)
        self.norm1, self.norm2 = norm(width), norm(width)
        self.pool, self.activation = nn.MaxPool2d(2), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm1(self.pool(self.conv1(x))))
        return self.activation(self.norm2(self.conv2(x)))


def convolution(inside: int, width: int) -> nn.Conv2d:
    """3x3 without bias (a norm follows). The first filters pass their channel on: gradients reach every layer.

    Every filter has length 1, for Muon keeps the length: a step of a rate turns all of them alike.
    """
    conv = nn.Conv2d(inside, width, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[: min(inside, width)])
    conv.weight.data /= conv.weight.data.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return conv


def norm(width: int) -> nn.BatchNorm2d:
    """Its scale stays 1 (the next convolution can scale); it forgets quickly, for it sees a few hundred batches in all."""
    made = nn.BatchNorm2d(width, eps=1e-5, momentum=0.4)
    made.weight.requires_grad_(False)
    return made
