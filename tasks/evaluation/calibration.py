"""Calibration: does a probability of 0.8 mean 8 of 10? Reliability, its error, and the one number that mends most of it.

Guo et al., On Calibration of Modern Neural Networks (2017): the logit is divided by a temperature, fitted by likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from artifacts.checkpoint import tempered
from artifacts.reliability import reliability_bins

TEMPERATURES = (0.05, 20.0)
FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """n probabilities of which ``positive`` meant yes; ece_after: each fold of scans scaled by the temperature of the others."""

    n: int
    positive: int
    temperature: float
    ece_before: float
    ece_after: float


def ece(p: ArrayLike, truth: ArrayLike) -> float:
    """Expected calibration error in 15 bins."""
    return reliability_bins(p, truth).ece


def fit_temperature(p: ArrayLike, truth: ArrayLike) -> float:
    """The temperature of the highest likelihood; 1 where only one class is there, for then none is better than none."""
    from scipy.optimize import minimize_scalar

    probability, y = np.asarray(p, dtype=np.float64), np.asarray(truth, dtype=bool)
    if not len(y) or y.all() or not y.any():
        return 1.0

    def loss(log_t: float) -> float:
        q = np.clip(tempered(probability, float(np.exp(log_t))), 1e-12, 1 - 1e-12)
        return float(-np.where(y, np.log(q), np.log1p(-q)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded").x))


def calibration(p: ArrayLike, truth: ArrayLike, scan: ArrayLike) -> Calibration | None:
    """Of probabilities ``[n]`` with their truth and the scan each is of; None where a class is missing."""
    probability, y, of = np.asarray(p, dtype=np.float64), np.asarray(truth, dtype=bool), np.asarray(scan)
    if y.all() or not y.any():
        return None
    return Calibration(
        len(y), int(y.sum()), fit_temperature(probability, y), ece(probability, y), ece(_scaled_by_others(probability, y, of), y)
    )


def _scaled_by_others(p: NDArray[np.float64], y: NDArray[np.bool_], scan: NDArray) -> NDArray[np.float64]:
    fold = np.unique(scan, return_inverse=True)[1] % FOLDS
    scaled = p.copy()
    for k in np.unique(fold):
        scaled[fold == k] = tempered(p[fold == k], fit_temperature(p[fold != k], y[fold != k]))
    return scaled
