"""Segment on a CUDA card: time beside the floor of its bytes and operations. Skipped, and said, where there is no card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.screen import SCAN, import_published
from benchmarks.side_by_side import median, row, timed

REACH = "stated with the card's name"


def run(n: int = 5) -> list[dict[str, Any]]:
    """The real scan and the book's segmenter; the floor is what a large matrix product and a copy reach on the same card."""
    import torch

    if not torch.cuda.is_available():
        return [row("segment on a GPU", None, None, REACH, 0, "not measured: no CUDA device here")]
    if not SCAN.is_dir():
        return [row("segment on a GPU", None, None, REACH, 0, "not measured: the real scan is not here (HOUNSFIELD_DATA)")]
    from artifacts.checkpoint import read_checkpoint
    from tasks.load import load
    from tasks.nets import load_network
    from tasks.outline import outline
    from tasks.reading.choose import choose_series
    from tasks.reading.find import find_series
    from tasks.reading.read import read_scan
    from tasks.segment import segment

    volume = load(read_scan(choose_series(find_series(SCAN))[0][0]))
    mask = outline(volume)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        import_published(Path(scratch))
        checkpoint = read_checkpoint(Path(scratch) / "book", "segmenter")
        for precision in ("float32", "bfloat16"):
            network = load_network(checkpoint, "cuda", precision)  # type: ignore[arg-type]
            flops, moved = cost(network.module, volume.hu.shape)
            share = float((mask.labels > 0).mean())
            segment(volume, mask, network=network)
            took = median([timed(lambda net=network: segment(volume, mask, network=net))[0] for _ in range(n)])
            least = max(share * flops / product_flops(network.dtype), share * moved / copy_bytes())
            note = f"{torch.cuda.get_device_name()}; floor {least:.3f} s for the lungs' {share:.0%} of the voxels"
            rows.append(row(f"segment on a GPU, {precision}", took, None, REACH, n, note))
    return rows


def cost(module: Any, shape_zyx: tuple[int, ...]) -> tuple[float, float]:
    """Operations, and bytes of maps written and read once in float32, of the network on whole slices."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(1, module.input_batchnorm.num_features, *shape_zyx[1:], device="cuda")
    moved = 0

    def count(_module: Any, inputs: Any, output: Any) -> None:
        nonlocal moved
        moved += 4 * (inputs[0].numel() + output.numel())

    hooks = [m.register_forward_hook(count) for m in module.modules() if not list(m.children())]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(x)
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops() * shape_zyx[0], moved * shape_zyx[0]


def product_flops(dtype: Any, size: int = 8192) -> float:
    """Operations a second of a large matrix product."""
    import torch

    a = torch.randn(size, size, device="cuda", dtype=dtype)

    def product() -> None:
        a @ a
        torch.cuda.synchronize()

    product()
    return 2 * size**3 / median([timed(product)[0] for _ in range(5)])


def copy_bytes(size: int = 2**30) -> float:
    """Bytes a second, read and written, of a large copy."""
    import torch

    a = torch.empty(size, device="cuda", dtype=torch.uint8)
    b = torch.empty_like(a)

    def copy() -> None:
        b.copy_(a)
        torch.cuda.synchronize()

    copy()
    return 2 * size / median([timed(copy)[0] for _ in range(5)])


if __name__ == "__main__":
    for line in run():
        print(line)
