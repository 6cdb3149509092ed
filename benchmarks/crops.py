"""Crops built and read at random, with 0 and 2 workers, against the book's way: gzip pickles in diskcache, one crop at a time."""

from __future__ import annotations

import gzip
import pickle
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.checkpoint import CropSpec
from artifacts.geometry import Geometry
from artifacts.lumps import Lumps
from artifacts.rows import Rows, read_ahead
from artifacts.volume import Series, Volume
from benchmarks.side_by_side import compare, row
from tasks.crop import CropParams, crop
from tasks.cut import lumps_at

CROPS, BATCH, PASSES = 500, 50, 10  # one pass takes milliseconds: too few to time
SPEC = CropSpec(shape_zyx=(32, 48, 48))  # the book's, in the scan's own voxels
REACH = ">= 10x gzip pickles in diskcache"


def run(n: int = 3) -> list[dict[str, Any]]:
    """The same crops in the same random order, both from the page cache."""
    with tempfile.TemporaryDirectory() as scratch:
        ours, theirs = Path(scratch) / "ours", Path(scratch) / "theirs"
        built = compare(lambda: build(ours), lambda: build_as_the_book(theirs), n)
        rows = [row(f"crops: {CROPS} built", *built, "", n, _rates(*built, "cut from a scan and written"))]
        order = np.random.default_rng(1).permutation(CROPS)
        hu, pickles = Rows(ours / "crops.h5", "hu"), Pickles(theirs)
        assert int(hu[order[0]].sum()) == int(pickles[order[0]].sum())
        read = compare(lambda: [hu[k] for k in order], lambda: [pickles[k] for k in order], n)
        rows.append(row(f"crops: {CROPS} random reads", *read, REACH, n, _rates(*read, "one at a time, warm")))
        batches = np.tile(order, PASSES).reshape(-1, BATCH)
        for workers in (0, 2):
            loader = loader_of_the_book(pickles, batches, workers)
            through = compare(lambda w=workers: total(read_ahead(hu, batches, w)), lambda it=loader: total(it), n)  # type: ignore[misc]
            how = f"batches of {BATCH}; theirs a DataLoader with {workers} worker processes that stay, ours {workers} threads"
            count = batches.size
            rows.append(row(f"crops: {count} random reads, {workers} workers", *through, REACH, n, _rates(*through, how, count)))
        return rows


def _rates(mine: float, other: float, how: str, count: int = CROPS) -> str:
    size = "x".join(map(str, SPEC.shape_zyx))
    return f"{count / mine:,.0f} against {count / other:,.0f} crops of {size} a second; {how}"


# -- what is read


@cache
def scan(seed: int = 0) -> tuple[Volume, Lumps]:
    """Soft tissue, air and noise in proportions like those of a chest, so that crops compress like one's; and places in it."""
    rng = np.random.default_rng(seed)
    hu = np.where(rng.random((25, 64, 64)) < 0.7, -850, 30).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    hu = (hu + rng.normal(0, 30, hu.shape)).astype(np.int16)
    grid = Geometry(hu.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))  # type: ignore[arg-type]
    return Volume(hu, grid, Series("benchmark")), lumps_at(rng.uniform(0, 1, (CROPS, 3)) * hu.shape[::-1], grid)


def build(folder: Path) -> None:
    volume, lumps = scan()
    folder.mkdir(exist_ok=True)
    crop(volume, lumps, params=CropParams(spec=SPEC)).write(folder)


def build_as_the_book(folder: Path) -> None:
    volume, lumps = scan()
    pickles = Pickles(folder)
    size = np.array(SPEC.shape_zyx)
    for k, center in enumerate(lumps.centers_zyx):
        low = np.clip(np.rint(center - size / 2), 0, np.array(volume.hu.shape) - size).astype(int)
        pickles[k] = volume.hu[tuple(slice(a, a + s) for a, s in zip(low, size, strict=True))]


class Pickles:
    """The book's cache: each crop a pickle, gzipped at level 1, in diskcache."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _cache(self) -> Any:
        return _opened(str(self.folder))

    def __setitem__(self, k: int, crop: NDArray[np.int16]) -> None:
        self._cache()[int(k)] = gzip.compress(pickle.dumps(crop, protocol=5), compresslevel=1)

    def __getitem__(self, k: int) -> NDArray[np.int16]:
        return pickle.loads(gzip.decompress(self._cache()[int(k)]))

    def __len__(self) -> int:
        return CROPS


@cache
def _opened(folder: str) -> Any:
    import diskcache

    return diskcache.Cache(folder, size_limit=2**34)


# -- how it is read


def loader_of_the_book(source: Pickles, batches: NDArray[np.int64], workers: int) -> Any:
    from torch.utils.data import DataLoader

    order = batches.ravel().tolist()
    return DataLoader(source, batch_size=BATCH, sampler=order, num_workers=workers, persistent_workers=workers > 0)  # type: ignore[arg-type]


def total(batches: Iterable[Any]) -> int:
    """Reads all of them."""
    return sum(int(batch[0, 16, 24, 24]) for batch in batches)


if __name__ == "__main__":
    for line in run():
        print(line)
