"""Several classifiers as one network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tasks.nets.registry import network
from tasks.nets.resnet3d import ResNet3d


@network("resnet3d-pair")
class ResNet3dPair(nn.Module):
    """Two (or more) networks that were trained apart.

    members: the arguments of each ``resnet3d``. answer: the ``mean`` of their probabilities, or for each crop the member that is
    ``surest`` of class 1 (only one of them learns from a crop then: trained on together, all but one fall silent).

    In: as ``resnet3d``. Out: logits ``N x classes``.
    """

    def __init__(
        self,
        members: Sequence[Mapping[str, Any]],
        in_channels: int = 1,
        classes: int = 2,
        answer: Literal["surest", "mean"] = "surest",
    ):
        super().__init__()
        self.members = nn.ModuleList(ResNet3d(**{"in_channels": in_channels, "classes": classes, **m}) for m in members)
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.stack([member(x) for member in self.members])
        log_p = logits.float().log_softmax(dim=2)
        if self.answer == "mean":
            return log_p.logsumexp(dim=0) - math.log(len(self.members))
        surest = log_p[:, :, 1].argmax(dim=0)
        return logits[surest, torch.arange(len(x), device=x.device)]
