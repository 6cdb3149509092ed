"""A 2D U-Net that sees a slice together with its neighbours: the segmenter of *Deep Learning with PyTorch*, chapter 13."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.nets.registry import network


class ConvBlock(nn.Module):
    """Twice a padded 3x3 convolution, ReLU, batch norm (in that order)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(out_channels)]
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class UpBlock(nn.Module):
    """Twice the resolution by transposed convolution, beside the map of the same level on the way down (the bridge)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.conv_block = ConvBlock(in_channels, out_channels)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        return self.conv_block(torch.cat([self.up(x), bridge], dim=1))


@network("unet2d")
class UNet2d(nn.Module):
    """U-Net (Ronneberger et al. 2015) with padded convolutions, average pooling and a batch norm of its input.

    In: float ``N x in_channels x H x W``, HU clipped to the card's window, H and W multiples of ``2 ** (depth - 1)``.
    Out: logits ``N x classes x H x W``; their sigmoid is the probability.
    """

    def __init__(self, in_channels: int = 7, classes: int = 1, depth: int = 3, width: int = 16):
        super().__init__()
        widths = [width << level for level in range(depth)]
        self.input_batchnorm = nn.BatchNorm2d(in_channels)
        self.down_path = nn.ModuleList(ConvBlock(a, b) for a, b in zip([in_channels, *widths], widths, strict=False))
        self.up_path = nn.ModuleList(UpBlock(a, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_batchnorm(x)
        bridges: list[Tensor] = []
        for down in self.down_path:
            x = down(F.avg_pool2d(bridges[-1], 2) if bridges else x)
            bridges.append(x)
        for up, bridge in zip(self.up_path, bridges[-2::-1], strict=True):
            x = up(x, bridge)
        return self.last(x)
