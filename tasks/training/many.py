"""The same loop on several devices: one process each, gradients averaged (DDP), rows told to the process that asked."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from artifacts.errors import HounsfieldError, TrainingError
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

    before = set(multiprocessing.active_children())
    launcher = threading.Thread(target=launch, daemon=True)
    launcher.start()
    try:
        while True:
            try:
                row = rows.get(timeout=POLL_S)
            except queue.Empty:
                if not launcher.is_alive():
                    raise failed[0] if failed else TrainingError("the training processes ended without a word") from None
                continue
            if "error" in row:
                raise TrainingError(row["error"])
            if "state" in row:
                break
            yield row
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()  # CTRL-C, or one of them failed and the others wait for it
        raise
    launcher.join()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in row["state"].items()})


def one_process(fabric: Any, module: nn.Module, asked: tuple[Any, ...], rows: Any) -> None:
    """What each process does; the first tells."""
    import copy

    module = copy.deepcopy(module)
    try:
        for row in run(fabric, module, *asked):
            if fabric.is_global_zero:
                rows.put(row)
    except HounsfieldError as e:
        rows.put({"error": str(e)})
        raise
    if fabric.is_global_zero:
        rows.put({"state": {k: v.cpu().numpy() for k, v in module.state_dict().items()}})
