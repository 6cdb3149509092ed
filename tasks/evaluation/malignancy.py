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

    label: 0 or 1, or the probability with which it was drawn: then over all such labels at once, each pair of nodules by how
    likely the one is malignant and the other not. Mann-Whitney, ties count half; NaN where a draw has no such pair.
    """
    s, y = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    above = (s[:, None] > s[None]) + 0.5 * (s[:, None] == s[None])
    np.fill_diagonal(above, 0)
    yes, no = weights * y, weights * (1 - y)
    pairs = yes.sum(axis=1) * no.sum(axis=1) - (yes * no).sum(axis=1)  # a nodule is no pair with itself
    with np.errstate(invalid="ignore"):
        return np.asarray(((yes @ above) * no).sum(axis=1) / np.where(pairs > 1e-12, pairs, np.nan))


def malignancy(
    scores: Mapping[str, ArrayLike], label: ArrayLike, scan: ArrayLike, scans: int, *, bootstraps: int, seed: int
) -> dict[str, Any]:
    """AUC of each of ``scores`` (the grader's first) with the 2.5 and 97.5 percentiles of draws of the scans, and differences.

    scan ``[n]``: which of the ``scans`` each nodule is of. None where a class has no nodule. Where the risk itself is known
    (phantoms), ``expected`` says the same over all labels that the risks may give: which of two like nodules chance made
    malignant matters no longer, so that fewer nodules tell as much.
    """
    y, of = np.asarray(label, dtype=bool), np.asarray(scan, dtype=np.intp)
    result: dict[str, Any] = {"nodules": len(y), "malignant": int(y.sum())}
    if y.all() or not y.any():
        return result | dict.fromkeys(scores)
    drawn = draws(scans, bootstraps, seed)[:, of]
    result |= compared(scores, y, drawn)
    return result | ({"expected": compared(scores, scores[RISK], drawn)} if RISK in scores else {})


def compared(scores: Mapping[str, ArrayLike], label: ArrayLike, drawn: NDArray[np.int64]) -> dict[str, Any]:
    """AUC of each score, the first one's difference from each other, and its share of the gap from diameter to risk."""
    at, samples = {}, {}
    result: dict[str, Any] = {}
    once = np.ones((1, drawn.shape[1]), dtype=np.int64)
    for name, score in scores.items():
        at[name], samples[name] = float(aucs(score, label, once)[0]), aucs(score, label, drawn)
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
