"""Assess: the findings of one scan against what is known to be there; each missed nodule put down to the stage that lost it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.assessment import Assessment, Known, Mark, MarkRole, Stage
from artifacts.dataset import Nodule
from artifacts.findings import Findings
from artifacts.heatmap import HeatMap
from artifacts.lumps import Lumps
from artifacts.lungmask import LungMask
from artifacts.scores import Scores
from artifacts.volume import Volume
from tasks.evaluation.close_up import close_up
from tasks.evaluation.froc import DOUBLE, FALSE, HIT, IGNORED, LEFT_OUT, UNKNOWN_MM, match
from tasks.evaluation.marks import marks_of, nodules_of
from tasks.evaluation.reference import Labels, Reference
from tasks.stage import Params, stage

ROLES: dict[int, MarkRole] = {HIT: "hit", DOUBLE: "double", IGNORED: "ignored", FALSE: "false", LEFT_OUT: "beyond"}


class AssessParams(Params):
    """What is kept to look at, and what counts as suspicious."""

    pictures: int = Field(20, ge=0, le=100, title="Pictures", description="False findings of a scan that are pictured")
    picture_above: float = Field(
        0.1, ge=0, le=1, title="Pictured above", description="Less probable false findings are not pictured"
    )
    suspicious_above: float | None = Field(
        None,
        ge=0.05,
        le=0.95,
        title="Suspicious above",
        description="Of the heat map: what counts for Dice and recall; empty: as the segmenter's card says",
    )
    inside_least: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Least share inside",
        description="A nodule of which less than this share lies in the outlined lungs was lost by the outline",
    )

    @property
    def suspicious(self) -> float:
        """In steps of the heat map, 0..255: more is suspicious."""
        return 255 * (0.5 if self.suspicious_above is None else self.suspicious_above)


@stage("assess", version=1, params=AssessParams)
def assess(
    volume: Volume,
    lung_mask: LungMask,
    heat_map: HeatMap,
    lumps: Lumps,
    nodule_scores: Scores,
    findings: Findings,
    reference: Reference,
    params: AssessParams = AssessParams(),
) -> Assessment:
    """One scan's findings matched by LUNA16's rule (``tasks.evaluation.froc``), every nodule and finding accounted for."""
    labels = reference.outlined(volume) if reference.outlined else None
    marks, mark_of = _matched(findings, reference.nodules)
    on = _on(np.array([c.center_lps_mm for c in lumps.candidates]).reshape(-1, 3), reference.nodules)
    p = np.asarray(nodule_scores.probability, dtype=np.float64)
    known = []
    for k, nodule in enumerate(reference.nodules):
        one = _known(k, nodule, heat_map, labels, params)
        if (i := int(mark_of[k])) >= 0:
            f = findings.findings[i]
            off = float(np.linalg.norm(np.subtract(f.center_lps_mm, nodule.center_lps_mm)))
            scores = {"p_nodule": f.p_nodule, "p_malignant": f.p_malignant}
            one = replace(one, mark=f.rank, measured_mm=f.diameter_mm, offset_mm=off, **scores)  # type: ignore[arg-type]
        elif not nodule.excluded:
            asked = p[on[:, k] & ~np.isnan(p)]
            best = float(asked.max()) if asked.size else None
            lost = _lost_by(nodule, best, findings, lung_mask, heat_map, params)
            one = replace(one, lost_by=lost, p_nodule=best)
        known.append(one)
    return Assessment(
        uid=reference.uid,
        patient=reference.patient,
        nodules=known,
        marks=marks,
        elsewhere=nodule_scores.probability[~on.any(axis=1)],
        facts=_facts(volume) | dict(reference.facts),
        voxels=None if labels is None else _voxels(heat_map, labels, params),
        nodule_threshold=findings.nodule_threshold,
        malignant_threshold=findings.malignant_threshold,
        pictures=_pictures(volume, findings, reference.nodules, known, marks, params),
    )


def _facts(volume: Volume) -> dict[str, float | str]:
    """How it was scanned, as far as its headers say."""
    said = {"kernel": volume.series.kernel, "maker": volume.series.manufacturer}
    return {"slice_mm": round(volume.geometry.spacing_zyx[0], 2)} | {k: v for k, v in said.items() if v}


def _matched(findings: Findings, nodules: tuple[Nodule, ...]) -> tuple[list[Mark], NDArray[np.intp]]:
    """Marks in the order of the findings, and for each nodule the index of the finding that counts, -1: none."""
    found = findings.findings
    asked = marks_of(["scan"] * len(found), [f.center_lps_mm for f in found], [f.p_nodule for f in found])
    there = nodules_of(
        ["scan"] * len(nodules),
        [n.center_lps_mm for n in nodules],
        [n.diameter_mm for n in nodules],
        [n.excluded for n in nodules],
    )
    m = match(asked, there, ["scan"])
    marks = [
        Mark(f.rank, f.center_lps_mm, f.diameter_mm, f.p_nodule, f.p_malignant, ROLES[int(role)], int(of) if of >= 0 else None)
        for f, role, of in zip(found, m.role, m.nodule_of, strict=True)
    ]
    return marks, m.mark_of


def _radius_mm(nodule: Nodule) -> float:
    return (UNKNOWN_MM if nodule.diameter_mm < 0 else nodule.diameter_mm) / 2


def _on(places_lps_mm: NDArray[np.float64], nodules: tuple[Nodule, ...]) -> NDArray[np.bool_]:
    """``[places, nodules]``: within its radius."""
    centers = np.array([n.center_lps_mm for n in nodules]).reshape(-1, 3)
    away = np.linalg.norm(places_lps_mm[:, None] - centers[None], axis=2)
    return np.asarray(away < [_radius_mm(n) for n in nodules])


def _known(number: int, n: Nodule, heat: HeatMap, labels: Labels | None, params: AssessParams) -> Known:
    form = {name: getattr(n, name) for name in ("malignant", "rating", "kind", "margin", "place", "risk")}
    suspicious = None
    if labels is not None and not n.excluded:
        box = _box(heat, n.center_lps_mm, 2 * _radius_mm(n) + 4)
        inside = labels[box] == number + 1
        if inside.any():
            suspicious = float((heat.probability[box][inside] > params.suspicious).mean())
    return Known(number, n.center_lps_mm, n.diameter_mm, n.excluded, **form, suspicious=suspicious)


def _lost_by(n: Nodule, best: float | None, findings: Findings, lungs: LungMask, heat: HeatMap, params: AssessParams) -> Stage:
    """The first stage after which the nodule was no longer there."""
    if best is not None:
        return "measure" if best > findings.nodule_threshold else "classify"
    box = _box(heat, n.center_lps_mm, _radius_mm(n))
    ball = _ball(heat, n.center_lps_mm, max(_radius_mm(n), max(heat.geometry.spacing_zyx) / 2), box)
    if not ball.any() or (lungs.labels[box][ball] > 0).mean() < params.inside_least:
        return "outline"
    return "group" if (heat.probability[box][ball] > params.suspicious).any() else "segment"


def _box(heat: HeatMap, center_lps_mm: tuple[float, float, float], reach_mm: float) -> tuple[slice, ...]:
    """Voxels within ``reach_mm`` of a place, and one more; inside the grid (empty where the place is far outside)."""
    g = heat.geometry
    center = g.zyx_from_lps_mm(center_lps_mm)
    reach = reach_mm / np.array(g.spacing_zyx) + 1
    low = np.clip(np.floor(center - reach), 0, g.shape_zyx).astype(int)
    high = np.clip(np.ceil(center + reach) + 1, low, g.shape_zyx).astype(int)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _ball(
    heat: HeatMap, center_lps_mm: tuple[float, float, float], radius_mm: float, box: tuple[slice, ...]
) -> NDArray[np.bool_]:
    zyx = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
    return np.asarray(np.linalg.norm(heat.geometry.lps_mm_from_zyx(zyx) - center_lps_mm, axis=-1) <= radius_mm)


def _voxels(heat: HeatMap, labels: Labels, params: AssessParams) -> tuple[int, int, int]:
    called, there = heat.probability > params.suspicious, labels > 0
    both = int(np.count_nonzero(called & there))
    return both, int(np.count_nonzero(called)) - both, int(np.count_nonzero(there)) - both


def _pictures(
    volume: Volume,
    findings: Findings,
    nodules: tuple[Nodule, ...],
    known: list[Known],
    marks: list[Mark],
    params: AssessParams,
) -> dict[str, bytes]:
    """Of every nodule that is not found for sure, and of the most probable false findings."""
    sure = max(findings.nodule_threshold, 0.9)
    shown = {
        f"nodule-{k.number}": close_up(volume, n.center_lps_mm, _radius_mm(n))
        for k, n in zip(known, nodules, strict=True)
        if params.pictures and not n.excluded and (k.mark is None or (k.p_nodule or 0) < sure)
    }
    false = sorted((m for m in marks if m.role == "false" and m.p_nodule >= params.picture_above), key=lambda m: -m.p_nodule)
    for m in false[: params.pictures]:
        shown[f"finding-{m.rank}"] = close_up(volume, m.center_lps_mm, m.diameter_mm / 2)
    return shown
