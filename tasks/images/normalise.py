"""Normalise: uint8 images to what a network is fed, whole batches at a time, on whatever device they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from artifacts.errors import InputError

if TYPE_CHECKING:
    from artifacts.channel_stats import ChannelStats


class Normaliser(nn.Module):
    """``(x / 255 - mean) / std`` for each channel: uint8 ``N x C x H x W`` -> ``dtype`` of the same shape and device.

    The same as torchvision's ``Compose([ToTensor(), Normalize(mean, std)])`` on every image, bit for bit. The arithmetic is
    float32 whatever ``dtype`` is: half precision is rounded to once, at the end.

    resize, crop: first the shorter side to so many pixels (antialiased), then the middle square of so many; for networks that
    were trained on larger images.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        resize: int | None = None,
        crop: int | None = None,
        interpolation: str = "bilinear",
    ):
        super().__init__()
        flat = [i for i, value in enumerate(std) if not value > 0]
        if flat:
            raise InputError(f"channel {flat[0]} has the same value in every training image: there is nothing to normalise by")
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32), persistent=False)
        self.dtype, self.resize, self.crop, self.interpolation = dtype, resize, crop, interpolation
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    @classmethod
    def of(cls, stats: ChannelStats, *, dtype: torch.dtype = torch.float32, channels_last: bool = False) -> Normaliser:
        return cls(stats.mean.tolist(), stats.std.tolist(), dtype=dtype, channels_last=channels_last)

    @classmethod
    def from_card(cls, wanted: Mapping[str, Any]) -> Normaliser:
        """What a card's ``input`` asks for."""
        way = wanted.get("interpolation", "bilinear")
        return cls(
            wanted["mean"],
            wanted["std"],
            channels_last=True,
            resize=wanted.get("resize"),
            crop=wanted.get("crop"),
            interpolation=way,
        )

    def forward(self, images: Tensor) -> Tensor:
        x = images.to(torch.float32, memory_format=self.memory_format, copy=True).div_(255)
        if self.resize or self.crop:
            x = self.fitted(x)
        x.sub_(self.mean.view(-1, 1, 1)).div_(self.std.view(-1, 1, 1))
        return x.to(self.dtype)

    def fitted(self, x: Tensor) -> Tensor:
        from torchvision.transforms.v2 import InterpolationMode, functional

        if self.resize:
            x = functional.resize(x, [self.resize], InterpolationMode(self.interpolation), antialias=True)
        return functional.center_crop(x, [self.crop]) if self.crop else x

    def undo(self, x: Tensor) -> Tensor:
        """The uint8 images that ``forward`` was given, where it did not resize; exact for float32."""
        levels = (x.float() * self.std.view(-1, 1, 1) + self.mean.view(-1, 1, 1)) * 255
        return levels.round_().clamp_(0, 255).to(torch.uint8)
