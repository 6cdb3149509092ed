"""Timing two ways of doing the same, interleaved, in one run: what is reported is a ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds, and what came out."""
    started = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - started, result


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], n: int) -> tuple[float, float]:
    """Median seconds of each over ``n`` interleaved rounds, after one round unmeasured."""
    ours(), theirs()
    rounds = [(timed(ours)[0], timed(theirs)[0]) for _ in range(n)]
    return median([a for a, _ in rounds]), median([b for _, b in rounds])


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def row(what: str, ours_s: float | None, theirs_s: float | None, reach: str, n: int, note: str = "") -> dict[str, Any]:
    """One line of the table; without ``theirs_s`` a plain time."""
    ratio = theirs_s / ours_s if theirs_s and ours_s else None
    return {"what": what, "ours_s": ours_s, "theirs_s": theirs_s, "ratio": ratio, "reach": reach, "n": n, "note": note}
