"""How cost grows with the number of scans: `hounsfield inbox run --direct` over 10, 100, 1,000 small phantom scans.

    python -m benchmarks.scaling [N …]         default 10 100

Every scan is the same small phantom with one voxel changed and a UID of its own, so that nothing is reused and all cost the
same. Networks are toys (2 channels wide, random weights): what is measured is everything around them. Each N has a home of its
own and a first run that has screened nothing before. Time per scan is taken between the ends of scans, first one left out;
the parent's memory is read at the first, the middle and the last scan.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (40, 48, 48)  # voxels of 5 x 7 x 7 mm: a chest


def make_scans(tree: Path, n: int) -> None:
    """``n`` studies of one series each."""
    from artifacts.geometry import Geometry
    from artifacts.volume import Series, Volume
    from tasks.phantom.dicom import uid_of, write_dicom_series
    from tests.tasks.reading.small_dicom import chest

    hu = chest(*SHAPE)
    geometry = Geometry(SHAPE, (5.0, 7.0, 7.0), (-160.0, -160.0, 0.0))
    for k in range(n):
        own = hu.copy()
        own[0, 0, 0] = -1000 + k % 2000
        write_dicom_series(Volume(own, geometry, Series(uid_of("scaling", k))), tree / f"{k // 100:02d}" / f"{k:04d}")


def make_toy_weights(home: Path) -> None:
    """A weights set ``toy``: networks as small as they come."""
    import torch

    from artifacts.checkpoint import Card, CropSpec, InputSpec, write_checkpoint
    from tasks.nets import build

    crop = CropSpec(shape_zyx=(16, 16, 16))
    kinds: list[tuple[Any, str, dict[str, Any], Any]] = [
        ("segmenter", "unet2d", {"in_channels": 7, "classes": 1, "depth": 2, "width": 2}, None),
        ("nodule", "luna3d", {"in_channels": 1, "conv_channels": 2, "crop_zyx": [16, 16, 16], "classes": 2}, crop),
        ("malignancy", "luna3d", {"in_channels": 1, "conv_channels": 2, "crop_zyx": [16, 16, 16], "classes": 2}, crop),
    ]
    for role, architecture, arguments, spec in kinds:
        torch.manual_seed(0)
        state = build(architecture, **arguments).state_dict()
        card = Card(
            name="toy", role=role, architecture=architecture, arguments=arguments, input=InputSpec(crop=spec), licence="none"
        )
        write_checkpoint(home / "weights" / "toy", card, {k: v.numpy() for k, v in state.items()})


def rss_mb() -> float:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(n: int) -> dict[str, Any]:
    """One inbox run over ``n`` scans."""
    from flows import inbox as flow
    from flows.many import each

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HOUNSFIELD_HOME"] = f"{scratch}/home"
        make_scans(Path(scratch) / "tree", n)
        make_toy_weights(Path(scratch) / "home")
        ends: list[float] = []
        memory: list[float] = []

        def watched(jobs: Any, crew: Any) -> Any:
            for result in each(jobs, crew):
                ends.append(time.perf_counter())
                memory.append(rss_mb())
                yield result

        plain, flow.each = flow.each, watched
        try:
            started = time.perf_counter()
            came = flow.inbox.fn(folders=[f"{scratch}/tree"], weights="toy", quiet_s=0.0, at_once=1)
            whole = time.perf_counter() - started
        finally:
            flow.each = plain
    each_s = np.diff(ends)
    third = max(1, len(each_s) // 3)
    return {
        "scans": n,
        "came": came,
        "whole_s": whole,
        "scan_s": float(np.median(each_s)),
        "first_third_s": float(np.median(each_s[:third])),
        "last_third_s": float(np.median(each_s[-third:])),
        "memory_mb": [round(memory[k]) for k in (0, len(memory) // 2, -1)],
    }


def main(sizes: list[int]) -> None:
    from benchmarks.__main__ import hardware

    print(f"{hardware()}; load average {os.getloadavg()[0]:.1f} at the start\n")
    print("| scans | came to | whole run | a scan, median | first third | last third | parent's memory, first / middle / last |")
    print("|---|---|---|---|---|---|---|")
    for n in sizes:
        m = measure(n)
        came = ", ".join(f"{v} {k}" for k, v in m["came"].items())
        times = f"{m['scan_s']:.2f} s | {m['first_third_s']:.2f} s | {m['last_third_s']:.2f} s"
        print(f"| {n} | {came} | {m['whole_s']:.0f} s | {times} | {' / '.join(map(str, m['memory_mb']))} MB |", flush=True)


if __name__ == "__main__":
    main([int(a) for a in sys.argv[1:]] or [10, 100])
