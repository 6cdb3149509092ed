"""train-nodule: crops in, a classifier that tells nodules from everything else out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from artifacts.checkpoint import Blobs
from artifacts.errors import TrainingError
from artifacts.examples import Examples
from artifacts.trained import Trained
from tasks.stage import Compute, Progress, Tell, silent, stage, unheard
from tasks.training.batches import CropBatches, counted
from tasks.training.crops import BLOB, MINED, ClassifierParams, arguments_of, as_in, card_of, gathered, input_of, score_of
from tasks.training.losses import ClassLoss
from tasks.training.parts import (
    about,
    as_artifact,
    check_apart,
    device_of,
    fitted,
    fresh,
    in_memory,
    roles_of,
    scans_of,
    steps_of,
    take_over,
)


class TrainNoduleParams(ClassifierParams):
    """How the nodule classifier is trained."""

    monitor: Literal["auc", "f1", "recall"] = Field("auc", title="Best by", description="Which epoch's weights are kept")


@stage("train-nodule", version=1, params=TrainNoduleParams, gpu=True)
def train_nodule(
    examples: Sequence[Examples],
    start: Trained | None = None,
    *,
    params: TrainNoduleParams = TrainNoduleParams(),
    compute: Compute = Compute(),
    workspace: Path | None = None,
    tell: Tell = unheard,
    progress: Progress = silent,
) -> Trained:
    """Train a classifier on the training scans' crops, watch it on the validation scans'; one artifact a scan.

    start: a nodule classifier to go on from, with its network and input; none: from nothing.

    Batches hold a share of nodules and, where a segmenter's own false lumps and blobs were mined, a share of those. TrainingError
    where a class has no crop, the loss is no longer a number, or what is kept in ``workspace`` is another network's.
    """
    scans = scans_of(examples)
    roles = roles_of(scans, params.left_out_fold)
    check_apart(scans, roles, start)
    table = gathered([examples[k] for k in roles["train"]], lambda e: np.ones(len(e), bool), in_memory=in_memory(compute))
    positive = table.label == 1
    for there, what in ((positive.any(), "a nodule"), ((~positive).any(), "anything but nodules")):
        if not there:
            raise TrainingError(f"of the {len(positive)} crops to train on none shows {what}: a classifier needs both classes")
    if start:
        params = as_in(params, start.card, table.spec)
    spec = input_of(table.spec, params)
    proposed = np.isin(table.origin, (MINED, BLOB))
    kinds = [np.flatnonzero(k) for k in (positive, ~positive & proposed, ~positive & ~proposed)]
    shares = [params.positive_share, params.hard_share, 1 - params.positive_share - params.hard_share]
    batches = CropBatches(
        kinds,
        counted(params.batch, shares, kinds),
        steps_of(params, kinds),
        params.augmentation,
        spec,
        params.loop.seed,
        device_of(compute),
        hu=table.hu,
        target=table.label.astype(np.float32),
        crop_zyx=params.crop_zyx,
    )
    score = None
    if roles["validation"]:
        seen = gathered(
            [examples[k] for k in roles["validation"]], lambda e: np.ones(len(e), bool), params.watched, in_memory(compute)
        )
        score = score_of(seen, table, seen.label == 1, spec, params)
    arguments = arguments_of(params)
    module = fresh(params.architecture, arguments, params.loop.seed)
    if start:
        take_over(module, start, "nodule")
    loss = ClassLoss(params.loss, params.smooth)
    how: dict[str, Any] = {"compute": compute, "workspace": workspace, "progress": progress, "tell": tell}
    rows = fitted(module, batches, loss, params, score=score, monitor=params.monitor, **how)
    blobs = Blobs() if (table.origin == BLOB).any() else None
    if start and not blobs and start.card.get("blobs"):
        blobs = Blobs.model_validate(start.card["blobs"])
    card = card_of("nodule", params, arguments, spec, about(scans, roles, params, batches, rows, compute.precision, start), blobs)
    return as_artifact(card, module, rows, score, params.monitor, ["none", "nodule"])
