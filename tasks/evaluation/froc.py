"""FROC by LUNA16's official rule: sensitivity at 1/8 to 8 false positives a scan, their mean (CPM), and how sure that is.

Setio et al., Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules (2017). A mark
hits a nodule whose centre is nearer than its radius. The most probable one counts, the others on it are doubles; marks on
excluded findings are ignored; what is left is false. All scans count, those without a nodule as well; at most 100 marks a scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from artifacts.errors import InputError
from tasks.evaluation.marks import Marks, Nodules

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MOST_MARKS = 100
UNKNOWN_MM = 10.0  # the diameter of an excluded finding that has none
HIT, DOUBLE, IGNORED, FALSE, LEFT_OUT = range(5)
AT_ONCE = 2_000_000  # bootstrapped numbers in memory


@dataclass(frozen=True)
class Matched:
    """Every mark and nodule with what became of it.

    role ``[marks]``: HIT, DOUBLE, IGNORED, FALSE, LEFT_OUT (scan not in the list, or beyond the 100th of its scan)
    nodule_of ``[marks]``: the nodule that a hit or a double is on, else -1
    mark_of ``[nodules]``: the most probable mark on it, -1 where it was missed, is excluded, or its scan is not in the list
    scan_of_mark, scan_of_nodule: index in ``scans``, -1 where it is not in the list
    """

    scans: list[str]
    role: NDArray[np.int8]
    nodule_of: NDArray[np.intp]
    mark_of: NDArray[np.intp]
    scan_of_mark: NDArray[np.intp]
    scan_of_nodule: NDArray[np.intp]
    counts: NDArray[np.bool_]  # [nodules]: to be found
    doubles: int
    said: list[str] = field(default_factory=list)

    @property
    def missed(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.counts & (self.mark_of < 0))


def match(marks: Marks, nodules: Nodules, scans: Sequence[str]) -> Matched:
    """What LUNA16's rule makes of each mark. InputError where there is no scan."""
    if not len(scans):
        raise InputError("the scan list is empty: an evaluation needs the scans that were read, also those without a nodule")
    index = {uid: i for i, uid in enumerate(scans)}
    of_mark = np.array([index.get(s, -1) for s in marks.series.tolist()], dtype=np.intp)
    of_nodule = np.array([index.get(s, -1) for s in nodules.series.tolist()], dtype=np.intp)
    counts = (of_nodule >= 0) & ~nodules.excluded
    role = np.full(len(marks), FALSE, dtype=np.int8)
    nodule_of, mark_of = np.full(len(marks), -1, dtype=np.intp), np.full(len(nodules), -1, dtype=np.intp)
    role[of_mark < 0] = LEFT_OUT
    doubles = 0
    reach2 = np.square(np.where(nodules.diameter_mm < 0, UNKNOWN_MM, nodules.diameter_mm) / 2)
    in_scan = _groups(of_nodule, len(scans))
    for scan, here in enumerate(_groups(of_mark, len(scans))):
        here = here[np.argsort(-marks.probability[here], kind="stable")]
        role[here[MOST_MARKS:]] = LEFT_OUT
        here, there = here[:MOST_MARKS], in_scan[scan]
        if not (here.size and there.size):
            continue
        away = marks.center_lps_mm[here, None] - nodules.center_lps_mm[None, there]
        hits = np.square(away).sum(axis=2) < reach2[there]
        role[here[hits[:, nodules.excluded[there]].any(axis=1)]] = IGNORED
        wanted, on = there[~nodules.excluded[there]], hits[:, ~nodules.excluded[there]]
        found, on_any = np.flatnonzero(on.any(axis=0)), np.flatnonzero(on.any(axis=1))
        if not found.size:
            continue
        best = here[on[:, found].argmax(axis=0)]
        role[here[on_any]], nodule_of[here[on_any]] = DOUBLE, wanted[on[on_any].argmax(axis=1)]
        role[best], nodule_of[best], mark_of[wanted[found]] = HIT, wanted[found], best
        doubles += int(on.sum()) - len(found)
    said = _not_listed("mark", of_mark) + _not_listed("nodule", of_nodule[~nodules.excluded])
    beyond = int(((role == LEFT_OUT) & (of_mark >= 0)).sum())
    if beyond:
        said.append(f"{beyond} mark(s) beyond the {MOST_MARKS} most probable of their scan; left out")
    return Matched(list(scans), role, nodule_of, mark_of, of_mark, of_nodule, counts, doubles, said)


