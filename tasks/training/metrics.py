"""What trained networks are scored by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from artifacts.findings import Finding
from tasks.phantom import PhantomNodule

LEAST_REACH_MM = 5.0


def roc_auc(score: ArrayLike, label: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half (Mann-Whitney)."""
    s, y = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=bool)
    if y.all() or not y.any():
        return float("nan")
    _, place, count = np.unique(s, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - 0.5 * (count - 1))[place]
    n = int(y.sum())
    return float((rank[y].sum() - 0.5 * n * (n + 1)) / (n * (len(y) - n)))


@dataclass(frozen=True)
class Tally:
    """One phantom's outcome at p > 0.5: indices of nodules found and missed, findings that are none, diameter errors in mm."""

    found: dict[int, Finding]
    missed: list[int]
    false: list[Finding]
    diameter_errors: list[float]


def tally(nodules: Sequence[PhantomNodule], findings: Sequence[Finding], p_above: float = 0.5) -> Tally:
    """A nodule is found by the most probable finding within its radius (at least 5 mm) of its centre; more are not false."""
    called = sorted((f for f in findings if f.p_nodule > p_above), key=lambda f: -f.p_nodule)
    found: dict[int, Finding] = {}
    false = []
    for f in called:
        gaps = [np.linalg.norm(np.subtract(f.center_lps_mm, n.center_lps_mm)) for n in nodules]
        near = [k for k, n in enumerate(nodules) if gaps[k] <= max(n.diameter_mm / 2, LEAST_REACH_MM)]
        if near:
            found.setdefault(min(near, key=lambda k: gaps[k]), f)
        else:
            false.append(f)
    errors = [abs(f.diameter_mm - nodules[k].diameter_mm) for k, f in found.items()]
    return Tally(found, [k for k in range(len(nodules)) if k not in found], false, errors)
