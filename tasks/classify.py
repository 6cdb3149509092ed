"""classify: how probably each candidate is a nodule."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from artifacts.checkpoint import tempered
from artifacts.crops import Crops
from artifacts.lumps import Lumps
from artifacts.scores import Scores
from tasks.nets import Network
from tasks.nets.judging import HALF_TURNS_ZYX, probabilities
from tasks.stage import Params, Progress, silent, stage

FIRST_PASS = 0.7  # its share of the progress


class ClassifyParams(Params):
    """Where one look is not enough."""

    doubt_above: float = Field(
        0.02, ge=0, le=1, description="Candidates with a probability from here on are looked at in 4 half-turns, and averaged"
    )
    doubt_below: float = Field(1.0, ge=0, le=1, description="... up to here; equal bounds: no candidate is turned")


@stage("classify", version=4, params=ClassifyParams, network="nodule", gpu=True)
def classify(
    crops: Crops,
    lumps: Lumps | None = None,
    *,
    params: ClassifyParams = ClassifyParams(),
    network: Network,
    progress: Progress = silent,
) -> Scores:
    """The nodule probability of every crop; where it is in doubt, the mean over the crop's four half-turns.

    lumps: what the crops were cut from. The odds of a blob among its candidates are those of its looks times what the card says.
    WeightsError where the crops are not what the classifier's card asks for.
    """
    everyone = np.arange(len(crops.hu))
    p = probabilities(network, crops, everyone, progress=lambda share: progress(FIRST_PASS * share))
    flips = np.ones(len(p), dtype=np.int32)
    if params.doubt_above < params.doubt_below:
        doubtful = np.flatnonzero((p >= params.doubt_above) & (p <= params.doubt_below))
        others = probabilities(
            network, crops, doubtful, HALF_TURNS_ZYX[1:], lambda share: progress(FIRST_PASS + (1 - FIRST_PASS) * share)
        )
        p[doubtful] = (p[doubtful] + (len(HALF_TURNS_ZYX) - 1) * others) / len(HALF_TURNS_ZYX)
        flips[doubtful] = len(HALF_TURNS_ZYX)
    if lumps and network.card.blobs:
        p[lumps.is_blob] = network.card.blobs.weighed(p[lumps.is_blob])
    progress(1.0)
    p = tempered(p, network.card.temperature).astype(np.float32)
    return Scores("nodule", p, flips, network.card.threshold)
