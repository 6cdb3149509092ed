"""Three losses of a classifier: logits ``N x classes`` and labels ``[N]`` to one number.

``smoothing`` spreads a share of the truth evenly over all classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["cross-entropy", "nll", "mse"]


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def nll(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Negative log-likelihood on log-softmax: cross-entropy in two steps, with the same gradients."""
    log_p = F.log_softmax(logits, dim=1)
    return (1 - smoothing) * F.nll_loss(log_p, labels) - smoothing * log_p.mean()


def mse(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean squared error of the probabilities against one-hot targets (Brier's score): flat where a network is surely wrong."""
    return (logits.softmax(dim=1) - one_hot(labels, logits.shape[1], smoothing)).square().sum(dim=1).mean()


def one_hot(labels: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """float32 ``[N, classes]``: scattered ones."""
    target = torch.full((len(labels), classes), smoothing / classes, device=labels.device)
    return target.scatter_(1, labels.unsqueeze(1), 1 - smoothing + smoothing / classes)


LOSSES: dict[str, Callable[..., Tensor]] = {"cross-entropy": cross_entropy, "nll": nll, "mse": mse}


def loss_of(name: LossName, smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    return partial(LOSSES[name], smoothing=smoothing)
