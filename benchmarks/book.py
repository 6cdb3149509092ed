"""A peer to measure against: the stages done the way of *Deep Learning with PyTorch*, part 2, in words of our own.

Slices go through a DataLoader in batches of 4, whole, all of them; the network is eager, contiguous, float32. Lumps are what is
above 0.5 after one erosion, their centre weighted by density. Crops are taken and classified in batches of 4.
DataLoaders run in this process: on two cores, worker processes only take time from the network.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from artifacts.checkpoint import Role, read_checkpoint
from benchmarks.side_by_side import timed
from tasks.import_weights import import_book
from tasks.nets import Network, build, load_network
from tasks.nets.network import Precision

DATA = Path(os.environ.get("HOUNSFIELD_DATA", Path(__file__).parents[2] / "shared" / "data"))
SCAN = DATA / "ct" / "cptac-c3n-00247"
BATCH = 4
CROP_ZYX = (32, 48, 48)


class Slices(Dataset[Tensor]):
    """Each slice with three neighbours on either side."""

    def __init__(self, hu: NDArray[np.float32]):
        self.hu = hu

    def __len__(self) -> int:
        return len(self.hu)

    def __getitem__(self, z: int) -> Tensor:
        stack = torch.zeros((7, *self.hu.shape[1:]))
        for channel, neighbour in enumerate(range(z - 3, z + 4)):
            stack[channel] = torch.from_numpy(self.hu[min(max(neighbour, 0), len(self.hu) - 1)])
        return stack


class Candidates(Dataset[Tensor]):
    """The crop around each centre, moved inside at the borders."""

    def __init__(self, hu: NDArray[np.float32], centers_zyx: NDArray[np.float64]):
        self.hu, self.centers_zyx = hu, centers_zyx

    def __len__(self) -> int:
        return len(self.centers_zyx)

    def __getitem__(self, k: int) -> Tensor:
        box = []
        for center, size, extent in zip(self.centers_zyx[k], CROP_ZYX, self.hu.shape, strict=True):
            start = min(max(round(center - size / 2), 0), extent - size)
            box.append(slice(start, start + size))
        return torch.from_numpy(self.hu[tuple(box)].copy())[None]


def load(scan: Path = SCAN) -> NDArray[np.float32]:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(scan), recursive=True))
    hu = np.array(sitk.GetArrayFromImage(reader.Execute()), dtype=np.float32)
    return hu.clip(-1000, 1000)


def segment(hu: NDArray[np.float32], net: nn.Module) -> NDArray[np.float32]:
    heat = np.zeros_like(hu)
    z = 0
    with torch.no_grad():
        for stacks in DataLoader(Slices(hu), batch_size=BATCH):
            probability = net(stacks).sigmoid()
            heat[z : z + len(stacks)] = probability[:, 0].numpy()
            z += len(stacks)
    return heat


def group(hu: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """``[n, 3]`` centres (z, y, x), whole voxels."""
    from scipy import ndimage

    mask = ndimage.binary_erosion(heat > 0.5, iterations=1)
    labels, n = ndimage.label(mask)
    return np.round(ndimage.center_of_mass(hu + 1001, labels, np.arange(1, n + 1))).reshape(-1, 3)


def classify(hu: NDArray[np.float32], centers_zyx: NDArray[np.float64], net: nn.Module) -> NDArray[np.float32]:
    with torch.no_grad():
        batches = [net(crops).softmax(dim=1)[:, 1].numpy() for crops in DataLoader(Candidates(hu, centers_zyx), batch_size=BATCH)]
    return np.concatenate(batches) if batches else np.zeros(0, dtype=np.float32)


def published(*roles: Role, precision: Precision = "float32") -> list[Network]:
    """The published checkpoints, as our stages take them."""
    files = [next((DATA / "weights").glob(pattern)) for pattern in ("dlwpt/seg_*", "dlwpt/cls_*", "gregorytomy/mal_*")]
    with tempfile.TemporaryDirectory() as scratch:
        import_book("book", files[0], files[1], files[2], Path(scratch))
        return [load_network(read_checkpoint(Path(scratch, "book"), role), "cpu", precision) for role in roles]


def plain(network: Network) -> nn.Module:
    """The same network as anybody would build it: nothing but the weights, in torch's own layout."""
    net = build(network.card.architecture, **network.card.arguments)
    net.load_state_dict(network.module.state_dict())
    for weight in net.parameters():
        weight.data = weight.data.contiguous()
    return net.eval()


def book_seconds() -> dict[str, float]:
    """Seconds of each of the book's stages on the real scan, with the threads that torch has now."""
    segmenter, classifier = (plain(n) for n in published("segmenter", "nodule"))
    seconds: dict[str, Any] = {}
    seconds["load"], hu = timed(load)
    seconds["segment"], heat = timed(segment, hu, segmenter)
    seconds["group"], centers = timed(group, hu, heat)
    seconds["classify"], p = timed(classify, hu, centers, classifier)
    print(f"the book's way: {len(centers)} lumps, {(p > 0.5).sum()} called nodule")
    return seconds


if __name__ == "__main__":
    print({stage: round(s, 2) for stage, s in book_seconds().items()}, f"{torch.get_num_threads()} threads")
