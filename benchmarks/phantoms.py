"""The shipped weights on phantoms of seeds never trained on: `python -m benchmarks.phantoms [FIRST LAST]`. Synthetic results."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from artifacts.home import SHIPPED_WEIGHTS

SEEDS = (200, 219)  # training, watching and testing used seeds from 1,000,000 on


def main() -> None:
    """One line a phantom, then the sums; two processes with one thread each."""
    import torch

    from tasks.training.evaluation import line_metrics, screen_seed, table

    first, last = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else SEEDS
    work = partial(screen_seed, SHIPPED_WEIGHTS / "phantom", style="classic")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        outcomes = list(pool.map(work, range(first, last + 1)))
    for row in table(outcomes):
        print("  ".join(f"{k} {v}" for k, v in row.items()))
    for name, value in line_metrics(outcomes).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
