"""train-segmenter: patches of slices in, a segmenter out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from artifacts.checkpoint import Card, InputSpec
from artifacts.errors import TrainingError
from artifacts.patches import ORIGINS, Patches
from artifacts.trained import Trained
from tasks.stage import Compute, Progress, Tell, silent, stage, unheard
from tasks.training.augment import AugmentParams
from tasks.training.batches import SliceBatches, counted
from tasks.training.losses import MaskLoss, SegmentationLoss
from tasks.training.parts import (
    TrainParams,
    about,
    as_artifact,
    check_apart,
    check_scale,
    device_of,
    fitted,
    fresh,
    in_memory,
    roles_of,
    scans_of,
    spread,
    steps_of,
    take_over,
)
from tasks.training.pile import Pile
from tasks.training.scoring import SliceScore

MINED = ORIGINS.index("mined")


class TrainSegmenterParams(TrainParams):
    """How the segmenter is trained."""

    architecture: str = Field("unet2d", title="Network", description="unet2d (the book's) or monai-basicunet")
    loss: SegmentationLoss = Field("dice-ce", title="Loss", description="book: Dice plus 8 times the Dice of what is missed")
    monitor: Literal["recall", "f1", "found"] = Field("f1", title="Best by", description="Which epoch's weights are kept")
    crop: int = Field(64, ge=16, le=512, multiple_of=16, title="Crop", description="Pixels of a training image's side")
    views: Literal[1, 2, 4] = Field(1, title="Views", description="Mirrored views that the screening line asks it for")
    batch: int = Field(16, ge=2, le=4096, title="Batch", description="Patches a step")
    positive_share: float = Field(
        0.5, ge=0, le=1, title="Positives", description="Share of a batch that was cut through a nodule"
    )
    hard_share: float = Field(0.2, ge=0, le=1, title="Hard negatives", description="Share that a segmenter wrongly called")
    augmentation: AugmentParams = Field(
        AugmentParams(shift=8, scale=0.2, tilt=0), title="Augmentation", description="How far patches are changed"
    )


@stage("train-segmenter", version=1, params=TrainSegmenterParams, gpu=True)
def train_segmenter(
    patches: Sequence[Patches],
    start: Trained | None = None,
    *,
    params: TrainSegmenterParams = TrainSegmenterParams(),
    compute: Compute = Compute(),
    workspace: Path | None = None,
    tell: Tell = unheard,
    progress: Progress = silent,
) -> Trained:
    """Train a network of slices on the training scans' patches, watch it on the validation scans'; one artifact a scan.

    start: a segmenter to go on from, with its network and window; none: from nothing.

    TrainingError where there is nothing to learn from, the loss is no longer a number, or what is kept in ``workspace`` is of
    another network. An interrupted training goes on from its last whole epoch in ``workspace``.
    """
    scans = scans_of(patches)
    roles = roles_of(scans, params.left_out_fold)
    check_apart(scans, roles, start)
    hu, masks, origin, positive = gathered([patches[k] for k in roles["train"]], in_memory=in_memory(compute))
    if not positive.any():
        raise TrainingError(f"no patch of the {len(hu)} to train on shows a nodule: give scans that have some")
    slices = hu.shape[1]
    if start:
        params = as_before(params, start.card, slices)
    spec = InputSpec(window_hu=params.window_hu, context_slices=slices // 2, views=params.views)
    kinds = [
        np.flatnonzero(positive),
        np.flatnonzero(~positive & (origin == MINED)),
        np.flatnonzero(~positive & (origin != MINED)),
    ]
    shares = [params.positive_share, params.hard_share, 1 - params.positive_share - params.hard_share]
    batches = SliceBatches(
        kinds,
        counted(params.batch, shares, kinds),
        steps_of(params, kinds),
        params.augmentation,
        spec,
        params.loop.seed,
        device_of(compute),
        hu=hu,
        masks=masks,
        crop=params.crop,
    )
    score = None
    if roles["validation"]:
        seen = gathered([patches[k] for k in roles["validation"]], params.watched, in_memory(compute))
        score = SliceScore(seen[0], seen[1], spec, params.crop)
    arguments = {"in_channels": slices, "classes": 1, **params.arguments}
    module = fresh(params.architecture, arguments, params.loop.seed)
    if start:
        take_over(module, start, "segmenter")
    loss = MaskLoss(params.loss)
    how: dict[str, Any] = {"compute": compute, "workspace": workspace, "progress": progress, "tell": tell}
    rows = fitted(module, batches, loss, params, score=score, monitor=params.monitor, **how)
    card = Card(
        name=params.name,
        role="segmenter",
        architecture=params.architecture,
        arguments=arguments,
        input=spec,
        training=about(scans, roles, params, batches, rows, compute.precision, start),
        licence=params.licence,
        source="Trained by train-segmenter of Hounsfield",
    )
    return as_artifact(card, module, rows, score, params.monitor, ["no nodule", "nodule"])


def as_before(params: TrainSegmenterParams, card: dict[str, Any], slices: int) -> TrainSegmenterParams:
    """The network and window of the segmenter that it starts from; TrainingError where that looks at other slices."""
    check_scale(card)
    own = dict(card["arguments"])
    if own.pop("in_channels", slices) != slices:
        theirs = card["arguments"]["in_channels"]
        raise TrainingError(
            f"'{card['name']}', which training would start from, looks at {theirs} slices, the patches have {slices}: cut "
            f"them so (--set patch.context={theirs // 2}), or start from another one"
        )
    own.pop("classes", None)
    window = tuple(card["input"]["window_hu"])
    return params.model_copy(update={"architecture": card["architecture"], "arguments": own, "window_hu": window})


def gathered(
    parts: Sequence[Patches], most: int | None = None, in_memory: bool | None = None
) -> tuple[Pile, Pile, np.ndarray, np.ndarray]:
    """Patches of several scans: HU, masks (2 where ignored), origins, and which were cut through a nodule."""
    rows = [np.arange(len(p)) for p in parts]
    if most:
        kept = set(spread(sum(map(len, rows)), most))
        ends = np.cumsum([0, *map(len, rows)])
        rows = [np.array([r for r in row if start + r in kept], np.intp) for start, row in zip(ends, rows, strict=False)]
    masks = [
        np.where(np.asarray(p.ignore[r]) > 0, 2, np.asarray(p.masks[r])).astype(np.uint8)
        for p, r in zip(parts, rows, strict=True)
    ]
    origin = np.concatenate([p.origin[r] for p, r in zip(parts, rows, strict=True)])
    positive = np.concatenate([p.positive[r] for p, r in zip(parts, rows, strict=True)])
    hu = Pile([p.hu for p in parts], rows, in_memory=in_memory)
    return hu, Pile(masks, [np.arange(len(m)) for m in masks]), origin, positive
