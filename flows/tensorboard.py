"""TensorBoard: what a training tells, as event files, beside whoever else looks on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifacts.errors import UsageError


class TensorBoard:
    """A watcher that passes everything on and writes each epoch's numbers to event files in ``folder``."""

    def __init__(self, watcher: Any, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as e:
            raise UsageError("TensorBoard is not installed here: pip install tensorboard, or leave --tensorboard out") from e
        self._watcher, self._writer = watcher, SummaryWriter(str(folder))

    def tell(self, metrics: Mapping[str, Any]) -> None:
        for name, value in metrics.items():
            if name != "epoch" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, int(metrics.get("epoch", 0)))
        self._writer.flush()
        self._watcher.tell(metrics)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watcher, name)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
