"""The training loop: plain functions that yield what happened. The same seed and batches give the same weights."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


def seed_everything(seed: int) -> None:
    """Weights, shuffles and noise follow from ``seed``."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def start_afresh(module: nn.Module) -> nn.Module:
    """He's initialisation for ReLU (arXiv:1502.01852): without it a network that normalises only its input learns late."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(child.weight, nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
    return module


def train(
    module: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 1e-4,
    report_every: int = 100,
    device: torch.device | str = "cpu",
) -> Iterator[dict[str, float]]:
    """Train ``module`` in place on ``steps`` batches of (input, target); AdamW, the rate rising and falling once.

    Yields ``step``, the mean ``loss`` since the last report, and ``seconds`` so far; the module is left in eval mode.
    """
    module.to(device).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    started, losses = time.perf_counter(), []
    for step, (x, y) in zip(range(1, steps + 1), batches, strict=False):
        losses.append(train_step(module, x.to(device), y.to(device), loss, optimizer))
        schedule.step()
        if step % report_every == 0 or step == steps:
            yield {"step": step, "loss": float(np.mean(losses)), "seconds": time.perf_counter() - started}
            losses = []
    module.eval()


def rate(step: int, steps: int) -> float:
    """Share of the learning rate: rising over the first tenth, then falling along a cosine to nothing."""
    return min(1.0, (step + 1) / max(1.0, 0.1 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train_step(module: nn.Module, x: Tensor, y: Tensor, loss: Loss, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad(set_to_none=True)
    value = loss(module(x), y)
    value.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 5.0)
    optimizer.step()
    return float(value.detach())
