"""A small 3D CNN that looks at one crop: the classifier of *Deep Learning with PyTorch*, chapter 11."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tasks.nets.registry import network

BLOCKS = 4


class Block(nn.Module):
    """Twice a padded 3x3x3 convolution and ReLU, then max pooling by 2."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # the ReLU after the pooling, which it commutes with, has an eighth of the work
        return F.max_pool3d(self.conv2(self.conv1(x).relu_()), 2).relu_()


@network("luna3d")
class Luna3d(nn.Module):
    """Batch norm of the input, four blocks of 8, 16, 32, 64 channels (``conv_channels`` and its doublings), one linear layer.

    In: float ``N x in_channels x D x H x W``, HU clipped to the card's window, D, H, W = ``crop_zyx``, each at least 16.
    Out: logits ``N x classes``; their softmax gives the probabilities.
    """

    def __init__(self, in_channels: int = 1, conv_channels: int = 8, crop_zyx: Sequence[int] = (32, 48, 48), classes: int = 2):
        super().__init__()
        d, h, w = (n >> BLOCKS for n in crop_zyx)
        if min(d, h, w) < 1:
            raise ValueError(f"a crop of {tuple(crop_zyx)} voxels is too small: at least {1 << BLOCKS} along each axis")
        self.crop_zyx = tuple(crop_zyx)
        self.tail_batchnorm = nn.BatchNorm3d(in_channels)
        self.block1 = Block(in_channels, conv_channels)
        self.block2 = Block(conv_channels, conv_channels * 2)
        self.block3 = Block(conv_channels * 2, conv_channels * 4)
        self.block4 = Block(conv_channels * 4, conv_channels * 8)
        self.head_linear = nn.Linear(conv_channels * 8 * d * h * w, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tail_batchnorm(x)
        for block in (self.block1, self.block2, self.block3, self.block4):
            x = block(x)
        return self.head_linear(x.flatten(1))
