"""Augmentation: each kind has an effect of its own, example by example; a mask moves with its image; nothing means nothing."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from tasks.training.augment import NOTHING, AugmentParams, augment, blurred

SIZES = [(4, 1, 24, 24, 24), (4, 3, 32, 32)]


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(**kinds: float) -> AugmentParams:
    return NOTHING.model_copy(update=kinds)


def images(size: tuple[int, ...]) -> Tensor:
    """A bright ball off the middle on a dark ground with a little texture; the same for every example."""
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) - n / 2 for n in size[2:]), indexing="ij"))
    off = torch.tensor([2.0, 4.0, -3.0][: len(size) - 2]).view(-1, *[1] * (len(size) - 2))
    ball = (grid - off).square().sum(0) < 25
    texture = 40 * torch.randn(size[2:], generator=chance(9))
    return torch.where(ball, 40.0, -850.0).add(texture).expand(size).clone()


@pytest.mark.parametrize("size", SIZES)
def test_nothing_changes_nothing(size: tuple[int, ...]) -> None:
    x = images(size)
    assert torch.allclose(augment(x, NOTHING, chance())[0], x, atol=0.05)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *product(
            [
                {"flip": True},
                {"shift": 3.0},
                {"scale": 0.3},
                {"rotate": 60.0},
                {"noise": 40.0},
                {"brightness": 60.0},
                {"contrast": 0.2},
                {"blur": 1.5},
                {"sharpen": 1.0},
            ],
            SIZES,
        ),
        ({"tilt": 60.0}, SIZES[0]),
    ],
)
def test_each_kind_has_an_effect_that_differs_between_examples(kind: dict[str, float], size: tuple[int, ...]) -> None:
    x = images(size)
    seen = torch.cat([augment(x, only(**kind), chance(seed))[0] for seed in range(4)])
    change = (seen - x[:1]).abs().flatten(1).mean(1)
    assert (change > 3).sum() >= len(seen) // 4
    assert (seen[0] - seen[1:]).abs().flatten(1).mean(1).max() > 3
    assert seen.shape[1:] == x.shape[1:]
    assert torch.isfinite(seen).all()


def test_a_flip_is_a_mirror_image_and_every_one_of_them_comes_up() -> None:
    x = images((64, 1, 16, 16, 16))
    seen, _ = augment(x, only(flip=True), chance())
    mirrors = [
        x[0].flip(axes) if (axes := [k + 1 for k, f in enumerate(flips) if f]) else x[0] for flips in product((0, 1), repeat=3)
    ]
    which = [min(range(8), key=lambda k: float((image - mirrors[k]).abs().max())) for image in seen]
    assert set(which) == set(range(8))
    assert max(float((image - mirrors[k]).abs().max()) for image, k in zip(seen, which, strict=True)) < 0.1


def test_a_shift_is_in_voxels_and_a_scale_is_a_share() -> None:
    def middle_and_size(x: Tensor) -> tuple[Tensor, Tensor]:
        inside = (x[:, 0] > -400).float()
        grid = torch.stack(torch.meshgrid(*(torch.arange(n) - n / 2 + 0.5 for n in x.shape[2:]), indexing="ij"))
        volume = inside.flatten(1).sum(1)
        return (inside[:, None] * grid).flatten(2).sum(2) / volume[:, None], volume

    x = images((32, 1, 24, 24, 24))
    before, volume = middle_and_size(x)
    after, _ = middle_and_size(augment(x, only(shift=3.0), chance())[0])
    moved = (after - before).abs()
    assert moved.max() < 3.2
    assert moved.max(dim=0).values.min() > 2
    _, scaled = middle_and_size(augment(x, only(scale=0.2), chance())[0])
    ratio = scaled / volume
    assert 1.3 < ratio.max() < 1.2**3 * 1.1
    assert 0.8**3 * 0.9 < ratio.min() < 0.8


def test_a_rotation_turns_about_the_middle_in_the_axial_plane() -> None:
    x = images((16, 1, 24, 24, 24))
    turned, _ = augment(x, only(rotate=90.0), chance())
    assert torch.allclose(turned.sum((3, 4)), x.sum((3, 4)), rtol=0.1)  # each slice keeps what it holds
    tilted, _ = augment(x, only(tilt=90.0), chance())
    assert not torch.allclose(tilted.sum((3, 4)), x.sum((3, 4)), rtol=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_moves_with_its_image(seed: int) -> None:
    x = images((4, 3, 48, 48))
    mask = (x[:, 1] > -400).to(torch.uint8)
    params = AugmentParams(noise=0, brightness=0, contrast=0, blur=0, sharpen=0)
    moved, moved_mask = augment(x, params, chance(seed), mask=mask, out=(40, 40))
    assert moved_mask is not None
    assert moved_mask.shape == (4, 40, 40)
    assert moved_mask.dtype == torch.uint8
    inside = (moved[:, 1] > -400).to(torch.uint8)
    both, either = (inside & moved_mask).sum(), (inside | moved_mask).sum()
    assert both / either > 0.9
    assert moved_mask.sum() > 50


def test_the_middle_is_cut_out_of_larger_examples() -> None:
    x = images((2, 1, 24, 24, 24))
    cut, _ = augment(x, NOTHING, chance(), out=(16, 16, 16))
    assert torch.allclose(cut, x[:, :, 4:20, 4:20, 4:20], atol=0.05)


def test_the_same_chance_gives_the_same_batch() -> None:
    x = images(SIZES[0])
    once, twice, other = (augment(x, AugmentParams(), chance(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(once, twice)
    assert not torch.equal(once, other)


def test_a_blur_is_a_gaussian_of_its_own_width() -> None:
    from scipy.ndimage import gaussian_filter

    x = torch.zeros(2, 1, 21, 21, 21)
    x[:, :, 10, 10, 10] = 1000
    soft = blurred(x, torch.tensor([1.0, 0.5]))
    for image, sigma in zip(soft, (1.0, 0.5), strict=True):
        wanted = gaussian_filter(x[0, 0].numpy(), sigma, radius=3, mode="nearest")
        assert abs(image[0].numpy() - wanted).max() < 1e-3
