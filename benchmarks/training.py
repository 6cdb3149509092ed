"""Training throughput: whole batches augmented on the device, against the book's way, on the same crops on the same machine.

The book's way (*Deep Learning with PyTorch*, chapters 11-13): a sample at a time out of a cache of gzip pickles, augmented alone
on the CPU in DataLoader workers (an affine map and noise), batches of 4 crops or 16 slices, plain memory layout. Two ratios are
reported for the classifier: with the book's own network on both sides, and with the network that this project ships.
"""

from __future__ import annotations

import gzip
import math
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from artifacts.checkpoint import InputSpec
from benchmarks.side_by_side import compare, row, timed
from tasks.nets import build
from tasks.training.augment import AugmentParams
from tasks.training.batches import Balanced, CropBatches, SliceBatches
from tasks.training.losses import ClassLoss, MaskLoss
from tasks.training.parts import in_layout
from tasks.training.pile import Pile

EXAMPLES = {"crops": 128, "slices": 256}
WORKERS = min(2, os.cpu_count() or 1)
REACH = ">= 5x the book's way on a CPU"
Train = Callable[[], None]


@dataclass
class BookSamples(Dataset[tuple[Tensor, Tensor]]):
    """One sample at a time: unpickled, windowed, turned and noised alone."""

    folder: str
    targets: np.ndarray
    slices: bool

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(pickle.loads(gzip.decompress(opened(self.folder)[k]))).float().clamp(-1000, 1000)
        y = torch.as_tensor(self.targets[k])
        if self.slices:  # the book crops 64 x 64 at random and augments on the device
            j, i = torch.randint(0, x.shape[-1] - 63, (2,)).tolist()
            return x[:, j : j + 64, i : i + 64], y[j : j + 64, i : i + 64]
        angle = float(torch.rand(()) * 2 * math.pi)
        turn = torch.diag(torch.where(torch.rand(3) < 0.5, -1.0, 1.0) * (1 + 0.2 * (torch.rand(3) * 2 - 1)))
        turn = turn @ torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]])
        affine = torch.cat([turn, 0.1 * (torch.rand(3, 1) * 2 - 1)], dim=1)[None]
        grid = F.affine_grid(affine, [1, 1, *x.shape], align_corners=False)
        moved = F.grid_sample(x[None, None], grid, padding_mode="border", align_corners=False)[0]
        return moved + 25 * torch.randn_like(moved), y


@cache
def opened(folder: str) -> Any:
    """Once a process, as the book does."""
    import diskcache

    return diskcache.Cache(folder)


def cached(folder: Path, hu: np.ndarray) -> str:
    import diskcache

    with diskcache.Cache(str(folder), size_limit=2**34) as there:
        for k, box in enumerate(hu):
            there[k] = gzip.compress(pickle.dumps(box, protocol=5), compresslevel=1)
    return str(folder)


def steps(module: nn.Module, loss: Any, batches: Callable[[], Iterator[Any]], device: torch.device) -> Train:
    """A training epoch over ``batches`` with SGD; waits for the device."""
    optimizer = torch.optim.SGD(module.to(device).train().parameters(), lr=1e-3, momentum=0.9)

    def epoch() -> None:
        for x, y in batches():
            optimizer.zero_grad(set_to_none=True)
            loss(module(x.to(device)), y.to(device)).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return epoch


def book_batches(samples: BookSamples, size: int) -> Callable[[], Iterator[Any]]:
    loader = DataLoader(samples, size, num_workers=WORKERS, shuffle=True, persistent_workers=True)
    return lambda: iter(loader)


def our_batches(batches: Balanced) -> Callable[[], Iterator[Any]]:
    return lambda: batches(0)  # type: ignore[operator]


def network_share(
    module: nn.Module, loss: Any, batches: Callable[[], Iterator[Any]], epoch: Train, device: torch.device
) -> float:
    """Share of an epoch that is not the network's own forward, backward and step: the same batches, made before."""
    made = [(x.to(device), y.to(device)) for x, y in batches()]
    alone = steps(module, loss, lambda: iter(made), device)
    alone()
    return max(0.0, 1 - timed(alone)[0] / timed(epoch)[0])


def run(n: int = 3) -> list[dict[str, Any]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        return [*_classifiers(rng, Path(scratch), device, n), *_segmenter(rng, Path(scratch), device, n)]


def _classifiers(rng: np.random.Generator, scratch: Path, device: torch.device, n: int) -> list[dict[str, Any]]:
    count = EXAMPLES["crops"]
    book_hu, own_hu = (_made(rng, (count, *shape)) for shape in ((32, 48, 48), (32, 32, 32)))
    labels = np.arange(count) % 2
    loss = ClassLoss()
    theirs = steps(
        build("luna3d"),
        nn.CrossEntropyLoss(),
        book_batches(BookSamples(cached(scratch / "c", book_hu), labels, False), 4),
        device,
    )
    rows = []
    for what, network, hu in (("the book's network", "luna3d", book_hu), ("resnet3d, 32 mm crops", "resnet3d", own_hu)):
        kinds = [np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)]
        batches = CropBatches(
            kinds, [16, 16], count // 32, AugmentParams(), InputSpec(), 0, str(device),
            hu=Pile([hu], [np.arange(count)]), target=labels.astype(np.float32), crop_zyx=hu.shape[1:],
        )  # fmt: skip
        module = in_layout(build(network))
        ours = steps(module, loss, our_batches(batches), device)
        mine, other = compare(ours, theirs, n)
        share = network_share(module, loss, our_batches(batches), ours, device)
        speed = f"{count / mine:,.0f} against {count / other:,.0f} crops a second"
        note = f"{speed}; {share:.0%} of the step is not the network, {device}"
        rows.append(row(f"train the classifier, {what}", mine, other, REACH, n, note))
    return rows


def _segmenter(rng: np.random.Generator, scratch: Path, device: torch.device, n: int) -> list[dict[str, Any]]:
    count = EXAMPLES["slices"]
    hu, masks = _made(rng, (count, 7, 96, 96)), (rng.random((count, 96, 96)) < 0.02).astype(np.uint8)
    loss = MaskLoss("book")
    theirs = steps(build("unet2d"), loss, book_batches(BookSamples(cached(scratch / "s", hu), masks, True), 16), device)
    everyone = np.arange(count)
    batches = SliceBatches(
        [everyone], [16], count // 16, AugmentParams(tilt=0), InputSpec(), 0, str(device),
        hu=Pile([hu], [everyone]), masks=Pile([masks], [everyone]), crop=64,
    )  # fmt: skip
    module = in_layout(build("unet2d"))
    ours = steps(module, loss, our_batches(batches), device)
    mine, other = compare(ours, theirs, n)
    share = network_share(module, loss, our_batches(batches), ours, device)
    note = (
        f"{count / mine:,.0f} against {count / other:,.0f} slices a second; {share:.0%} of the step is not the network, {device}"
    )
    return [row("train the segmenter, the book's network", mine, other, REACH, n, note)]


def _made(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Soft tissue and air in lumps, with noise."""
    return (np.where(rng.random(shape) < 0.7, -850, 30) + rng.normal(0, 30, shape)).astype(np.int16)


if __name__ == "__main__":
    for line in run():
        print(line)
