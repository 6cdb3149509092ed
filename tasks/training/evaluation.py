"""Networks tried on phantoms they never saw, through the whole line of stages, and what came of it in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.checkpoint import ROLES, read_checkpoint
from artifacts.findings import Finding
from tasks.evaluation.in_memory import screened
from tasks.nets import load_network
from tasks.phantom import PhantomNodule
from tasks.phantom.splits import data_phantom
from tasks.phantom.style import Style
from tasks.training.metrics import roc_auc, tally

LARGE_MM = 6.0


@dataclass(frozen=True)
class Outcome:
    """What the line made of one phantom."""

    seed: int
    nodules: list[PhantomNodule]
    findings: list[Finding]
    candidates: int


def screen_seed(folder: Path, seed: int, small: bool = False, style: Style = "varied") -> Outcome:
    """Phantom ``seed`` screened with the weights set in ``folder``; half of the varied are nodule-free."""
    phantom = data_phantom(seed, style=style, nodule_free=0.5 * (style == "varied"), small=small)
    networks = {role: load_network(read_checkpoint(folder, role)) for role in ROLES}
    found = screened(phantom.volume, networks, least_p=None)
    return Outcome(seed, phantom.nodules, found.findings.findings, len(found.lumps.candidates))


def best_threshold(outcomes: Sequence[Outcome], least: float = 0.3, most: float = 0.9) -> float:
    """The probability at which most nodules are found for the fewest false findings: best F1, the middle of what is as good."""
    tried = np.round(np.arange(least, most + 1e-9, 0.02), 2)
    scores = []
    for p in tried:
        tallies = [tally(o.nodules, o.findings, float(p)) for o in outcomes]
        hits, wrong = sum(len(t.found) for t in tallies), sum(len(t.missed) + len(t.false) for t in tallies)
        scores.append(2 * hits / max(2 * hits + wrong, 1))
    best = tried[np.isclose(scores, max(scores))]
    return float(best[len(best) // 2])


def table(outcomes: Sequence[Outcome], p_above: float = 0.5) -> list[dict[str, Any]]:
    """A row a phantom: nodules of at least 6 mm and how many of them were found, false findings, median diameter error."""
    rows = []
    for o in outcomes:
        t = tally(o.nodules, o.findings, p_above)
        large = [k for k, n in enumerate(o.nodules) if n.diameter_mm >= LARGE_MM]
        rows.append(
            {
                "seed": o.seed,
                "nodules": len(o.nodules),
                "found": len(t.found),
                "large": len(large),
                "large_found": sum(k in t.found for k in large),
                "false": len(t.false),
                "candidates": o.candidates,
                "diameter_error_mm": round(float(np.median(t.diameter_errors)), 2) if t.diameter_errors else None,
            }
        )
    return rows


def line_metrics(outcomes: Sequence[Outcome], p_above: float = 0.5) -> dict[str, Any]:
    """Sums over all phantoms, at p > ``p_above``; malignancy of the nodules that were found."""
    rows = table(outcomes, p_above)
    tallies = [tally(o.nodules, o.findings, p_above) for o in outcomes]
    errors = [e for t in tallies for e in t.diameter_errors]
    graded = [
        (f.p_malignant, n.malignant, n.p_malignant, n.diameter_mm)
        for o, t in zip(outcomes, tallies, strict=True)
        for n, f in ((o.nodules[k], f) for k, f in t.found.items())
        if f.p_malignant is not None
    ]
    p, truth, risk, diameter = np.array(graded, dtype=np.float64).reshape(-1, 4).T
    return {
        "synthetic": True,
        "p_above": p_above,
        "phantoms": len(rows),
        "nodules_6mm": sum(r["large"] for r in rows),
        "nodules_6mm_found": sum(r["large_found"] for r in rows),
        "nodules": sum(r["nodules"] for r in rows),
        "nodules_found": sum(r["found"] for r in rows),
        "false_findings_a_phantom": round(float(np.mean([r["false"] for r in rows])), 2),
        "most_false_findings": max(r["false"] for r in rows),
        "median_diameter_error_mm": round(float(np.median(errors)), 2) if errors else None,
        "malignancy": malignancy_aucs(p, risk, truth > 0, diameter),
    }


def malignancy_aucs(p: np.ndarray, risk: np.ndarray, malignant: np.ndarray, diameter: np.ndarray) -> dict[str, float | int]:
    """The network's AUC beside what size alone gives and what a reader who knows the risk would get."""
    scores = {"auc": p, "auc_of_diameter_alone": diameter, "auc_of_the_risk_itself": risk}
    aucs = {k: round(roc_auc(s, malignant), 4) for k, s in scores.items()}
    return {"nodules": len(p), **{k: v for k, v in aucs.items() if not np.isnan(v)}}
