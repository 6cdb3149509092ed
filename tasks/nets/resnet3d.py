"""A small 3D residual network that looks at one crop: normalised layer by layer, so that it learns fast and from little."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tasks.nets.registry import network


class Residual(nn.Module):
    """Two 3x3x3 convolutions with batch norm, beside a shortcut (He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm3d(channels)
        same = stride == 1 and in_channels == channels
        self.shortcut: nn.Module = nn.Identity() if same else nn.Conv3d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu_()
        return (self.norm2(self.conv2(y)) + self.shortcut(x)).relu_()


@network("resnet3d")
class ResNet3d(nn.Module):
    """A stem, stages of one residual block each, the mean over space, dropout, one linear layer.

    strides: of the stem, then of each stage. ``stem_channels=8, stem=3, widths=(24, 48, 96), strides=(1, 2, 2, 2)`` looks at
    every voxel before it coarsens: half as much work again, and thin spicules are seen.

    In: float ``N x in_channels x D x H x W``, clipped to the card's window, each side at least 16. Out: logits ``N x classes``.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = (16, 32, 64, 96),
        stem: int = 5,
        dropout: float = 0.2,
        stem_channels: int | None = None,
        strides: Sequence[int] = (2, 1, 2, 2, 2),
    ):
        super().__init__()
        first = stem_channels or widths[0]
        self.input_norm = nn.BatchNorm3d(in_channels)
        self.stem = nn.Conv3d(in_channels, first, stem, stride=strides[0], padding=stem // 2, bias=False)
        self.stem_norm = nn.BatchNorm3d(first)
        ins = [first, *widths[:-1]]
        self.stages = nn.ModuleList(Residual(*of) for of in zip(ins, widths, strides[1:], strict=True))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(self.input_norm(x))).relu_()
        for block in self.stages:
            x = block(x)
        return self.head(self.dropout(x.mean((2, 3, 4))))
