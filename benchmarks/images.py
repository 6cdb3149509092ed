"""The input side of the image line, against torchvision transforms in a DataLoader; statistics against stacking through one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from artifacts.images import TrainingImages
from benchmarks.side_by_side import row
from tasks.images.feed import Feed
from tasks.images.normalise import Normaliser
from tasks.images.statistics import channel_stats

IMAGES, THEIRS, BATCH, ROUNDS = 50_000, 4_000, 500, 3
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class PilSet(torch.utils.data.Dataset):
    """Images as torchvision's CIFAR10 gives them: PIL, then transforms, one by one."""

    def __init__(self, images: np.ndarray, transform: Callable[[Any], Any]):
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[k])), 0


def pixels(count: int) -> np.ndarray:
    """uint8 ``[n, 32, 32, 3]``: what time this takes does not follow from what is on the images."""
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def loader(images: np.ndarray, workers: int, augmented: bool) -> torch.utils.data.DataLoader:
    from torchvision import transforms as T

    moves = [T.RandomCrop(32, 4, padding_mode="reflect"), T.RandomHorizontalFlip()] if augmented else []
    steps = [*moves, T.ToTensor(), *([T.Normalize(MEAN, STD)] if augmented else [])]
    data = PilSet(images, T.Compose(steps))
    return torch.utils.data.DataLoader(data, BATCH, shuffle=augmented, num_workers=workers, persistent_workers=workers > 0)


def through(batches: Any) -> float:
    """Images a second of one pass."""
    started, n = time.perf_counter(), 0
    for x, _ in batches:
        n += len(x)
    return n / (time.perf_counter() - started)


def stacked(images: np.ndarray) -> tuple[Any, Any]:
    """The book's way: every image as a tensor, all stacked, then reduced."""
    whole = torch.cat([x for x, _ in loader(images, 0, augmented=False)])
    return whole.mean((0, 2, 3)), whole.std((0, 2, 3))


def run() -> list[dict[str, Any]]:
    """Two rows of images a second (as seconds for 50,000), one of statistics."""
    part = TrainingImages(np.ascontiguousarray(pixels(IMAGES).transpose(0, 3, 1, 2)), np.zeros(IMAGES, dtype=np.int64))
    feed = Feed.of(part, Normaliser(MEAN, STD), "cpu", BATCH, flip="random", shift=4)
    some, rows = pixels(THEIRS), []
    through(feed(0))
    for workers in (0, 2):
        theirs = loader(some, workers, augmented=True)
        through(theirs)
        rates = [(through(feed(k)), through(theirs)) for k in range(ROUNDS)]  # interleaved
        ours_rate, their_rate = (sorted(r)[ROUNDS // 2] for r in zip(*rates, strict=True))
        note = f"{ours_rate:,.0f} against {their_rate:,.0f} images/s: flip, shift by 4, normalise, batches of {BATCH}"
        what = f"input of 50,000 images, DataLoader with {workers} workers"
        rows.append(row(what, IMAGES / ours_rate, IMAGES / their_rate, ">= 10x", ROUNDS, note))
    rows.append(statistics_row(part))
    return rows


def statistics_row(part: TrainingImages) -> dict[str, Any]:
    few = np.ascontiguousarray(part.images[: THEIRS * 2].transpose(0, 2, 3, 1))
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        channel_stats(part)
        between = time.perf_counter()
        stacked(few)
        times.append((between - started, (time.perf_counter() - between) * IMAGES / len(few)))
    ours, theirs = (sorted(t)[ROUNDS // 2] for t in zip(*times, strict=True))
    note = f"theirs measured on {len(few):,} images (0 workers) and scaled; ours exact in whole numbers"
    return row("statistics of 50,000 images", ours, theirs, ">= 5x stacking through a DataLoader", ROUNDS, note)


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print(table(run()))
