"""The same loop on several devices: one process each, gradients averaged (DDP), rows told to the process that asked."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tasks.stage import Compute
from tasks.training.loop import Row, fabric_of, run

POLL_S = 0.5


def fit_on_many(module: nn.Module, asked: tuple[Any, ...], compute: Compute) -> Iterator[Row]:
    """``tasks.training.loop.run`` in ``compute.devices`` processes; ``module`` gets the weights of the first."""
    context = torch.multiprocessing.get_context("spawn")
    rows: Any = context.Queue()
    failed: list[BaseException] = []

    def launch() -> None:
        try:
            fabric_of(compute).launch(one_process, module.share_memory(), asked, rows)
        except BaseException as e:
            failed.append(e)

    launcher = threading.Thread(target=launch, daemon=True)
    launcher.start()
    weights = None
    while weights is None:
        try:
            row = rows.get(timeout=POLL_S)
        except queue.Empty:
            if not launcher.is_alive():
                break
            continue
        if "state" in row:
            weights = row["state"]
        else:
            yield row
    launcher.join()
    if failed:
        raise failed[0]
    module.load_state_dict({k: torch.from_numpy(v) for k, v in (weights or {}).items()})


def one_process(fabric: Any, module: nn.Module, asked: tuple[Any, ...], rows: Any) -> None:
    """What each process does; the first tells."""
    import copy

    module = copy.deepcopy(module)
    for row in run(fabric, module, *asked):
        if fabric.is_global_zero:
            rows.put(row)
    if fabric.is_global_zero:
        rows.put({"state": {k: v.cpu().numpy() for k, v in module.state_dict().items()}})
