"""Malignancy of the nodules that were found: the grader's ROC beside what the diameter alone gives, scans drawn together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.evaluation.froc import draws

DIAMETER, RISK = "diameter alone", "the risk itself"


def aucs(score: ArrayLike, label: ArrayLike, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """``[draws]`` areas under the ROC curve of scores ``[n]``; weights ``[draws, n]``: how often each is in a draw.

    Mann-Whitney, ties count half; NaN where a draw has one class only.
    """
    s, y = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=bool)
    above = (s[y][:, None] > s[~y][None]) + 0.5 * (s[y][:, None] == s[~y][None])
    yes, no = weights[:, y].astype(np.float64), weights[:, ~y].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(((yes @ above) * no).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1)))


def malignancy(
    scores: Mapping[str, ArrayLike], label: ArrayLike, scan: ArrayLike, scans: int, *, bootstraps: int, seed: int
) -> dict[str, Any]:
    """AUC of each of ``scores`` (the grader's first) with the 2.5 and 97.5 percentiles of draws of the scans, and differences.

    scan ``[n]``: which of the ``scans`` each nodule is of. None where a class has no nodule.
    """
    y, of = np.asarray(label, dtype=bool), np.asarray(scan, dtype=np.intp)
    result: dict[str, Any] = {"nodules": len(y), "malignant": int(y.sum())}
    if y.all() or not y.any():
        return result | dict.fromkeys(scores)
    drawn = draws(scans, bootstraps, seed)[:, of]
    once = np.ones((1, len(y)), dtype=np.int64)
    at, samples = {}, {}
    for name, score in scores.items():
        at[name], samples[name] = float(aucs(score, y, once)[0]), aucs(score, y, drawn)
        result[name] = interval(at[name], samples[name])
    first, *others = scores
    for name in others:
        result[f"{first} - {name}"] = interval(at[first] - at[name], samples[first] - samples[name])
    if {DIAMETER, RISK} <= at.keys() and at[RISK] > at[DIAMETER]:
        result["share of the gap closed"] = (at[first] - at[DIAMETER]) / (at[RISK] - at[DIAMETER])
    return result


def interval(value: float, samples: NDArray[np.float64]) -> dict[str, float | None]:
    """value, low, high (2.5 and 97.5 percentiles of the finite samples; None where there is none)."""
    some = samples[np.isfinite(samples)]
    low, high = np.percentile(some, [2.5, 97.5]) if len(some) else (None, None)
    return {
        "value": value if np.isfinite(value) else None,
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
    }
