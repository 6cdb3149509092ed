"""Measure statistics: the mean and spread of each channel over the training images, batch by batch, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from artifacts.channel_stats import ChannelStats
from artifacts.errors import InputError
from artifacts.images import Images, TrainingImages
from tasks.stage import Params, Progress, silent, stage

IMAGES_AT_ONCE = 2048


class StatisticsParams(Params):
    """Nothing to choose: training images only, every pixel of them."""


class LevelCounter:
    """Streams: give it batches of any size in any order; ``stats`` at any time."""

    def __init__(self, channels: int):
        self.counts = np.zeros((channels, 256), dtype=np.int64)
        self.images = 0

    def add(self, images: NDArray[np.uint8]) -> None:
        """uint8 ``[n, channel, y, x]``."""
        for channel, counts in enumerate(self.counts):
            counts += count_levels(np.ascontiguousarray(images[:, channel]).reshape(-1))
        self.images += len(images)

    def stats(self) -> ChannelStats:
        return ChannelStats(self.counts.copy(), self.images)


def count_levels(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each of the 256 levels occurs. Two values are looked up at once: half the steps of counting one by one."""
    even = len(values) // 2 * 2
    pairs = np.bincount(values[:even].view(np.uint16), minlength=65536).reshape(256, 256)
    return pairs.sum(axis=0) + pairs.sum(axis=1) + np.bincount(values[even:], minlength=256)


def channel_stats(training: TrainingImages, progress: Progress = silent) -> ChannelStats:
    """Of training images and nothing else: TypeError for images that are held out. InputError where a channel never varies."""
    if not isinstance(training, TrainingImages):
        raise TypeError(f"statistics are taken of TrainingImages alone, not of {type(training).__name__}")
    counter = LevelCounter(training.images.shape[1])
    for start in range(0, len(training), IMAGES_AT_ONCE):
        counter.add(training.images[start : start + IMAGES_AT_ONCE])
        progress(min((start + IMAGES_AT_ONCE) / len(training), 1.0))
    stats = counter.stats()
    for channel in np.flatnonzero(stats.std == 0):
        raise InputError(f"channel {channel} has the same value in every training image: there is nothing to normalise by")
    return stats


@stage("statistics", version=1, params=StatisticsParams)
def statistics(images: Images, params: StatisticsParams = StatisticsParams(), progress: Progress = silent) -> ChannelStats:
    """The statistics of ``images.train``; what is held out never comes near."""
    return channel_stats(images.train, progress)
