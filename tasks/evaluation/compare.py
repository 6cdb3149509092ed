"""Two evaluations of the same scans: what differs, and whether it would in another draw of the scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.artifact import Preview
from artifacts.charts import froc as froc_chart
from artifacts.errors import InputError
from artifacts.evaluation import RATES, Evaluation, Row
from tasks.evaluation.breakdown import events_of
from tasks.evaluation.froc import draws, sensitivities
from tasks.evaluation.malignancy import aucs, interval


@dataclass(frozen=True)
class Comparison:
    """rows: measure, first, second, difference (second - first), low, high: 2.5 and 97.5 percentiles over draws of the scans
    that both have; said: what was left out."""

    first: Evaluation
    second: Evaluation
    rows: list[Row]
    scans: int
    said: list[str]

    @property
    def names(self) -> tuple[str, str]:
        """What to call the two: their weights, where those differ."""
        one, other = (e.about["weights"] or "weights" for e in (self.first, self.second))
        return (one, other) if one != other else (f"{one} (first)", f"{other} (second)")

    def preview(self) -> Preview:
        one, other = self.names
        cpm = self.rows[0]
        table = [
            {
                "measure": r["measure"],
                one: r["first"],
                other: r["second"],
                "difference": r["difference"],
                "2.5 %": r["low"],
                "97.5 %": r["high"],
            }
            for r in self.rows
        ]
        rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} for r in table]
        tables: dict[str, list[Row]] = {"Differences (second - first), 95 % of paired draws of the scans": rounded}
        if self.said:
            tables["Left out"] = [{"what": s} for s in self.said]
        curves = {name: tuple(e.curve) for name, e in zip(self.names, (self.first, self.second), strict=True)}
        span = "not known" if cpm["difference"] is None else f"{cpm['difference']:+.3f} ({cpm['low']:+.3f} to {cpm['high']:+.3f})"
        headline = f"{other} against {one} on {self.scans} scans: CPM {span}"
        return Preview(headline, tables, {"FROC of both, with 95 % of draws": froc_chart(curves)})

    def as_json(self) -> dict[str, Any]:
        return {"first": self.first.about, "second": self.second.about, "scans": self.scans, "rows": self.rows, "said": self.said}


def compare(first: Evaluation, second: Evaluation, *, bootstraps: int = 1000, seed: int = 0) -> Comparison:
    """Of the scans that both evaluations have, drawn together. InputError where there is none, or their nodules differ."""
    there = {s["uid"] for s in second.scans}
    common = [s["uid"] for s in first.scans if s["uid"] in there]
    if not common:
        raise InputError("the two evaluations have no scan in common: evaluate both on the same data")
    index = {uid: k for k, uid in enumerate(common)}
    both = (first, second)
    nodules = [[n for n in e.nodules if n["uid"] in index] for e in both]
    if _places(nodules[0]) != _places(nodules[1]):
        raise InputError("the two evaluations know different nodules in the same scans: evaluate both on the same data")
    said = [
        f"{len(e.scans) - len(common)} scans that only the {name} evaluation has"
        for e, name in zip(both, ("first", "second"), strict=True)
        if len(e.scans) > len(common)
    ]
    weights = np.concatenate([np.ones((1, len(common)), dtype=np.int64), draws(len(common), bootstraps, seed)])
    measured = [_measured(e, n, index, weights) for e, n in zip(both, nodules, strict=True)]
    measured = [m | {"malignancy AUC": a} for m, a in zip(measured, _aucs(nodules, index, weights), strict=True)]
    rows = [_row(name, measured[0][name], measured[1][name]) for name in measured[0]]
    return Comparison(first, second, rows, len(common), said)


def _places(nodules: Sequence[Row]) -> set[tuple[Any, ...]]:
    return {(n["uid"], *(round(v, 3) for v in n["center_lps_mm"])) for n in nodules}


def _measured(
    e: Evaluation, nodules: Sequence[Row], index: dict[str, int], weights: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Name -> ``[1 + draws]``: on all scans once, then in each draw."""
    at_rates = sensitivities(events_of(index, nodules, e.marks), weights)
    there, found, false = (np.zeros(len(index)) for _ in range(3))
    for n in nodules:
        there[index[n["uid"]]] += 1
        found[index[n["uid"]]] += n["found"]
    for s in e.scans:
        if s["uid"] in index:
            false[index[s["uid"]]] = s["false"]
    with np.errstate(invalid="ignore"):
        at_threshold = (weights @ found) / (weights @ there)
    return {
        "CPM": at_rates.mean(axis=1),
        **{f"sensitivity at {name} false a scan": at_rates[:, k] for k, name in enumerate(RATES)},
        "sensitivity at its threshold": at_threshold,
        "false a scan at its threshold": (weights @ false) / len(index),
    }


def _aucs(nodules: list[list[Row]], index: dict[str, int], weights: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Of the nodules that both found and graded."""
    graded = [
        {(n["uid"], n["number"]): n for n in some if n["malignant"] is not None and n["p_malignant"] is not None}
        for some in nodules
    ]
    keys = [k for k in graded[0] if k in graded[1]]
    y = np.array([graded[0][k]["malignant"] for k in keys], dtype=bool)
    drawn = weights[:, [index[uid] for uid, _ in keys]]
    return [aucs([g[k]["p_malignant"] for k in keys], y, drawn) for g in graded]


def _row(name: str, first: NDArray[np.float64], second: NDArray[np.float64]) -> Row:
    one, other = (float(v[0]) if np.isfinite(v[0]) else None for v in (first, second))
    span = interval(float(second[0] - first[0]), (second - first)[1:])
    return {"measure": name, "first": one, "second": other, "difference": span["value"], "low": span["low"], "high": span["high"]}