def _groups(scan_of: NDArray[np.intp], scans: int) -> list[NDArray[np.intp]]:
    """The rows of each scan, in their order."""
    order = np.argsort(scan_of, kind="stable")
    return np.split(order, np.searchsorted(scan_of[order], np.arange(scans + 1)))[1:]


def _not_listed(what: str, scan_of: NDArray[np.intp]) -> list[str]:
    n = int((scan_of < 0).sum())
    return [f"{n} {what}(s) of series that are not in the scan list; left out"] if n else []


@dataclass(frozen=True)
class Events:
    """What the curve is made of, most probable first: marks that are hits (once for each nodule) or false.

    probability, hit, scan ``[n]``; nodules ``[scans]``: how many are to be found in each
    """

    probability: NDArray[np.float64]
    hit: NDArray[np.bool_]
    scan: NDArray[np.intp]
    nodules: NDArray[np.int64]

    @property
    def last_of_tie(self) -> NDArray[np.bool_]:
        """Where the threshold may stand: between different probabilities only."""
        return np.append(np.diff(self.probability) != 0, True)[: len(self.probability)]


def events(matched: Matched, marks: Marks) -> Events:
    found = np.flatnonzero(matched.mark_of >= 0)
    false = np.flatnonzero(matched.role == FALSE)
    hits = marks.probability[matched.mark_of[found]], matched.scan_of_nodule[found]
    nodules = np.bincount(matched.scan_of_nodule[matched.counts], minlength=len(matched.scans))
    return ordered(hits, (marks.probability[false], matched.scan_of_mark[false]), nodules)


def ordered(hits: tuple[ArrayLike, ArrayLike], false: tuple[ArrayLike, ArrayLike], nodules: NDArray[np.int64]) -> Events:
    """Events of (probability, scan) of nodules found and of false positives, and the number of nodules in each scan."""
    p = np.concatenate([np.asarray(hits[0], dtype=np.float64), np.asarray(false[0], dtype=np.float64)])
    scan = np.concatenate([np.asarray(hits[1], dtype=np.intp), np.asarray(false[1], dtype=np.intp)])
    order = np.argsort(-p, kind="stable")
    return Events(p[order], order < len(np.asarray(hits[0])), scan[order], nodules)


@dataclass(frozen=True)
class Froc:
    """Counts, the curve, and what 1,000 draws of the scans say of it. Sensitivities are at ``RATES``, in their order.

    low, high: 2.5 and 97.5 percentiles at each rate; samples: CPM of each draw, NaN where a draw has no nodule
    """

    tp: int
    fp: int
    fn: int
    ignored: int
    doubles: int
    sensitivities: list[float]
    low: list[float]
    high: list[float]
    cpm: float
    cpm_low: float
    cpm_high: float
    scans: int
    curve: NDArray[np.float64]  # [2, n]: false positives a scan, sensitivity
    samples: NDArray[np.float64]
    said: list[str] = field(default_factory=list)  # what was left out, one line each

    def as_json(self) -> dict[str, Any]:
        """Exactly what ``hounsfield froc --json`` prints; NaN (no nodule at all) is null."""
        names = ("tp", "fp", "fn", "ignored", "doubles", "sensitivities", "cpm", "cpm_low", "cpm_high")
        plain = {n: getattr(self, n) for n in names}
        finite = {n: v if isinstance(v, list) or np.isfinite(v) else None for n, v in plain.items()}
        return finite | {"sensitivities": [s if np.isfinite(s) else None for s in self.sensitivities]}


def froc(marks: Marks, nodules: Nodules, scans: Sequence[str], *, bootstraps: int = 1000, seed: int = 0) -> Froc:
    """LUNA16's evaluation of ``marks`` on ``scans``; the scans are drawn ``bootstraps`` times with replacement."""
    return froc_of(match(marks, nodules, scans), marks, bootstraps=bootstraps, seed=seed)


