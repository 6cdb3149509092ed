"""Results by size, kind, place, and by how the scan was taken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from artifacts.dataset import SIZES_MM
from tasks.evaluation.froc import froc_of_events, ordered

Row = dict[str, Any]
FORMS = ("kind", "margin", "place")
MOST_GROUPS = 12
LEVELS = 3  # groups of a number
ONE_A_SCAN = 1.0


def by_nodule(nodules: Sequence[Row], p_at_one: float) -> dict[str, list[Row]]:
    """By size, and by kind, margin and place where they are known. ``p_at_one``: above it one false positive a scan is left."""
    tables = {"size": [_of_nodules(name, some, p_at_one) for name, some in _sizes(nodules)]}
    for form in FORMS:
        if any(n[form] for n in nodules):
            groups = _by(nodules, form)
            tables[form] = [_of_nodules(str(v), some, p_at_one) for v, some in groups]
    return tables


def by_scan(scans: Sequence[Row], nodules: Sequence[Row], marks: Sequence[Row], facts: Sequence[str]) -> dict[str, list[Row]]:
    """By each fact of the scans that tells at least two groups apart; numbers go into three groups of equal size."""
    tables = {}
    for fact in facts:
        groups = _levels(scans, fact)
        if 2 <= len(groups) <= MOST_GROUPS:
            tables[fact.replace("_", " ")] = [_of_scans(name, some, nodules, marks) for name, some in groups]
    return tables


def probability_at(rate: float, scans: int, marks: Sequence[Row]) -> float:
    """The probability above which at most ``rate`` false positives a scan are left."""
    p = sorted((m["p_nodule"] for m in marks if m["role"] == "false"), reverse=True)
    allowed = int(rate * scans)
    return p[allowed] if allowed < len(p) else -np.inf


def _sizes(nodules: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    groups = []
    for low, high in pairwise(SIZES_MM):
        some = [n for n in nodules if low <= n["diameter_mm"] < high]
        if some:
            groups.append((f"{low:g} mm and more" if np.isinf(high) else f"{low:g} to {high:g} mm", some))
    return groups


def _by(rows: Sequence[Row], name: str) -> list[tuple[Any, list[Row]]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault("not said" if row[name] is None else row[name], []).append(row)
    return sorted(found.items(), key=lambda pair: str(pair[0]))


def _levels(scans: Sequence[Row], fact: str) -> list[tuple[str, list[Row]]]:
    known = [s for s in scans if s.get(fact) is not None]
    if not known or not all(isinstance(s[fact], int | float) for s in known):
        return [(str(v), some) for v, some in _by(known, fact)]
    values = np.array([s[fact] for s in known], dtype=np.float64)
    if len(np.unique(values)) <= LEVELS:
        return [(f"{v:g}", some) for v, some in _by(known, fact)]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, LEVELS + 1)))
    level = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [
        (f"{edges[k]:g} to {edges[k + 1]:g}", [s for s, at in zip(known, level, strict=True) if at == k])
        for k in range(len(edges) - 1)
        if (level == k).any()
    ]


def _of_nodules(name: str, some: Sequence[Row], p_at_one: float) -> Row:
    at_one = sum(n["mark"] is not None and n["p_nodule"] > p_at_one for n in some)
    found = sum(n["found"] for n in some)
    sensitivity = {"sensitivity": found / len(some), "sensitivity at 1 false a scan": at_one / len(some)}
    return {"group": name, "nodules": len(some), "found": found} | sensitivity


def _of_scans(name: str, some: Sequence[Row], nodules: Sequence[Row], marks: Sequence[Row]) -> Row:
    index = {s["uid"]: k for k, s in enumerate(some)}
    theirs = [n for n in nodules if n["uid"] in index]
    false = [m for m in marks if m["uid"] in index and m["role"] == "false"]
    score = froc_of_events(events_of(index, theirs, false), bootstraps=1)
    found = sum(n["found"] for n in theirs)
    return {
        "group": name,
        "scans": len(some),
        "nodules": len(theirs),
        "found": found,
        "sensitivity": found / len(theirs) if theirs else None,
        "false a scan": sum(m["called"] for m in false) / len(some),
        "CPM": score.cpm if np.isfinite(score.cpm) else None,
    }


def events_of(index: dict[str, int], nodules: Sequence[Row], marks: Sequence[Row]) -> Any:
    """What the curve of the scans in ``index`` (uid -> number) is made of; rows as in an ``Evaluation``."""
    hits = [(n["p_nodule"], index[n["uid"]]) for n in nodules if n["uid"] in index and n["mark"] is not None]
    false = [(m["p_nodule"], index[m["uid"]]) for m in marks if m["uid"] in index and m["role"] == "false"]
    there = np.bincount([index[n["uid"]] for n in nodules if n["uid"] in index], minlength=len(index)).astype(np.int64)
    columns = [tuple(zip(*pairs, strict=True)) or ((), ()) for pairs in (hits, false)]
    return ordered(columns[0], columns[1], there)  # type: ignore[arg-type]
