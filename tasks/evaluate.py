"""Evaluate: many scans' assessments become one evaluation: FROC, confusion, segmentation, malignancy, calibration, breakdowns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from artifacts.assessment import STAGES, Assessment, Known, Mark
from artifacts.errors import InputError
from artifacts.evaluation import Evaluation, Row
from tasks.evaluation.breakdown import ONE_A_SCAN, by_nodule, by_scan, events_of, probability_at
from tasks.evaluation.calibration import calibration
from tasks.evaluation.froc import RATES, Froc, froc_of_events
from tasks.evaluation.malignancy import malignancy
from tasks.stage import Params, stage

MOST_PICTURES = 200  # of each kind


class EvaluateParams(Params):
    """How sure the numbers are, and where yes begins."""

    bootstraps: int = Field(1000, ge=10, le=100_000, title="Draws", description="Draws of the scans, for confidence intervals")
    seed: int = Field(0, ge=0, le=2**31, title="Seed", description="Of those draws")
    threshold: float | None = Field(
        None, gt=0, lt=1, title="Threshold", description="Nodule probability that counts as found; empty: as the card says"
    )
    weights: str = Field("", max_length=100, title="Weights", description="Name of the weights set; filled in by the flow")
    data: str = Field("", max_length=300, title="Data", description="What was evaluated; filled in by the flow")
    checkpoints: SkipJsonSchema[dict[str, str]] = Field({}, description="Role -> digest of the checkpoint that was evaluated")
    skipped: tuple[str, ...] = Field((), title="Skipped", description="Scans without a result, and why; filled in by the flow")


@stage("evaluate", version=2, params=EvaluateParams)
def evaluate(assessments: Sequence[Assessment], params: EvaluateParams = EvaluateParams()) -> Evaluation:
    """All scans count, those without a nodule as well. InputError where there is none."""
    if not len(assessments):
        why = f": {params.skipped[0]}" if params.skipped else ""
        raise InputError(f"no scan could be evaluated{why}")
    scans: list[Row] = []
    nodules: list[Row] = []
    marks: list[Row] = []
    facts: dict[str, None] = {}
    pictures: dict[str, bytes] = {}
    voxels = np.zeros(3, dtype=np.int64)
    outlined = 0
    for number, a in enumerate(assessments):
        threshold = a.nodule_threshold if params.threshold is None else params.threshold
        theirs = [_nodule(a, n, number, threshold) for n in a.nodules if not n.excluded]
        found = [_mark(a, m, number, threshold) for m in a.marks]
        scans.append(_scan(a, theirs, found, threshold))
        nodules.extend(theirs)
        marks.extend(found)
        facts |= dict.fromkeys(a.facts)
        pictures |= {f"{number}-{name}": body for name, body in a.pictures.items()}
        if a.voxels is not None:
            voxels, outlined = voxels + a.voxels, outlined + 1
    marks.sort(key=lambda m: -m["p_nodule"])
    score = froc_of_events(
        events_of({s["uid"]: k for k, s in enumerate(scans)}, nodules, marks), bootstraps=params.bootstraps, seed=params.seed
    )
    first = next(iter(assessments))
    about = {
        "weights": params.weights,
        "checkpoints": dict(params.checkpoints),
        "data": params.data,
        "scans": len(scans),
        "patients": len({s["patient"] for s in scans}),
        "nodule_threshold": first.nodule_threshold if params.threshold is None else params.threshold,
        "malignant_threshold": first.malignant_threshold,
        "bootstraps": params.bootstraps,
        "seed": params.seed,
        "skipped": list(params.skipped),
    }
    made = Evaluation(about, {}, scans, nodules, marks, _banded(score))
    segmented = segmentation(int(voxels[0]), int(voxels[1]), int(voxels[2]), outlined)
    made.metrics = _metrics(made, score, list(facts), segmented, params)
    made.pictures = _kept(made, pictures)
    return made


def _nodule(a: Assessment, n: Known, scan: int, threshold: float) -> Row:
    found = a.found(n, threshold)
    lost_by = None if found else n.lost_by or "threshold"
    name = f"nodule-{n.number}"
    return {
        "uid": a.uid,
        **asdict(n),
        "center_lps_mm": list(n.center_lps_mm),
        "found": found,
        "lost_by": lost_by,
        "picture": f"{scan}-{name}" if name in a.pictures else None,
    }


def _mark(a: Assessment, m: Mark, scan: int, threshold: float) -> Row:
    name = f"finding-{m.rank}"
    return {
        "uid": a.uid,
        **asdict(m),
        "center_lps_mm": list(m.center_lps_mm),
        "called": m.p_nodule > threshold,
        "malignant": m.p_malignant is not None and m.p_malignant > a.malignant_threshold,
        "picture": f"{scan}-{name}" if name in a.pictures else None,
    }


def _scan(a: Assessment, nodules: Sequence[Row], marks: Sequence[Row], threshold: float) -> Row:
    return {
        "uid": a.uid,
        "patient": a.patient,
        "nodules": len(nodules),
        "found": sum(n["found"] for n in nodules),
        "false": sum(m["called"] and m["role"] == "false" for m in marks),
        "filtered": int((a.elsewhere <= threshold).sum()),
        **a.facts,
    }


def _metrics(e: Evaluation, score: Froc, facts: Sequence[str], segmented: Row | None, params: EvaluateParams) -> dict[str, Any]:
    roles = Counter(m["role"] for m in e.marks)
    lost = Counter(n["lost_by"] for n in e.nodules)
    found = sum(n["found"] for n in e.nodules)
    false = sum(s["false"] for s in e.scans)
    index = {s["uid"]: k for k, s in enumerate(e.scans)}
    y, scores = e.graded()
    graded_scan = [
        index[n["uid"]]
        for n in e.nodules
        if n["malignant"] is not None and n["mark"] is not None and n["p_malignant"] is not None
    ]
    p, right = e.sure()
    sure_scan = [index[m["uid"]] for m in e.marks if m["role"] in ("hit", "double", "false")]
    draws = {"bootstraps": params.bootstraps, "seed": params.seed}
    calibrated = {"nodule": calibration(p, right, sure_scan), "malignant": calibration(scores["the grader"], y, graded_scan)}
    at_one = probability_at(ONE_A_SCAN, len(e.scans), e.marks)
    return {
        "froc": score.as_json()
        | {"low": _plain(score.low), "high": _plain(score.high), "ignored": roles["ignored"], "doubles": roles["double"]},
        "threshold": {
            "found": found,
            "missed": len(e.nodules) - found,
            "sensitivity": found / len(e.nodules) if e.nodules else None,
            "false_positives": false,
            "false_positives_a_scan": false / len(e.scans),
            "most_false_positives": max(s["false"] for s in e.scans),
        },
        "confusion": confusion(e),
        "lost_by": {stage: lost[stage] for stage in STAGES},
        "segmentation": segmented,
        "malignancy": malignancy(scores, y, graded_scan, len(e.scans), **draws),
        "calibration": {k: None if c is None else asdict(c) for k, c in calibrated.items()},
        "by": by_nodule(e.nodules, at_one) | by_scan(e.scans, e.nodules, e.marks, facts),
    }


def confusion(e: Evaluation) -> list[Row]:
    """As in *Deep Learning with PyTorch*: what there is, by how far it came. Missed: no candidate was on it; filtered: called
    no nodule. Non-nodules are counted as candidates where they are filtered, as findings where they are called."""
    malignant_above = e.about["malignant_threshold"]

    def row(truth: str, missed: int | None, filtered: int, called: Sequence[float | None]) -> Row:
        worse = sum(p is not None and p > malignant_above for p in called)
        return {"truth": truth, "missed": missed, "filtered out": filtered, "benign": len(called) - worse, "malignant": worse}

    rows = [row("non-nodules", None, sum(s["filtered"] for s in e.scans), [m["p_malignant"] for m in e.false])]
    for name, nature in (("benign", False), ("malignant", True), ("nature not known", None)):
        some = [n for n in e.nodules if n["malignant"] is nature]
        lost = [n for n in some if not n["found"]]
        missed = sum(n["lost_by"] in ("outline", "segment", "group") for n in lost)
        if some or nature is not None:
            rows.append(row(name, missed, len(lost) - missed, [n["p_malignant"] for n in some if n["found"]]))
    return rows


def segmentation(right: int, false: int, missed: int, scans: int) -> Row | None:
    """Of all outlined voxels and all suspicious ones together; None where nothing is outlined."""
    if not scans:
        return None
    return {
        "dice": 2 * right / (2 * right + false + missed) if right + false + missed else None,
        "recall": right / (right + missed) if right + missed else None,
        "precision": right / (right + false) if right + false else None,
        "scans": scans,
    }


def _banded(score: Froc) -> np.ndarray:
    """The curve with its band, which is known at the seven rates and drawn straight between them (over log2)."""
    rate = np.unique(np.concatenate([np.geomspace(1 / 9, 9, 300), RATES]))
    band = [np.interp(np.log2(rate), np.log2(RATES), bound) for bound in (score.low, score.high)]
    return np.stack([rate, np.interp(rate, score.curve[0], score.curve[1]), *band])


def _plain(values: Sequence[float]) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _kept(e: Evaluation, pictures: dict[str, bytes]) -> dict[str, bytes]:
    """Of missed nodules and false findings, the first ones; rows whose picture is not kept no longer name one."""
    wanted = {r["picture"] for r in [*e.missed[:MOST_PICTURES], *e.false[:MOST_PICTURES]]}
    for row in [*e.nodules, *e.marks]:
        if row["picture"] not in wanted:
            row["picture"] = None
    return {name: body for name, body in pictures.items() if name in wanted}
