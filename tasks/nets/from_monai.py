"""MONAI's networks under names of the registry. MONAI is imported when one is built: that takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from tasks.nets.registry import network


@network("monai-densenet121")
def densenet121(in_channels: int = 1, classes: int = 2, **arguments: Any) -> nn.Module:
    """DenseNet-121 in 3D (arXiv:1608.06993). In: ``N x in_channels x D x H x W``, each side at least 32; out: logits."""
    from monai.networks.nets import DenseNet121

    return DenseNet121(spatial_dims=3, in_channels=in_channels, out_channels=classes, **arguments)


@network("monai-resnet10")
def resnet10(in_channels: int = 1, classes: int = 2, **arguments: Any) -> nn.Module:
    """ResNet-10 in 3D (arXiv:1512.03385). In: ``N x in_channels x D x H x W``; out: logits."""
    from monai.networks.nets import resnet10 as build

    return build(spatial_dims=3, n_input_channels=in_channels, num_classes=classes, **arguments)


@network("monai-basicunet")
def basicunet(
    in_channels: int = 7, classes: int = 1, features: Sequence[int] = (16, 16, 32, 64, 128, 16), **arguments: Any
) -> nn.Module:
    """BasicUNet of slices (arXiv:1811.12506's U-Net). In: ``N x in_channels x H x W``, multiples of 16; out: logits."""
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=in_channels, out_channels=classes, features=tuple(features), **arguments)  # type: ignore[arg-type]
