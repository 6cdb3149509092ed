"""The cache's second look: how long 1,000 scans that are cut already take to be recognised; no header is opened, no pixel read.

python -m benchmarks.known_scans [SCANS]      default 1000, a LUNA16-shaped folder of coarse scans
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.side_by_side import median, row, timed

SHAPE = (60, 64, 64)  # voxels: how large a scan is does not matter, for none is read


def make_folder(root: Path, scans: int) -> list[str]:
    """One .mhd a scan; all share the bytes of one .raw."""
    hu = np.random.default_rng(0).integers(-1000, 100, SHAPE).astype("<i2")
    (root / "voxels").mkdir(parents=True)
    (root / "voxels" / "all.bin").write_bytes(hu.tobytes())
    uids = [f"1.2.826.0.1.3680043.{100_000 + k}.1" for k in range(scans)]
    for k, uid in enumerate(uids):
        folder = root / f"subset{k % 10}"
        folder.mkdir(exist_ok=True)
        os.link(root / "voxels" / "all.bin", folder / f"{uid}.raw")
        (folder / f"{uid}.mhd").write_text(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
            "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -160 -160 -300\nElementSpacing = 5 5 5\n"
            f"DimSize = {SHAPE[2]} {SHAPE[1]} {SHAPE[0]}\nElementType = MET_SHORT\nElementDataFile = {uid}.raw\n"
        )
    rows = "".join(f"{uid},0,0,{-200 + k % 100},8\n" for k, uid in enumerate(uids))
    (root / "annotations.csv").write_text(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{rows}")
    return uids


def fill(store: Any, index: Any, folder: Path) -> None:
    """Stand-ins where the cuts would be: recognising looks at names, sizes and manifests alone."""
    from artifacts.checkpoint import CropSpec
    from artifacts.examples import COLUMNS, Examples
    from flows.cache import Cutting
    from flows.dataset import gather, known_of
    from tasks.cut import cut
    from tasks.line import Plan

    cutting = Cutting(store, index, folder, gather(store, index, folder), ("examples",), {})
    none = {name: np.zeros((0, 3) if name in ("centers_lps_mm", "offset_zyx") else 0, dtype) for name, dtype in COLUMNS.items()}
    spec = CropSpec(shape_zyx=(1, 1, 1))
    for scan in cutting.found.dataset.scans:
        source = cutting.source(scan.uid, read=True)
        plan = Plan(store, source.digest)
        ref = cutting.line(plan, source, scan.uid)["examples"]
        made = Examples(scan.uid, scan.patient, scan.split, scan.fold, spec, (1.0,) * 3, np.zeros((0, 1, 1, 1), np.int16), **none)  # type: ignore[arg-type]
        given = {
            "volume": plan.steps[0].ref,
            "lung_mask": plan.steps[1].ref,
            "truth": known_of(cutting.found, scan.uid, index).for_crops(),
        }
        about = {"recipe": plan.recipe(cut, given), "scan": source.digest, "parents": {}, "summary": made.summary()}
        about |= {"weights": None, "seconds": 0.0, "made_at": "", "made_by": "", "software": {}}
        store.put(ref, made, "", **about)
        store.forget()


def run(scans: int = 1000, n: int = 3) -> list[dict[str, Any]]:
    from rich.console import Console

    from artifacts.private_index import PrivateIndex
    from artifacts.store import Store
    from flows.cache import cached
    from flows.console import TerminalWatcher, watching

    watching.set(TerminalWatcher(Console(quiet=True)))
    with tempfile.TemporaryDirectory() as scratch:
        folder, store, index = Path(scratch) / "luna", Store(Path(scratch) / "store"), PrivateIndex(Path(scratch) / "private")
        make_folder(folder, scans)
        fill(store, index, folder)

        def again() -> Any:
            return cached(folder, ("examples",), store=store, index=PrivateIndex(Path(scratch) / "private"))

        seconds, done = zip(*(timed(again) for _ in range(n)), strict=True)
        assert all(len(d.examples) == scans and not d.skipped for d in done)
    return [
        row(
            f"cache: {scans:,} known scans recognised", median(list(seconds)), None, "seconds, no pixels read", n, "LUNA16-shaped"
        )
    ]


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
