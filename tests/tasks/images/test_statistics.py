"""Statistics are those of stacking everything and reducing, exact, and of training images alone."""

from __future__ import annotations

import math
import statistics as exact
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from artifacts.channel_stats import ChannelStats
from artifacts.errors import InputError
from artifacts.images import HeldOutImages, Images, TrainingImages
from tasks.images.read import ReadParams, read
from tasks.images.source import find_source
from tasks.images.statistics import LevelCounter, channel_stats, statistics
from tests.tasks.images.small_sets import images


def training(count: int = 100) -> TrainingImages:
    pixels, labels = images(count)
    return TrainingImages(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels)


def test_they_equal_stacking_everything_and_reducing():
    part = training()
    stacked = (part.images / 255.0).astype(np.float64)
    stats = channel_stats(part)
    assert np.allclose(stats.mean, stacked.mean(axis=(0, 2, 3)), rtol=0, atol=1e-14)
    assert np.allclose(stats.std, stacked.std(axis=(0, 2, 3)), rtol=0, atol=1e-14)


def test_they_are_exact():
    part = training(7)
    for channel, (mean, std) in enumerate(zip(*(lambda s: (s.mean, s.std))(channel_stats(part)), strict=True)):
        values = [Fraction(int(v), 255) for v in part.images[:, channel].ravel()]
        assert mean == float(exact.mean(values))
        assert std == math.sqrt(exact.pvariance(values))


def test_a_stream_may_be_cut_anywhere():
    part = training(50)
    counter = LevelCounter(3)
    for piece in np.split(part.images, [1, 2, 30, 30]):
        counter.add(piece)
    assert np.array_equal(counter.stats().counts, channel_stats(part).counts)
    assert counter.images == 50


def test_large_counts_do_not_overflow():
    counts = np.zeros((1, 256), dtype=np.int64)
    counts[0, [0, 255]] = 10**15
    stats = ChannelStats(counts, 10**12)
    assert (stats.mean[0], stats.std[0]) == (0.5, 0.5)


def test_what_is_held_out_cannot_be_measured():
    part = training(9)
    with pytest.raises(TypeError, match="TrainingImages alone"):
        channel_stats(HeldOutImages(part.images, part.labels))  # type: ignore[arg-type]


def test_held_out_pixels_change_nothing():
    part, (black, labels) = training(30), (np.zeros((9, 3, 16, 16), np.uint8), np.zeros(9, np.int64))
    held = HeldOutImages(black, labels)
    found = statistics(Images(part, held, ("a", "b", "c"), held))
    assert np.array_equal(found.counts, channel_stats(part).counts)


def test_a_channel_that_never_varies_is_said():
    with pytest.raises(InputError, match="channel 0 has the same value"):
        channel_stats(TrainingImages(np.full((2, 3, 4, 4), 9, np.uint8), np.zeros(2, np.int64)))


def test_they_read_back_equal(tmp_path):
    stats = channel_stats(training())
    stats.write(tmp_path)
    back = ChannelStats.read(tmp_path)
    assert np.array_equal(back.counts, stats.counts)
    assert np.array_equal(back.std, stats.std)


@pytest.mark.data
def test_of_the_exact_pixels_at_hand(data_dir: Path):
    """8,068 of the 50,000 originals: within what so many differ from the published .4914 .4822 .4465, .2470 .2435 .2616."""
    path = data_dir / "cifar10" / "lossless.npz"
    stats = statistics(read(find_source("", path, path).open(), ReadParams()))
    assert np.allclose(stats.mean, [0.4914, 0.4822, 0.4465], atol=3e-3)
    assert np.allclose(stats.std, [0.2470, 0.2435, 0.2616], atol=2e-3)


@pytest.mark.data
@pytest.mark.slow
def test_of_the_jpeg_set(data_dir: Path):
    path = data_dir / "cifar10" / "jpeg-60000.zip"
    stats = statistics(read(find_source("", path, path).open(), ReadParams()))
    assert [f"{v:.4f}" for v in stats.mean] == ["0.4913", "0.4821", "0.4465"]
    assert [f"{v:.4f}" for v in stats.std] == ["0.2452", "0.2428", "0.2606"]
