"""The whole line on a volume in memory, with no store: for phantoms, which are made again sooner than they are read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from artifacts.assessment import Assessment
from artifacts.checkpoint import Role
from artifacts.findings import Findings
from artifacts.heatmap import HeatMap
from artifacts.lumps import Lumps
from artifacts.lungmask import LungMask
from artifacts.scores import Scores
from artifacts.volume import Volume
from tasks.assess import AssessParams, assess
from tasks.classify import classify
from tasks.crop import CropParams, crop
from tasks.evaluation.reference import Reference
from tasks.grade import grade
from tasks.group import GroupParams, group
from tasks.measure import MeasureParams, measure
from tasks.nets import Network
from tasks.outline import outline
from tasks.segment import segment

LEAST_P = 0.01  # findings are kept down to here, so that the curve reaches 8 false positives a scan


@dataclass(frozen=True)
class Screened:
    """What the stages made of one volume."""

    volume: Volume
    lung_mask: LungMask
    heat_map: HeatMap
    lumps: Lumps
    nodule_scores: Scores
    malignancy_scores: Scores
    findings: Findings

    def assessed(self, reference: Reference, params: AssessParams = AssessParams()) -> Assessment:
        return assess(
            self.volume, self.lung_mask, self.heat_map, self.lumps, self.nodule_scores, self.findings, reference, params=params
        )


def screened(
    volume: Volume, networks: Mapping[Role, Network], lung_mask: LungMask | None = None, least_p: float | None = LEAST_P
) -> Screened:
    """The stages one after the other. ``lung_mask`` takes the outline's place where it is given; ``least_p`` none: the card's."""
    segmenter, nodule, malignancy = (networks[role] for role in ("segmenter", "nodule", "malignancy"))  # type: ignore[index]
    lungs = lung_mask or outline(volume)
    heat = segment(volume, lungs, network=segmenter)
    lumps = group(volume, lungs, heat, GroupParams(threshold=segmenter.card.threshold, blobs=nodule.card.blobs_shown))
    for_nodule, for_malignancy = (CropParams(spec=n.card.input.crop) for n in (nodule, malignancy))
    crops = crop(volume, lumps, params=for_nodule)
    nodule_scores = classify(crops, lumps, network=nodule)
    if for_malignancy != for_nodule:
        crops = crop(volume, lumps, params=for_malignancy)
    malignancy_scores = grade(crops, nodule_scores, network=malignancy)
    findings = measure(volume, lungs, lumps, nodule_scores, malignancy_scores, params=MeasureParams(min_probability=least_p))
    return Screened(volume, lungs, heat, lumps, nodule_scores, malignancy_scores, findings)
