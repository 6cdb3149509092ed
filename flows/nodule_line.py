"""The line of stages, written once: what runs in what order. A ``Line`` runs it, a ``Plan`` says what would run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifacts.checkpoint import Card, Checkpoint, CropSpec, Role
from artifacts.errors import WeightsError
from artifacts.store import Ref
from tasks.classify import classify
from tasks.crop import crop
from tasks.grade import grade
from tasks.group import group
from tasks.line import Runner, Source
from tasks.load import load
from tasks.measure import measure
from tasks.outline import outline
from tasks.report import report
from tasks.segment import segment
from tasks.stage import Stage

STAGES: dict[str, Stage] = {s.name: s for s in (load, outline, segment, group, crop, classify, grade, measure, report)}
GRADE_CROP = "crop-for-grade"  # its own slot, only where the grader wants other crops than the classifier
SLOTS: dict[str, Stage] = STAGES | {GRADE_CROP: crop}  # what a person may name: a stage, or its place in the line


@dataclass(frozen=True)
class Found:
    """What the line made of a scan, up to its findings."""

    volume: Ref
    lung_mask: Ref
    heat_map: Ref
    lumps: Ref
    nodule_scores: Ref
    findings: Ref


def nodule_line(line: Runner, scan: Source, weights: Mapping[Role, Checkpoint], series_choice: str = "") -> Ref:
    """From a scan to the ref of its report: one line a stage."""
    found = findings_line(line, scan, weights)
    return line(
        report,
        volume=found.volume,
        lung_mask=found.lung_mask,
        heat_map=found.heat_map,
        lumps=found.lumps,
        findings=found.findings,
        **filled_in("report", weights, series_choice),
    )


def findings_line(line: Runner, scan: Source, weights: Mapping[Role, Checkpoint]) -> Found:
    """From a scan to its findings."""

    def told(slot: str) -> dict[str, Any]:
        return filled_in(slot, weights)

    volume = line(load, scan=scan)
    lung_mask = line(outline, volume=volume)
    heat_map = line(segment, volume=volume, lung_mask=lung_mask)
    lumps = line(group, volume=volume, lung_mask=lung_mask, heat_map=heat_map, **told("group"))
    crops = line(crop, volume=volume, lumps=lumps, **told("crop"))
    nodule_scores = line(classify, crops=crops, lumps=lumps)
    if told(GRADE_CROP) != told("crop"):
        crops = line(crop, slot=GRADE_CROP, volume=volume, lumps=lumps, **told(GRADE_CROP))
    malignancy_scores = line(grade, crops=crops, nodule_scores=nodule_scores)
    findings = line(
        measure,
        volume=volume,
        lung_mask=lung_mask,
        lumps=lumps,
        nodule_scores=nodule_scores,
        malignancy_scores=malignancy_scores,
    )
    return Found(volume, lung_mask, heat_map, lumps, nodule_scores, findings)


def filled_in(slot: str, weights: Mapping[Role, Checkpoint], series_choice: str = "") -> dict[str, Any]:
    """The parameters that the flow fills in where nobody chose them: from the networks' cards, and why this series."""
    if slot == "group":
        return {"threshold": weights["segmenter"].card.threshold, "blobs": weights["nodule"].card.blobs_shown}
    if slot in ("crop", GRADE_CROP):
        return {"spec": crop_spec(weights["nodule" if slot == "crop" else "malignancy"].card)}
    return {"series_choice": series_choice} if slot == "report" else {}


def crop_spec(card: Card) -> CropSpec:
    """The crops a classifier's card asks for."""
    if card.input.crop is None:
        raise WeightsError(f"the card of {card.role} in weights '{card.name}' does not say which crops it wants (input.crop)")
    return card.input.crop


def downstream(name: str) -> frozenset[str]:
    """``name`` and every stage that comes after it in the line."""
    names = list(STAGES)
    after = names.index("grade" if name == GRADE_CROP else name)
    return frozenset([name, *names[after:]])


def edges() -> list[tuple[str, str, str]]:
    """(stage, argument, stage that makes it) for every input in the line, read off by tracing it."""
    traced: list[tuple[str, str, str]] = []

    class Traced:
        """Stands for a ref or a source: knows only which stage makes it."""

        def __init__(self, digest: str):
            self.digest = digest

    def trace(stage: Stage, *, slot: str | None = None, **given: Any) -> Any:
        traced.extend((stage.name, name, v.digest) for name, v in given.items() if isinstance(v, Traced))
        return Traced(stage.name)

    nodule_line(trace, Traced("scan"), _any_weights())  # type: ignore[arg-type]
    return traced


def _any_weights() -> Mapping[Role, Checkpoint]:
    from pathlib import Path

    from artifacts.checkpoint import ROLES, InputSpec

    wants = InputSpec(crop=CropSpec())
    return {r: Checkpoint(Path(), Card(name="any", role=r, architecture="any", input=wants, licence="none")) for r in ROLES}
