"""segment on a real scan, against the same network run the book's way: all slices, whole, in batches of 4.

Beside the ratio stands the floor: what share of the arithmetic lies in the lung mask, and how fast this machine multiplies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks import book
from benchmarks.side_by_side import median, row, timed

REACH = {"float32": ">= 5x", "bfloat16": ">= 15x with AMX"}


def run(n: int = 3) -> list[dict[str, Any]]:
    """Rounds of theirs and ours in turn; the maps are compared inside the lungs."""
    if not book.SCAN.is_dir():
        return [row("segment", 0.0, None, REACH["float32"], 0, "not measured: the real scan is not here (HOUNSFIELD_DATA)")]
    from artifacts.geometry import Geometry
    from artifacts.volume import Series, Volume
    from tasks.outline import outline
    from tasks.segment import segment

    hu = book.load()
    volume = Volume(hu.astype(np.int16), Geometry(hu.shape, (3.0, 0.5644, 0.5644), (0.0, 0.0, 0.0)), Series("scan"))
    lungs = outline(volume)
    inside = lungs.labels > 0
    networks = {p: book.published("segmenter", precision=p)[0] for p in ("float32", "bfloat16")}  # type: ignore[arg-type]
    peer = book.plain(networks["float32"])
    book.segment(hu[:4], peer)
    theirs: list[float] = []
    ours: dict[str, list[float]] = {p: [] for p in networks}
    off, same_side = {}, {}
    for _ in range(n):
        seconds, heat = timed(book.segment, hu, peer)
        theirs.append(seconds)
        want = np.rint(255 * heat)[inside]
        for precision, network in networks.items():
            for _again in range(2):  # the better of two: the peer's pages are given back first
                seconds, ours_heat = timed(lambda network=network: segment(volume, lungs, network=network))
                ours[precision].append(seconds)
            got = ours_heat.probability[inside]
            off[precision], same_side[precision] = np.abs(got - want).max(), ((got > 127) == (want > 127)).mean()
    share, flop = inside.mean(), inside.size * flop_a_pixel(networks["float32"].module)
    rows = []
    for precision, times in ours.items():
        seconds, fastest = median(times), big_convolution(getattr(torch, precision))
        floor = share * flop / fastest
        note = (
            f"{off[precision]:.0f}/255 off at most, {same_side[precision]:.3%} on the same side of 0.5; lungs hold {share:.0%} "
            f"of the voxels: at {fastest / 1e9:.0f} GFLOP/s of a large convolution {floor:.2f} s, {median(theirs) / floor:.0f}x; "
            f"{torch.get_num_threads()} threads"
        )
        rows.append(row(f"segment {len(hu)} slices, CPU, {precision}", seconds, median(theirs), REACH[precision], n, note))
    return rows


def flop_a_pixel(net: torch.nn.Module, side: int = 64) -> float:
    """Floating-point operations of the convolutions for one pixel of a slice."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 7, side, side))
    return counter.get_total_flops() / side**2


def big_convolution(dtype: torch.dtype) -> float:
    """FLOP/s of a 3x3 convolution of 256 channels: what this machine gives when nothing is in the way."""
    c, side = 256, 96
    x = torch.randn(1, c, side, side).to(dtype, memory_format=torch.channels_last)
    w = torch.randn(c, c, 3, 3).to(dtype, memory_format=torch.channels_last)
    with torch.no_grad():
        seconds = min(timed(torch.conv2d, x, w, None, 1, 1)[0] for _ in range(10))
    return 2 * 9 * c * c * side * side / seconds


if __name__ == "__main__":
    for line in run():
        print(line)
