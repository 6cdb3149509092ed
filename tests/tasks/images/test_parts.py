"""Normalising, moving, losses, Muon, the feed: each against a slow obvious version of itself or against torch's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from artifacts.errors import WeightsError
from artifacts.images import TrainingImages
from tasks.images.augment import flips, mirrored, moved
from tasks.images.decode import Rules, decode
from tasks.images.feed import Feed, batch_for
from tasks.images.losses import LOSSES, cross_entropy, mse, nll, one_hot
from tasks.images.normalise import Normaliser
from tasks.training.muon import Muon, orthogonal

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def pixels(count: int = 40, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_normalising_equals_torchvision_bit_for_bit():
    from torchvision.transforms import Compose, Normalize, ToTensor

    theirs, x = Compose([ToTensor(), Normalize(MEAN, STD)]), pixels()
    every_level = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    for batch in (x, every_level):
        one_by_one = torch.stack([theirs(Image.fromarray(i.permute(1, 2, 0).numpy())) for i in batch])
        assert torch.equal(Normaliser(MEAN, STD)(batch), one_by_one)
        assert torch.equal(Normaliser(MEAN, STD, channels_last=True)(batch), one_by_one)


def test_a_photo_is_seen_as_it_was_held(tmp_path):
    from tasks.images.recognise import Recogniser, picture_of, recognise

    photo, turned = Image.new("RGB", (40, 20)), Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees
    photo.save(tmp_path / "a.jpg", exif=turned)
    sizes = []

    def ask(image: Image.Image) -> np.ndarray:
        sizes.append(image.size)
        return np.array([0.2, 0.8], dtype=np.float32)

    found = list(recognise(Recogniser(("猫, кот", "[/b]"), ask), {"a.jpg": tmp_path / "a.jpg"}))
    assert sizes == [(20, 40)]
    tall = decode((tmp_path / "a.jpg").read_bytes(), Rules((40, 20)), Counter())
    assert tall.shape == (3, 40, 20)  # and read sees it the same way
    assert [name for name, _ in found[0].top] == ["[/b]", "猫, кот"]
    assert picture_of(found).startswith(b"\x89PNG")
    assert picture_of(found, ".jpg").startswith(b"\xff\xd8")


def test_recognise_shows_a_network_what_read_shows_it(tmp_path):
    from artifacts.trained import Trained
    from tasks.images.recognise import recognise, with_checkpoint
    from tasks.nets.registry import build

    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 60, 3), dtype=np.uint8))
    wide.save(tmp_path / "wide.png")
    read_as = decode((tmp_path / "wide.png").read_bytes(), Rules((8, 8), "resize"), Counter())
    arguments = {"classes": 2, "channels": 3, "size": [8, 8]}
    module = build("linear", **arguments)
    card = {"name": "linear", "architecture": "linear", "arguments": arguments, "classes": ["a", "b"]}
    card |= {"input": {"channels": 3, "mean": list(MEAN), "std": list(STD), "size": [8, 8]}}
    tensors = {k: v.numpy() for k, v in module.state_dict().items()}
    found = dict(next(iter(recognise(with_checkpoint(Trained(card, tensors)), {"w": tmp_path / "wide.png"}))).top)
    wanted = module(Normaliser(MEAN, STD)(torch.from_numpy(read_as.copy())[None])).softmax(1)[0].tolist()
    assert [found["a"], found["b"]] == pytest.approx(wanted, abs=1e-6)
    for broken in ({"input": {}}, {"classes": ["a"]}, {"input": None}):
        with pytest.raises(WeightsError, match="card"):
            with_checkpoint(Trained(card | broken, tensors))


def test_files_to_recognise_keep_their_folders_and_hidden_ones_are_none(tmp_path):
    from tasks.images.recognise import image_files

    for name in ("a/0.png", "b/0.png", "b/._0.png", ".git/0.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list(image_files([tmp_path])) == ["a/0.png", "b/0.png"]
    assert list(image_files([tmp_path / "a", tmp_path / "b" / "0.png"])) == ["0.png", str(tmp_path / "b" / "0.png")]


def test_normalising_can_be_undone_and_rounds_to_half_once():
    x = pixels()
    normalise = Normaliser(MEAN, STD)
    assert torch.equal(normalise.undo(normalise(x)), x)
    assert torch.equal(Normaliser(MEAN, STD, dtype=torch.float16)(x), normalise(x).half())
    assert x.dtype == torch.uint8


def test_a_card_that_asks_for_resize_and_crop_gets_torchvisions_preset():
    from torchvision.models import ResNet18_Weights

    from tasks.nets.torchvision_nets import preprocessing

    x, preset = pixels(3, 64), ResNet18_Weights.DEFAULT.transforms()
    ours = Normaliser.from_card(preprocessing("resnet18"))(x)
    assert ours.shape == (3, 3, 224, 224)
    assert (ours - preset(x)).abs().max() < 0.02  # they round to whole levels after resizing


def test_moving_equals_padding_cropping_and_flipping_one_by_one():
    x = pixels(30, 9)
    chance = torch.Generator().manual_seed(1)
    down, right = (torch.randint(-4, 5, (30,), generator=chance) for _ in range(2))
    flip = torch.rand(30, generator=chance) < 0.5
    padded = F.pad(x.float(), (4, 4, 4, 4), mode="reflect")
    for k, found in enumerate(moved(x, flip, down, right)):
        top, left = 4 - int(down[k]), 4 - int(right[k])
        expected = padded[k, :, top : top + 9, left : left + 9]
        assert torch.equal(found.float(), expected.flip(-1) if flip[k] else expected)


def test_positions_beyond_the_border_are_mirrored_without_it():
    assert mirrored(torch.tensor([-2, -1, 0, 3, 4, 5]), 4).tolist() == [2, 1, 0, 3, 2, 1]


def test_alternating_flips_show_the_other_side_every_epoch():
    order, chance = torch.arange(1000), torch.Generator()
    first, second, third = (flips("alternating", order, epoch, 0, chance) for epoch in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 0.4 < first.float().mean() < 0.6
    assert not torch.equal(first, flips("alternating", order, 0, 1, chance))
    shuffled = torch.randperm(1000)
    assert torch.equal(flips("alternating", shuffled, 0, 0, chance), first[shuffled])


def test_a_feed_shows_every_image_once_an_epoch_in_an_order_that_follows_from_the_seed():
    part = TrainingImages(pixels(64, 8).numpy(), np.arange(64))
    feed = Feed.of(part, nn.Identity(), "cpu", 32, seed=3)
    assert feed.steps == 2
    labels = [torch.cat([y for _, y in feed(epoch)]) for epoch in (0, 1, 0)]
    assert labels[0].sort().values.tolist() == list(range(64))
    assert torch.equal(labels[0], labels[2])
    assert not torch.equal(labels[0], labels[1])
    for x, y in feed(0):
        assert np.array_equal(x.numpy(), part.images[y.numpy()])


def test_small_sets_get_smaller_batches_not_fewer_steps():
    assert batch_for(50_000, 2000) == 2000
    assert batch_for(4000, 2000) == 160
    assert batch_for(10, 128) == 10


def gradients(loss, smoothing: float) -> torch.Tensor:
    chance = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(16, 10, generator=chance)).requires_grad_()
    loss(logits, torch.randint(10, (16,), generator=chance), smoothing).backward()
    return logits.grad


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_and_nll_on_log_softmax_have_the_same_gradients(smoothing):
    assert torch.allclose(gradients(cross_entropy, smoothing), gradients(nll, smoothing), atol=1e-7)
    assert not torch.allclose(gradients(cross_entropy, smoothing), gradients(mse, smoothing), atol=1e-2)


def test_squared_error_is_against_scattered_ones():
    labels = torch.tensor([2, 0])
    assert torch.equal(one_hot(labels, 3), F.one_hot(labels, 3).float())
    logits = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]).log()
    expected = (0.1**2 + 0.2**2 + 0.3**2 + 0.5**2 + 0.4**2 + 0.1**2) / 2
    assert float(mse(logits, labels)) == pytest.approx(expected)
    assert one_hot(labels, 4, 0.2).sum(1).tolist() == pytest.approx([1, 1])
    assert set(LOSSES) == {"cross-entropy", "nll", "mse"}


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_muon_steps_are_nearly_orthogonal(shape):
    found = orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0)), steps=6)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3


def test_muon_keeps_the_length_of_filters_and_turns_them():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(16, 4, 3, 3))
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    optimizer = Muon([weight], lr=0.1, fixed_norm=True)
    for _ in range(3):
        optimizer.step()
    assert not torch.equal(weight, before)
    assert float((weight.norm() / before.norm()).detach()) == pytest.approx(1, abs=0.15)
    with pytest.raises(ValueError, match="biases"):
        Muon([nn.Parameter(torch.zeros(3))])


def test_muon_agrees_with_torchs_on_a_matrix():
    torch.manual_seed(0)
    before, gradient = torch.randn(16, 24), torch.randn(16, 24)
    ours, theirs = nn.Parameter(before.clone()), nn.Parameter(before.clone())
    ours.grad, theirs.grad = gradient.clone(), gradient.clone()
    Muon([ours], lr=0.1).step()
    torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0).step()
    turned, expected = (ours - before).flatten(), (theirs - before).flatten()
    assert float(F.cosine_similarity(turned, expected, dim=0).detach()) > 0.99
