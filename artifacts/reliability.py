"""Reliability: how often a classifier is right, by how sure it says it is.

Guo et al., On Calibration of Modern Neural Networks (2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Bins:
    """Equal bins of [0, 1]: how many fell into each, their mean confidence and the share that was right (0 where empty)."""

    edges: NDArray[np.float64]  # bins + 1
    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap of confidence and accuracy, each bin by its count; 0 for no sample."""
        gaps = np.abs(self.confidence - self.accuracy) * self.count
        return float(gaps.sum() / max(int(self.count.sum()), 1))


def reliability_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> Bins:
    """Bin ``confidence`` (n, in 0..1) and the share of ``correct`` (n, 0 or 1) in each bin. A bin owns its upper edge."""
    p, right = np.asarray(confidence, dtype=np.float64).ravel(), np.asarray(correct, dtype=np.float64).ravel()
    at = np.clip(np.ceil(p * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins)
    least_one = np.maximum(count, 1)
    means = [np.bincount(at, weights=w, minlength=bins) / least_one for w in (p, right)]
    return Bins(np.linspace(0, 1, bins + 1), count, *means)
