"""Classifiers side by side: what looks like a nodule to either of them is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tasks.nets.registry import network
from tasks.nets.resnet3d import ResNet3d


@network("resnet3d-pair")
class ResNet3dPair(nn.Module):
    """Two (or more) networks that were trained apart; for each crop the one that is surer of class 1 answers.

    members: the arguments of each ``resnet3d``.

    In: as ``resnet3d``. Out: logits ``N x classes``.
    """

    def __init__(self, members: Sequence[Mapping[str, Any]], in_channels: int = 1, classes: int = 2):
        super().__init__()
        self.members = nn.ModuleList(ResNet3d(**{"in_channels": in_channels, "classes": classes, **m}) for m in members)

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.stack([member(x) for member in self.members])
        surest = logits.log_softmax(dim=2)[:, :, 1].argmax(dim=0)
        return logits[surest, torch.arange(len(x), device=x.device)]
