"""train-malignancy: crops of nodules in, a grader out; it starts from a nodule classifier, or from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from artifacts.errors import TrainingError
from artifacts.examples import Examples
from artifacts.trained import Trained
from tasks.stage import Compute, Progress, Tell, silent, stage, unheard
from tasks.training.augment import AugmentParams
from tasks.training.batches import CropBatches, counted
from tasks.training.crops import ClassifierParams, arguments_of, as_in, card_of, gathered, input_of, score_of
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


class TrainMalignancyParams(ClassifierParams):
    """How the malignancy grader is trained."""

    monitor: Literal["auc", "f1", "recall"] = Field("auc", title="Best by", description="Which epoch's weights are kept")
    augmentation: AugmentParams = Field(
        AugmentParams(scale=0), title="Augmentation", description="How far crops are changed; their size is part of the answer"
    )
    smooth: float = Field(0.0, ge=0, le=0.5, title="Smoothing", description="Share of each target that is moved towards one half")
    tuned: Literal["all", "later", "last"] = Field(
        "all",
        title="Tuned",
        description="Of what it starts from: all layers, all after the first block (faster), or the last block and the head",
    )
    soft: bool = Field(True, title="Soft targets", description="Learn the risk itself where it is known, not the coin it tossed")
    positive_share: float = Field(
        0.0, ge=0, le=1, title="Malignant", description="Share of a batch that is malignant; 0: as they come (keeps calibration)"
    )


@stage("train-malignancy", version=1, params=TrainMalignancyParams, gpu=True)
def train_malignancy(
    examples: Sequence[Examples],
    start: Trained | None = None,
    *,
    params: TrainMalignancyParams = TrainMalignancyParams(),
    compute: Compute = Compute(),
    workspace: Path | None = None,
    tell: Tell = unheard,
    progress: Progress = silent,
) -> Trained:
    """Train a grader on the crops of nodules whose malignancy is known, watch it on the validation scans'.

    start: a nodule classifier, or a grader, whose weights, network and input are taken over; none: from nothing. TrainingError
    where a class has no nodule, the loss is no longer a number, or what is kept in ``workspace`` is another network's.
    """
    scans = scans_of(examples)
    roles = roles_of(scans, params.left_out_fold)
    check_apart(scans, roles, start)
    known = "a nodule whose malignancy is known: the tables need mal_bool, malignancy or label"
    table = gathered([examples[k] for k in roles["train"]], graded, in_memory=in_memory(compute), what=known)
    if start:
        params = as_in(params, start.card, table.spec)
    malignant, target = table.malignant == 1, targets(table.malignant, table.risk, params.soft)
    for there, what in ((malignant.any(), "malignant"), ((~malignant).any(), "benign")):
        if not there:
            raise TrainingError(f"none of the {len(malignant)} crops of graded nodules is {what}: a grader needs both classes")
    spec = input_of(table.spec, params)
    kinds = [np.flatnonzero(malignant), np.zeros(0, np.intp), np.flatnonzero(~malignant)]
    share = params.positive_share or float(malignant.mean())
    batches = CropBatches(
        kinds,
        counted(params.batch, [share, 0.0, 1 - share], kinds),
        steps_of(params, kinds),
        params.augmentation,
        spec,
        params.loop.seed,
        device_of(compute),
        hu=table.hu,
        target=target,
        crop_zyx=params.crop_zyx,
    )
    score = None
    if any(graded(examples[k]).any() for k in roles["validation"]):
        seen = gathered([examples[k] for k in roles["validation"]], graded, params.watched, in_memory(compute))
        score = score_of(seen, table, seen.malignant == 1, spec, params)
    arguments = arguments_of(params)
    module = fresh(params.architecture, arguments, params.loop.seed)
    if start:
        take_over(module, start, "nodule")
        hold_all_but(module, params.tuned)
    loss = ClassLoss(params.loss, params.smooth)
    how: dict[str, Any] = {"compute": compute, "workspace": workspace, "progress": progress, "tell": tell}
    rows = fitted(module, batches, loss, params, score=score, monitor=params.monitor, **how)
    training = about(scans, roles, params, batches, rows, compute.precision, start)
    return as_artifact(
        card_of("malignancy", params, arguments, spec, training), module, rows, score, params.monitor, ["benign", "malignant"]
    )


def graded(examples: Examples) -> NDArray[np.bool_]:
    """Crops of nodules whose malignancy is known."""
    return (examples.label == 1) & (examples.malignant >= 0)


def targets(malignant: NDArray[np.int8], risk: NDArray[np.float32], soft: bool) -> NDArray[np.float32]:
    """What is to be learnt, 0..1: the risk where it is known and wanted, else the label."""
    hard = (malignant == 1).astype(np.float32)
    return np.where(np.isfinite(risk), risk, hard).astype(np.float32) if soft else hard


def hold_all_but(module: nn.Module, tuned: str) -> None:
    """Tune ``all``, all after the first block (``later``), or the ``last`` block and the head alone; of a pair those of each."""
    if tuned == "all":
        return
    for one in getattr(module, "members", [module]):
        children = (b for c in one.children() for b in (c if isinstance(c, nn.ModuleList) else [c]))
        blocks = [b for b in children if any(True for _ in b.parameters())]
        held = last = len(blocks) - 2
        if tuned == "later":
            held = min(1 + next(k for k, b in enumerate(blocks) if any(True for _ in b.children())), last)
        for block in blocks[:held]:
            block.requires_grad_(False)
