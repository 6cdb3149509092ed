"""Muon for convolution filters and matrices: momentum, then every step made orthogonal (Jordan and others, *Muon*, 2024).

torch.optim.Muon takes matrices only; here a filter bank ``[out, in, ky, kx]`` is the matrix ``[out, in * ky * kx]``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

QUINTIC = (3.4445, -4.7750, 2.0315)  # steepest at zero: small singular values grow to about 1 within five steps


class Muon(Optimizer):
    """lr is the length of a step, measured in units of a weight whose singular values are 1.

    fixed_norm: before each step a weight is brought to the length it started with. For layers whose norm follows at once (their
    length does not change what the network says), so that the rate alone decides how fast they turn. Otherwise ``weight_decay``.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        steps: int = 5,
        fixed_norm: bool = False,
    ):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps, "fixed_norm": fixed_norm}
        super().__init__(list(weights), defaults)
        flat = [p.ndim for g in self.param_groups for p in g["params"] if p.ndim < 2]
        if flat:
            raise ValueError("Muon turns matrices and filters; give biases and norms to another optimiser")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._turn(p, group)

    def _turn(self, p: Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum"], state["norm"] = torch.zeros_like(p), p.norm()
        average = state["momentum"].mul_(group["momentum"]).add_(p.grad)
        nesterov = p.grad.add(average, alpha=group["momentum"])
        if group["fixed_norm"]:
            p.mul_(state["norm"] / p.norm().clamp(min=1e-12))
        else:
            p.mul_(1 - group["lr"] * group["weight_decay"])
        matrix = nesterov.reshape(len(p), -1)
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5  # a tall matrix moves its outputs as much as a square one
        p.add_(orthogonal(matrix, group["steps"]).view_as(p), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly: singular values 0.7 to 1.2; by Newton-Schulz, multiplications only.

    In bfloat16 on a GPU, where it is fast and precise enough.
    """
    a, b, c = QUINTIC
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)
