"""What networks are trained to make small. In a mask 1 is a nodule, 2 (``IGNORED``) is left out, as in neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = 2
SURE = 30.0  # a logit whose probability is 0 or 1

SegmentationLoss = Literal["dice-ce", "tversky-ce", "book", "monai-dice-ce", "monai-tversky", "monai-focal", "monai-dice-focal"]
ClassificationLoss = Literal["cross-entropy", "focal"]
Loss = Callable[[Tensor, Tensor], Tensor]


class MaskLoss:
    """A segmentation loss by name; logits ``N x 1 x H x W``, masks ``N x H x W``. Ignored pixels cost nothing."""

    def __init__(self, name: SegmentationLoss = "dice-ce"):
        if name not in get_args(SegmentationLoss):
            raise ValueError(f"unknown loss '{name}': {', '.join(get_args(SegmentationLoss))}")
        self.name = name
        self._monai: Any = None

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        kept = logits.masked_fill((masks == IGNORED)[:, None], -SURE)
        target = (masks == 1).to(logits.dtype)
        if self.name == "dice-ce":
            return dice_and_cross_entropy(kept, target)
        if self.name == "tversky-ce":
            return tversky_and_cross_entropy(kept, target)
        if self.name == "book":
            return book_loss(kept, target)
        if self._monai is None:
            self._monai = monai_loss(self.name)
        return self._monai(kept, target[:, None])


def dice_and_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice plus twice the voxels' binary cross-entropy (the DiceCE of nnU-Net and MONAI).

    Dice is taken image by image, smoothed by one pixel: a small faint nodule weighs as much as a large one, and an empty
    image is right only where nothing is called. logits ``N x 1 x H x W``, target ``N x H x W`` of 0 and 1.
    """
    y = target.float()
    p = logits[:, 0].sigmoid()
    dice = (2 * (p * y).sum((1, 2)) + 1) / (p.sum((1, 2)) + y.sum((1, 2)) + 1)
    return 1 - dice.mean() + 2 * F.binary_cross_entropy_with_logits(logits[:, 0], y)


def tversky_and_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Like ``dice_and_cross_entropy``, but a miss is dearer than a false call, which a later stage can still sort out.

    Tversky's index (arXiv:1706.05721), image by image, weighs false pixels 0.3 and missed ones 0.7; in the cross-entropy a
    nodule's pixel counts five times. logits ``N x 1 x H x W``, target ``N x H x W`` of 0 and 1.
    """
    y = target.float()
    p = logits[:, 0].sigmoid()
    right, false, missed = (p * y).sum((1, 2)), (p * (1 - y)).sum((1, 2)), ((1 - p) * y).sum((1, 2))
    index = (right + 1) / (right + 0.3 * false + 0.7 * missed + 1)
    dear = logits.new_tensor(5.0)
    return 1 - index.mean() + 2 * F.binary_cross_entropy_with_logits(logits[:, 0], y, pos_weight=dear)


def book_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The loss of *Deep Learning with PyTorch*, chapter 13: 1 - Dice, plus 8 times the same on the nodules' own pixels.

    The second term counts only what is missed, so that a miss costs far more than a false alarm.
    """
    p, y = logits[:, 0].sigmoid(), target.float()

    def one_minus_dice(a: Tensor) -> Tensor:
        return (1 - (2 * (a * y).sum((1, 2)) + 1) / (a.sum((1, 2)) + y.sum((1, 2)) + 1)).mean()

    return one_minus_dice(p) + 8 * one_minus_dice(p * y)


def monai_loss(name: str) -> Any:
    """MONAI's loss of that name, for one channel of logits. Imports MONAI, which takes seconds."""
    from monai.losses import DiceCELoss, DiceFocalLoss, FocalLoss, TverskyLoss

    if name == "monai-dice-ce":
        return DiceCELoss(sigmoid=True, smooth_nr=1, smooth_dr=1)
    if name == "monai-tversky":
        return TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7, smooth_nr=1, smooth_dr=1)
    if name == "monai-focal":
        return FocalLoss(use_softmax=False, gamma=2.0)
    return DiceFocalLoss(sigmoid=True, gamma=2.0, smooth_nr=1, smooth_dr=1)


class ClassLoss:
    """A classification loss by name; logits ``N x 2``, the target ``N`` is a probability of class 1.

    smooth: this share of every target is moved towards one half, so that a network is not taught to be too sure.
    """

    def __init__(self, name: ClassificationLoss = "cross-entropy", smooth: float = 0.0):
        if name not in get_args(ClassificationLoss):
            raise ValueError(f"unknown loss '{name}': {', '.join(get_args(ClassificationLoss))}")
        self.name, self.smooth = name, smooth

    def __call__(self, logits: Tensor, probability: Tensor) -> Tensor:
        p = probability.float() * (1 - self.smooth) + 0.5 * self.smooth
        return soft_cross_entropy(logits, p) if self.name == "cross-entropy" else soft_focal(logits, p)


def soft_cross_entropy(logits: Tensor, probability: Tensor) -> Tensor:
    """Cross-entropy of two classes where the target is a probability of class 1; logits ``N x 2``, probability ``N``."""
    p = probability.float()
    return F.cross_entropy(logits, torch.stack([1 - p, p], dim=1))


def soft_focal(logits: Tensor, probability: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss (arXiv:1708.02002) with a probability as target (quality focal loss, arXiv:2006.04388)."""
    logit = logits[:, 1] - logits[:, 0]
    weight = (probability - logit.sigmoid()).abs() ** gamma
    return (weight * F.binary_cross_entropy_with_logits(logit, probability, reduction="none")).mean()
