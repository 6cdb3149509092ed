"""Augment: flips and shifts of whole batches on their device, drawn from a generator and from nothing else."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Flip = Literal["none", "random", "alternating"]


def moved(images: Tensor, flip: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each image of ``N x C x H x W`` shifted by its own whole pixels (int ``[N]``), then mirrored left-right where ``flip``.

    What comes in at a border is mirrored there, without the border pixel itself. Any dtype; one gather for the whole batch.
    """
    n, c, h, w = images.shape
    rows = mirrored(torch.arange(h, device=images.device) - down.view(-1, 1), h)
    columns = torch.arange(w, device=images.device).expand(n, w)
    columns = mirrored(torch.where(flip.view(-1, 1), w - 1 - columns, columns) - right.view(-1, 1), w)
    places = (rows.unsqueeze(2) * w + columns.unsqueeze(1)).view(n, 1, h * w).expand(n, c, h * w)
    return images.reshape(n, c, h * w).gather(2, places).view(n, c, h, w)


def mirrored(at: Tensor, size: int) -> Tensor:
    """Positions beyond 0..size-1 reflected back into it; at most size-1 beyond."""
    return size - 1 - (size - 1 - at.abs()).abs()


def random_moves(count: int, pixels: int, generator: torch.Generator, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Down and right for each image: every whole number within +-``pixels`` is as likely."""
    by = torch.randint(-pixels, pixels + 1, (2, count), generator=generator).to(device)
    return by[0], by[1]


def flips(kind: Flip, indices: Tensor, epoch: int, seed: int, generator: torch.Generator) -> Tensor:
    """Which of the images at ``indices`` are mirrored in ``epoch``; bool like ``indices``.

    alternating: a coin decides for the first epoch, after that each image is mirrored every other epoch, so that two epochs in
    a row never show the same view (arXiv:2404.00498, section 3.6). The coin is a hash: the same whatever was drawn before.
    """
    if kind == "none":
        return torch.zeros_like(indices, dtype=torch.bool)
    if kind == "random":
        return (torch.rand(len(indices), generator=generator) < 0.5).to(indices.device)
    mixed = (indices + 1) * 2_654_435_761 + seed * 40_503
    coin = ((mixed ^ (mixed >> 15)) * 2_246_822_519 >> 13) & 1
    return (coin + epoch) % 2 == 1
