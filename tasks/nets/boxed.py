"""A U-Net run on a box of its image: of each layer only what the box needs, and still the whole image's own answer.

A padded network run on a tile is wrong near the tile's edges, so tiles are usually run with a margin as wide as the receptive
field at every layer. Here each convolution is a valid one and its map is just as large as the layers after it need: the margin
falls from 22 pixels at the input to none at the output. Padding is done only where the map ends at the image's border.

Each batch norm is folded into the convolutions around it. With y = a relu(z) + b, the convolution before takes |a|, the one
after takes the sign of a and the constant b; where it pads, it pads with the value that stands for y = 0.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.nets.boxes import Box
from tasks.nets.unet2d import ConvBlock, UNet2d, UpBlock


@dataclass
class Affine:
    """What is still to be done to a map to make it the network's own: ``sign * x + shift`` by channel."""

    sign: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift.view(1, -1, 1, 1).to(x.dtype), x, self.sign.view(1, -1, 1, 1).to(x.dtype))

    @classmethod
    def none(cls, channels: int, like: Tensor) -> Affine:
        return cls(torch.ones(channels, device=like.device), torch.zeros(channels, device=like.device))

    def beside(self, other: Affine) -> Affine:
        return Affine(torch.cat([self.sign, other.sign]), torch.cat([self.shift, other.shift]))


class FoldedConv:
    """Convolution 3x3, ReLU, with the batch norms before and after folded in; ``after`` is what remains of the latter."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, before: Affine, dtype: torch.dtype):
        assert conv.bias is not None, "a convolution with a bias"
        assert norm.running_mean is not None, "a batch norm with running statistics"
        assert norm.running_var is not None
        gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        shift = norm.bias.double() - norm.running_mean.double() * gain
        weight, sign = conv.weight.double(), before.sign.double()
        bias = conv.bias.double() + torch.einsum("oiyx,i->o", weight, before.shift.double())
        weight = weight * sign.view(1, -1, 1, 1)
        self.weight = (weight * gain.abs().view(-1, 1, 1, 1)).to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias = (bias * gain.abs()).to(dtype)
        self.fill = (-before.shift * before.sign).to(dtype).view(1, -1, 1, 1)
        self.after = Affine(torch.where(gain < 0, -1.0, 1.0).float(), shift.float())

    def __call__(self, x: Tensor, out: Box, field: tuple[int, int]) -> Tensor:
        """``x`` holds ``out`` and one pixel around it, except where the image ends."""
        edges = (int(out.x0 == 0), int(out.x1 == field[1]), int(out.y0 == 0), int(out.y1 == field[0]))
        if any(edges):
            x = self._padded(x, *edges)
        return F.conv2d(x, self.weight, self.bias).relu_()

    def _padded(self, x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
        n, c, h, w = x.shape
        size = (n, c, h + top + bottom, w + left + right)
        padded = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last).copy_(self.fill)
        padded[..., top : top + h, left : left + w] = x
        return padded


class FoldedBlock:
    """A ``ConvBlock``: two folded convolutions."""

    def __init__(self, block: ConvBlock, before: Affine, dtype: torch.dtype):
        conv1, _, norm1, conv2, _, norm2 = (cast(Any, layer) for layer in block.block)
        self.first = FoldedConv(conv1, norm1, before, dtype)
        self.second = FoldedConv(conv2, norm2, self.first.after, dtype)
        self.after = self.second.after

    def __call__(self, x: Tensor, out: Box, field: tuple[int, int]) -> Tensor:
        return self.second(self.first(x, out.grown(1, field), field), out, field)


class BoxedUNet2d:
    """Runs a ``UNet2d`` on boxes of an image in ``dtype``; exact but for rounding.

    ``margin``: pixels around a box that it reads. ``step``: boxes and images begin and end at multiples of it.
    """

    def __init__(self, unet: UNet2d, dtype: torch.dtype = torch.float32):
        self.dtype = dtype
        self.input_batchnorm = unet.input_batchnorm
        after = Affine.none(unet.input_batchnorm.num_features, unet.last.weight)
        self.down: list[FoldedBlock] = []
        for down in unet.down_path:
            self.down.append(FoldedBlock(cast(ConvBlock, down), after, dtype))
            after = self.down[-1].after
        self.up: list[tuple[Affine, nn.ConvTranspose2d, FoldedBlock]] = []
        for up, bridge in zip(cast(Iterable[UpBlock], unet.up_path), self.down[-2::-1], strict=True):
            joined = Affine.none(up.up.out_channels, unet.last.weight).beside(bridge.after)
            block = FoldedBlock(up.conv_block, joined, dtype)
            self.up.append((after, copy.deepcopy(up.up).to(dtype), block))
            after = block.after
        self.last_weight = (unet.last.weight * after.sign.view(1, -1, 1, 1)).to(dtype)
        assert unet.last.bias is not None
        self.last_bias = (unet.last.bias + unet.last.weight.flatten(1) @ after.shift).to(dtype)
        self.step = 2 ** (len(self.down) - 1)
        self.margins_up, self.margins_down = margins(len(self.down))
        self.margin = self.margins_down[0] + 2

    def __call__(self, x: Tensor, box: Box, field: tuple[int, int]) -> Tensor:
        """Logits ``N x classes x h x w`` (float32) of ``box`` of an image of ``field``.

        x: float ``N x C x H x W``, what ``box.grown(self.margin, field)`` covers of the image.
        """
        x = self.input_batchnorm(x.float()).to(self.dtype)
        maps: list[tuple[Tensor, Box, tuple[int, int]]] = []
        for level, (block, margin) in enumerate(zip(self.down, self.margins_down, strict=True)):
            fine, size = box.over(1 << level), (field[0] >> level, field[1] >> level)
            out = fine.grown(margin, size)
            x = block(F.avg_pool2d(x, 2) if level else x, out, size)
            maps.append((x, out, size))
        x, have, _ = maps.pop()
        for (after, up, block), margin in zip(self.up, self.margins_up, strict=True):
            bridge, bridge_has, size = maps.pop()
            out = box.over(1 << len(maps)).grown(margin, size)
            need = out.grown(2, size)
            risen = need.of(up(after(x)), 2 * have.y0, 2 * have.x0)
            joined = torch.cat([risen, need.of(bridge, bridge_has.y0, bridge_has.x0)], dim=1)
            x = block(joined, out, size)
            have = out
        return F.conv2d(x, self.last_weight, self.last_bias).float()


def margins(depth: int) -> tuple[list[int], list[int]]:
    """Pixels around the box, on each level's own grid, that its decoder (coarse to fine) and encoder (fine to coarse) give.

    A block of two 3x3 convolutions reads two pixels more than it gives; a level down, pixels are twice as large.
    """
    up = [0]
    for _ in range(depth - 1):
        up.append(-(-(up[-1] + 2) // 2))
    down = [up.pop()]
    for _ in range(depth - 1):
        down.append(2 * (down[-1] + 2))
    return up[::-1], down[::-1]
