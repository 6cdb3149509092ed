"""What networks are trained to make small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_and_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice over the whole batch (so that empty images count) plus twice the voxels' binary cross-entropy.

    logits ``N x 1 x H x W``, target ``N x H x W`` of 0 and 1. The sum is nnU-Net's and MONAI's DiceCE.
    """
    y = target.float()
    p = logits[:, 0].sigmoid()
    dice = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return 1 - dice + 2 * F.binary_cross_entropy_with_logits(logits[:, 0], y)


def soft_cross_entropy(logits: Tensor, probability: Tensor) -> Tensor:
    """Cross-entropy of two classes where the target is a probability of class 1; logits ``N x 2``, probability ``N``."""
    p = probability.float()
    return F.cross_entropy(logits, torch.stack([1 - p, p], dim=1))
