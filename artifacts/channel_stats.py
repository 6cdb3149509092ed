"""Channel statistics: what normalising subtracts and divides by, counted exactly over the training images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview

CHANNELS = ("red", "green", "blue")


@dataclass
class ChannelStats:
    """counts: int64 ``[channel, 256]``, how often each grey level occurs; images: how many were counted.

    ``mean`` and ``std`` (of the population) follow from the counts in whole numbers and are rounded once, to float64; their
    unit is that of ``ToTensor``: 0 is black, 1 is level 255.
    """

    kind: ClassVar[str] = "channel-stats"

    counts: NDArray[np.int64]
    images: int

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        return np.array([float(Fraction(total, 255 * n)) for n, total, _ in self._sums()])

    @cached_property
    def std(self) -> NDArray[np.float64]:
        return np.array([math.sqrt(Fraction(n * squares - total**2, (255 * n) ** 2)) for n, total, squares in self._sums()])

    def _sums(self) -> list[tuple[int, int, int]]:
        """For each channel how many values, their sum, and the sum of their squares, as Python integers: no overflow."""
        rows = [list(map(int, row)) for row in self.counts]
        return [(sum(r), sum(v * k for v, k in enumerate(r)), sum(v * v * k for v, k in enumerate(r))) for r in rows]

    def write(self, folder: Path) -> None:
        about = {"mean": self.mean.tolist(), "std": self.std.tolist(), "images": self.images, "counts": self.counts.tolist()}
        write_json(folder / "channel_stats.json", about)

    @classmethod
    def read(cls, folder: Path) -> Self:
        about = read_json(folder / "channel_stats.json")
        return cls(np.array(about["counts"], dtype=np.int64), about["images"])

    def summary(self) -> dict[str, Any]:
        return {
            "mean": [round(float(v), 4) for v in self.mean],
            "std": [round(float(v), 4) for v in self.std],
            "images": self.images,
        }

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.image_pictures import stats_preview

        return stats_preview(self, inputs["images"])
