"""The inbox: how long a second look over 10,000 known series of 20 files takes, warm; no pixels are read.

python -m benchmarks.inbox [SERIES [FILES]]      default 10000 20; writes 200,000 small files
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import median, row, timed

SIDE = 8  # pixels a side of a slice: a header with hardly any image


def make_tree(root: Path, series: int, files: int) -> None:
    """``series`` studies of one series of ``files`` slices each, 100 studies a folder, real DICOM headers: one written by
    pydicom, the others the same bytes with other UIDs and places of equal length."""
    import numpy as np

    from artifacts.geometry import Geometry
    from artifacts.volume import Series, Volume
    from tasks.phantom.dicom import uid_of, write_dicom_series

    uid = uid_of("benchmark", 0)
    step = 300.0 / files
    with tempfile.TemporaryDirectory() as scratch:
        geometry = Geometry((files, SIDE, SIDE), (step, 40.0, 40.0), (-160.0, -160.0, 1000.0))
        volume = Volume(np.zeros((files, SIDE, SIDE), dtype=np.int16), geometry, Series(uid))
        slices = [p.read_bytes() for p in write_dicom_series(volume, Path(scratch))]
    study = uid_of("study", uid)
    for n in range(series):
        folder = root / f"{n // 100:03d}" / f"{n:05d}"
        folder.mkdir(parents=True)
        for k, body in enumerate(slices):
            for old in (study, uid):
                body = body.replace(old.encode(), _sibling(old, n).encode())
            (folder / f"{k:03d}.dcm").write_bytes(body)


def _sibling(uid: str, n: int) -> str:
    """Another UID of the same length."""
    return uid[:-6] + f"{n:06d}"


def run(series: int = 10_000, files: int = 20, n: int = 3) -> list[dict[str, Any]]:
    from tasks.reading.header_index import HeaderIndex

    with tempfile.TemporaryDirectory() as scratch:
        tree, private = Path(scratch) / "tree", Path(scratch) / "private"
        tree.mkdir()
        make_tree(tree, series, files)

        def look() -> Any:
            return HeaderIndex(private, lambda path: "source-benchmark").look([tree])

        cold, first = timed(look)
        warm = [timed(look) for _ in range(n)]
    assert len(first.seen) == series
    assert all(again.seen == first.seen and again.opened == 0 for _, again in warm)
    what = f"inbox: {series:,} known series of {files} files looked over again"
    note = f"no file opened; the first look, reading {first.opened:,} headers, {cold:.1f} s"
    return [row(what, median([s for s, _ in warm]), None, "< 30 s, warm", n, note)]


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
