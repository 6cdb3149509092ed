"""What networks are trained to make small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_and_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice plus twice the voxels' binary cross-entropy (the DiceCE of nnU-Net and MONAI).

    Dice is taken image by image, smoothed by one pixel: a small faint nodule weighs as much as a large one, and an empty
    image is right only where nothing is called. logits ``N x 1 x H x W``, target ``N x H x W`` of 0 and 1.
    """
    y = target.float()
    p = logits[:, 0].sigmoid()
    dice = (2 * (p * y).sum((1, 2)) + 1) / (p.sum((1, 2)) + y.sum((1, 2)) + 1)
    return 1 - dice.mean() + 2 * F.binary_cross_entropy_with_logits(logits[:, 0], y)


def soft_cross_entropy(logits: Tensor, probability: Tensor) -> Tensor:
    """Cross-entropy of two classes where the target is a probability of class 1; logits ``N x 2``, probability ``N``."""
    p = probability.float()
    return F.cross_entropy(logits, torch.stack([1 - p, p], dim=1))