def froc_of(matched: Matched, marks: Marks, *, bootstraps: int = 1000, seed: int = 0) -> Froc:
    """The same of marks that are matched already."""
    return froc_of_events(
        events(matched, marks),
        ignored=int((matched.role == IGNORED).sum()),
        doubles=matched.doubles,
        said=matched.said,
        bootstraps=bootstraps,
        seed=seed,
    )


def froc_of_events(
    e: Events, *, ignored: int = 0, doubles: int = 0, said: Sequence[str] = (), bootstraps: int = 1000, seed: int = 0
) -> Froc:
    """The same of what the curve is made of; the rest is for the record."""
    n, tp = len(e.nodules), int(e.hit.sum())
    at_rates = sensitivities(e, np.ones((1, n), dtype=np.int64))[0]
    drawn = sensitivities(e, draws(n, bootstraps, seed))
    samples = drawn.mean(axis=1)
    low, high = _percentiles(drawn)
    cpm_low, cpm_high = _percentiles(samples[:, None])
    return Froc(
        tp=tp,
        fp=len(e.hit) - tp,
        fn=int(e.nodules.sum()) - tp,
        ignored=ignored,
        doubles=doubles,
        sensitivities=at_rates.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        cpm=float(at_rates.mean()),
        cpm_low=float(cpm_low[0]),
        cpm_high=float(cpm_high[0]),
        scans=n,
        curve=_curve(e, n),
        samples=samples,
        said=list(said),
    )


def draws(scans: int, times: int, seed: int) -> NDArray[np.int64]:
    """``[times, scans]``: how often each scan is in a draw of as many scans with replacement."""
    return np.random.default_rng(seed).multinomial(scans, np.full(scans, 1 / scans), size=times)


def sensitivities(e: Events, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """``[draws, rates]``: read off each draw's curve, between its points along a straight line, as LUNA16 does.

    Of points at the same rate the last counts, beyond the end the last; NaN where a draw has no nodule.
    """
    step = max(AT_ONCE // max(len(e.probability), 1), 1)
    parts = [_at_rates(e, weights[i : i + step]) for i in range(0, len(weights), step)]
    return np.concatenate([np.empty((0, len(RATES))), *parts])


def _counted(e: Events, weights: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(false positives, nodules found) so far, each ``[draws, points]``, from (0, 0) on."""
    of_events = weights.astype(np.int32)[:, e.scan]
    stops = np.flatnonzero(e.last_of_tie)
    both = []
    for kind in (~e.hit, e.hit):
        so_far = np.zeros((len(weights), len(stops) + 1), dtype=np.int32)
        so_far[:, 1:] = np.cumsum(of_events * kind, axis=1, dtype=np.int32)[:, stops]
        both.append(so_far)
    return both[0], both[1]


def _at_rates(e: Events, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    false, found = _counted(e, weights)
    allowed = np.array(RATES) * weights.shape[1]
    rows, last = np.arange(len(false))[:, None], false.shape[1] - 1
    before = np.stack([np.searchsorted(row, allowed, side="right") for row in false]) - 1
    after = np.minimum(before + 1, last)
    x0, x1, y0, y1 = false[rows, before], false[rows, after], found[rows, before], found[rows, after]
    read_off = y0 + (y1 - y0) * (allowed - x0) / np.where(x1 > x0, x1 - x0, np.inf)
    with np.errstate(invalid="ignore"):
        return np.asarray(read_off / (weights @ e.nodules)[:, None])


def _curve(e: Events, scans: int) -> NDArray[np.float64]:
    """``[2, points]``: false positives a scan, sensitivity (NaN where there is no nodule)."""
    false, found = _counted(e, np.ones((1, scans), dtype=np.int64))
    with np.errstate(invalid="ignore"):
        return np.stack([false[0] / scans, found[0] / np.float64(e.nodules.sum())])


def _percentiles(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """2.5 and 97.5 of each column, over the draws that had a nodule; NaN where none had."""
    some = samples[np.isfinite(samples).all(axis=1)]
    if not len(some):
        nothing = np.full(samples.shape[1], np.nan)
        return nothing, nothing
    low, high = np.percentile(some, [2.5, 97.5], axis=0)
    return low, high
