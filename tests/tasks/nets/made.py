"""Small networks with random weights, and the things they are fed, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from artifacts.checkpoint import Card, CropSpec, InputSpec, Role
from artifacts.geometry import Geometry
from artifacts.lungmask import LungMask
from artifacts.volume import Series, Volume
from tasks.import_weights import import_book
from tasks.nets import Network, build


def made_network(role: Role, architecture: str, input: InputSpec | None = None, seed: int = 0, **arguments: Any) -> Network:
    """Batch norms too are random: their gains negative and zero among others, as training may leave them."""
    torch.manual_seed(seed)
    module = build(architecture, **arguments).eval().requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.weight.normal_()
            layer.weight[0] = 0
            layer.bias.normal_()
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    if hasattr(module, "input_batchnorm"):
        module.input_batchnorm.running_var.fill_(250_000)
    card = Card(
        name="made", role=role, architecture=architecture, arguments=arguments, input=input or InputSpec(), licence="test"
    )
    return Network(module, card, torch.device("cpu"), torch.float32, "made")


def made_classifier(role: Role = "nodule", crop_zyx: tuple[int, int, int] = (16, 16, 16), **card: Any) -> Network:
    spec = InputSpec(crop=CropSpec(shape_zyx=crop_zyx, **card))
    return made_network(role, "luna3d", spec, crop_zyx=crop_zyx, conv_channels=2)


def made_volume(hu: NDArray[np.int16], spacing_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(hu, Geometry(hu.shape, spacing_zyx, (0.0, 0.0, 0.0)), Series("scan-made"))


def noise(shape_zyx: tuple[int, int, int], seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1024, 1500, shape_zyx).astype(np.int16)


def mask_of(volume: Volume, *boxes: tuple[slice, slice, slice]) -> LungMask:
    labels = np.zeros(volume.hu.shape, dtype=np.uint8)
    for number, box in enumerate(boxes):
        labels[box] = 1 + number % 2
    return LungMask(labels, volume.geometry)


def imported_book(data: Path, into: Path) -> Path:
    """The published checkpoints, imported: the folder of the weights set."""
    folder = data / "weights"
    files = [next(folder.glob(pattern)) for pattern in ("dlwpt/seg_*", "dlwpt/cls_*", "gregorytomy/mal_*")]
    import_book("book", *files, into=into)
    return into / "book"
