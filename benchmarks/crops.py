"""Random reads of crops: one HDF5 chunk a crop, against gzip pickles in diskcache (the book's cache)."""

from __future__ import annotations

import gzip
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.crops import Crops
from benchmarks.side_by_side import compare, row

CROPS = 500
SIZE = (32, 48, 48)


def made_crops(seed: int = 0) -> Crops:
    """Soft tissue, air and noise in proportions like those of a chest, so that they compress like one."""
    rng = np.random.default_rng(seed)
    hu = np.where(rng.random((CROPS, 8, 12, 12)) < 0.7, -850, 30).repeat(4, 1).repeat(4, 2).repeat(4, 3)
    hu = (hu + rng.normal(0, 30, hu.shape)).astype(np.int16)
    return Crops(hu, np.zeros((CROPS, 3)), np.zeros((CROPS, 3), dtype=np.int32), (1.0, 1.0, 1.0))


def run(n: int = 5) -> list[dict[str, Any]]:
    """The same crops in the same random order, both from the page cache."""
    import diskcache
    import h5py

    crops = made_crops()
    order = np.random.default_rng(1).permutation(CROPS)
    with tempfile.TemporaryDirectory() as scratch:
        crops.write(Path(scratch))
        cache = diskcache.Cache(f"{scratch}/cache", size_limit=2**34)
        for k, crop in enumerate(crops.hu):
            cache[k] = gzip.compress(pickle.dumps(crop, protocol=5), compresslevel=1)

        def ours() -> int:
            with h5py.File(f"{scratch}/crops.h5") as f:
                hu = f["hu"]
                return sum(int(hu[k][16, 24, 24]) for k in order)

        def theirs() -> int:
            return sum(int(pickle.loads(gzip.decompress(cache[int(k)]))[16, 24, 24]) for k in order)

        assert ours() == theirs()
        mine, other = compare(ours, theirs, n)
        cache.close()
    note = f"{CROPS / mine:,.0f} against {CROPS / other:,.0f} crops of {'x'.join(map(str, SIZE))} a second, warm"
    return [row(f"crops: {CROPS} random reads", mine, other, ">= 10x gzip pickles in diskcache", n, note)]


if __name__ == "__main__":
    for line in run():
        print(line)
