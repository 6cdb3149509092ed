"""grade: how probably each likely nodule is malignant."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from artifacts.checkpoint import tempered
from artifacts.crops import Crops
from artifacts.scores import Scores
from tasks.nets import Network
from tasks.nets.judging import HALF_TURNS_ZYX, probabilities
from tasks.stage import Params, Progress, silent, stage


class GradeParams(Params):
    """Which candidates are worth grading."""

    min_nodule_probability: float = Field(0.1, ge=0, le=1, description="Candidates less probably a nodule are not graded")
    flips: bool = Field(True, description="Average over the 4 half-turns of each crop")


@stage("grade", version=3, params=GradeParams, network="malignancy", gpu=True)
def grade(
    crops: Crops,
    nodule_scores: Scores,
    *,
    params: GradeParams = GradeParams(),
    network: Network,
    progress: Progress = silent,
) -> Scores:
    """The malignancy probability of the crops that are likely nodules, NaN of the others.

    WeightsError where the crops are not what the network's card asks for.
    """
    likely = np.flatnonzero(nodule_scores.probability >= params.min_nodule_probability)
    views = HALF_TURNS_ZYX if params.flips else HALF_TURNS_ZYX[:1]
    p = np.full(len(crops.hu), np.nan, dtype=np.float32)
    flips = np.zeros(len(crops.hu), dtype=np.int32)
    p[likely] = probabilities(network, crops, likely, views, progress)
    flips[likely] = len(views)
    progress(1.0)
    p = tempered(p, network.card.temperature).astype(np.float32)
    return Scores("malignant", p, flips, network.card.threshold)
