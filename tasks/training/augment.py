"""Augmentation of whole batches on their device: one affine resampling a batch, then what a scanner does to the grey values.

Works on boxes ``N x C x D x H x W`` and on slices ``N x C x H x W``: each example gets a draw of its own. A mask goes through the
same affine map (nearest neighbour), never through the changes of grey values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tasks.stage import Params


class AugmentParams(Params):
    """How far an example may be moved and its grey values changed; 0 switches a kind off."""

    flip: bool = Field(True, title="Flip", description="Mirror along each axis with probability one half")
    shift: float = Field(2.0, ge=0, le=32, title="Shift", description="Move by up to this many voxels along each axis")
    scale: float = Field(0.15, ge=0, le=0.9, title="Scale", description="Enlarge or shrink by up to this share")
    rotate: float = Field(
        180.0, ge=0, le=180, title="Rotation", description="Turn in the axial plane by up to this angle, degrees"
    )
    tilt: float = Field(20.0, ge=0, le=180, title="Tilt", description="Boxes: turn out of the axial plane by up to this, degrees")
    noise: float = Field(30.0, ge=0, le=500, title="Noise", description="White noise with a deviation of up to this, HU")
    brightness: float = Field(30.0, ge=0, le=500, title="Brightness", description="Add up to this to all values, HU")
    contrast: float = Field(0.08, ge=0, le=0.9, title="Contrast", description="Stretch values about -400 HU by up to this share")
    blur: float = Field(0.8, ge=0, le=3, title="Blur", description="Gaussian of up to this deviation, voxels, for half of them")
    sharpen: float = Field(
        0.6, ge=0, le=3, title="Sharpen", description="Unsharp mask of up to this strength, for a quarter of them"
    )


NOTHING = AugmentParams(flip=False, shift=0, scale=0, rotate=0, tilt=0, noise=0, brightness=0, contrast=0, blur=0, sharpen=0)
PIVOT_HU = -400.0  # between lung and soft tissue
SHARPEN_SIGMA = 1.0  # voxels


def augment(
    x: Tensor, params: AugmentParams, chance: torch.Generator, *, mask: Tensor | None = None, out: Sequence[int] | None = None
) -> tuple[Tensor, Tensor | None]:
    """``x`` float HU ``N x C x …`` and its mask ``N x …``, changed. ``out``: size to cut from the middle (default: all of it).

    What lies outside of an example is its mirror image. ``chance`` lives on the device of ``x`` or on the CPU.
    """
    size = tuple(out or x.shape[2:])
    x, mask = resampled(x, mask, draw_affine(len(x), x.ndim - 2, params, chance, x.shape[2:], size), size)
    return regreyed(x, params, chance), mask


def draw_affine(
    n: int, dims: int, params: AugmentParams, chance: torch.Generator, from_size: Sequence[int], to_size: Sequence[int]
) -> Tensor:
    """``n`` matrices ``dims x (dims + 1)`` for ``affine_grid``: output to input, in units of half a size, x first."""

    def uniform(most: float, *shape: int) -> Tensor:
        return (torch.rand(n, *shape, generator=chance, device=chance.device) * 2 - 1) * most

    turn = torch.eye(dims, device=chance.device).repeat(n, 1, 1)
    for axes, most in [((0, 1), params.rotate)] + [((0, 2), params.tilt), ((1, 2), params.tilt)] * (dims == 3):
        turn = turn @ _rotation(uniform(torch.pi * most / 180), axes, dims)
    zoom = 1 / (1 + uniform(params.scale))
    if params.flip:
        turn = turn * (torch.rand(n, 1, dims, generator=chance, device=chance.device) < 0.5).float().mul(2).sub(1)
    half_in, half_out = (torch.tensor([s / 2 for s in reversed(size)], device=chance.device) for size in (from_size, to_size))
    linear = turn * zoom[:, None, None] * half_out / half_in[:, None]
    offset = uniform(params.shift, dims) / half_in
    return torch.cat([linear, offset[:, :, None]], dim=2)


def _rotation(angle: Tensor, axes: tuple[int, int], dims: int) -> Tensor:
    a, b = axes
    turn = torch.eye(dims, device=angle.device).repeat(len(angle), 1, 1)
    turn[:, a, a] = turn[:, b, b] = angle.cos()
    turn[:, a, b], turn[:, b, a] = -angle.sin(), angle.sin()
    return turn


def resampled(x: Tensor, mask: Tensor | None, affine: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Linear for values, nearest for the mask; one ``grid_sample`` each."""
    grid = F.affine_grid(affine.to(x.device, x.dtype), [len(x), 1, *size], align_corners=False)
    moved = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if mask is None:
        return moved, None
    turned = F.grid_sample(mask[:, None].to(x.dtype), grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return moved, turned[:, 0].to(mask.dtype)


def regreyed(x: Tensor, params: AugmentParams, chance: torch.Generator) -> Tensor:
    """Contrast, brightness, blur or sharpening, noise: what differs between scanners, kernels and doses."""

    def draw(low: float, high: float) -> Tensor:
        drawn = low + (high - low) * torch.rand(len(x), generator=chance, device=chance.device)
        return drawn.to(x.device).view(-1, *[1] * (x.ndim - 1))

    if params.contrast or params.brightness:
        gain, offset = draw(1 - params.contrast, 1 + params.contrast), draw(-params.brightness, params.brightness)
        x = (x - PIVOT_HU) * gain + PIVOT_HU + offset
    if params.blur or params.sharpen:
        kind, sigma, strength = draw(0, 1), draw(0, params.blur), draw(0, params.sharpen)
        soft, sharp = kind < 0.5, kind > 0.75
        smooth = blurred(x, torch.where(soft, sigma, SHARPEN_SIGMA).flatten())
        x = x + torch.where(soft, 1.0, torch.where(sharp, -strength, 0.0)) * (smooth - x)
    if params.noise:
        x = x + torch.randn(x.shape, generator=chance, device=chance.device).to(x.device) * draw(0, params.noise)
    return x


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Each example by a Gaussian of its own ``sigma`` (voxels) along every axis of space; at borders the last voxel repeats."""
    reach = max(1, round(3 * float(sigma.max())))
    taps = torch.arange(-reach, reach + 1, device=x.device)
    weights = torch.exp(-0.5 * (taps / sigma.to(x)[:, None].clamp_min(1e-3)) ** 2)
    weights = weights / weights.sum(dim=1, keepdim=True)
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        at = torch.arange(n, device=x.device)[:, None]
        matrix = torch.zeros(len(x), n, n, device=x.device, dtype=x.dtype)
        matrix.scatter_add_(2, (at + taps).clamp(0, n - 1).expand(len(x), -1, -1), weights[:, None].expand(-1, n, -1))
        lines = x.movedim(axis, -1)
        x = (lines.flatten(1, -2) @ matrix.transpose(1, 2)).view(lines.shape).movedim(-1, axis)
    return x
