"""What the three training stages share: who is trained on and who is watched, how a network is fitted, what its card says."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from artifacts.checkpoint import Card, Role
from artifacts.dataset import Split
from artifacts.errors import TrainingError
from artifacts.trained import Trained
from tasks.nets import build
from tasks.nets.network import load_strictly
from tasks.stage import Compute, Params, Progress, Tell
from tasks.training.augment import AugmentParams
from tasks.training.batches import Balanced
from tasks.training.loop import LoopParams, Loss, Row, fit, seed_everything, start_afresh
from tasks.training.scoring import CropScore, SliceScore

WINDOW = (-1000.0, 1000.0)


class TrainParams(Params):
    """What every network's training asks for."""

    loop: LoopParams = Field(LoopParams(), title="Loop", description="Epochs, learning rate, averaging, early stopping, seed")
    augmentation: AugmentParams = Field(AugmentParams(), title="Augmentation", description="How far examples are changed")
    arguments: dict[str, Any] = Field({}, title="Arguments", description="Arguments of the network that differ from its defaults")
    window_hu: tuple[float, float] = Field(WINDOW, title="Window", description="Hounsfield units are clipped to this range")
    batch: int = Field(32, ge=2, le=4096, title="Batch", description="Examples a step")
    steps: int = Field(0, ge=0, le=1_000_000, title="Steps", description="Steps an epoch; 0: as many as show each example once")
    positive_share: float = Field(0.4, ge=0, le=1, title="Positives", description="Share of a batch that is positive")
    hard_share: float = Field(
        0.3,
        ge=0,
        le=1,
        title="Hard negatives",
        description="Share of a batch that a segmenter wrongly proposed, where there are any",
    )
    left_out_fold: int = Field(-1, ge=-1, le=99, title="Left-out fold", description="Never trained nor watched on; -1: none")
    watched: int = Field(
        4000, ge=10, le=1_000_000, title="Watched", description="Examples to validate on after each epoch, at most"
    )
    name: str = Field("trained", max_length=100, title="Name", description="What the card calls the network")
    data: str = Field("scans of the user's own", max_length=500, title="Data", description="What the card says it was trained on")
    licence: str = Field("not stated", max_length=100, title="Licence", description="Under which licence the weights may be used")


@dataclass(frozen=True)
class Scan:
    """Whose examples an artifact holds."""

    uid: str
    patient: str
    split: Split
    fold: int


def scans_of(parts: Sequence[Any]) -> list[Scan]:
    return [Scan(p.uid, p.patient, p.split, p.fold) for p in parts]


def roles_of(scans: Sequence[Scan], left_out_fold: int) -> dict[str, list[int]]:
    """Indices of the scans to train on, to watch, and to leave alone: those of the test split and of the left-out fold."""
    roles: dict[str, list[int]] = {"train": [], "validation": [], "left_out": []}
    for k, scan in enumerate(scans):
        roles["left_out" if scan.split == "test" or scan.fold == left_out_fold else scan.split].append(k)
    if not roles["train"]:
        raise TrainingError("no scan is in the training part: give more scans, or another split")
    trained_on, others = ({scans[k].patient for r in rs for k in roles[r]} for rs in (("train",), ("validation", "left_out")))
    if crossing := trained_on & others:
        raise TrainingError(f"{len(crossing)} patients are in the training part and in another one: split by patient")
    return roles


def check_apart(scans: Sequence[Scan], roles: dict[str, list[int]], start: Trained | None) -> None:
    """TrainingError where the network to go on from was trained on what is watched or left out here."""
    parts: list[dict[str, Any]] = [start.card["training"]] if start else []
    for part in parts:
        seen = set(part.get("split", {}).get("train", ()))
        if known := seen & {scans[k].uid for role in ("validation", "left_out") for k in roles[role]}:
            raise TrainingError(
                f"the network to start from was trained on {len(known)} of the scans that are watched or left out here: "
                "share the scans out as they were then, or start from another one"
            )
        parts += [part[k] for k in ("started_from", "beside") if part.get(k)]


def check_scale(card: Mapping[str, Any]) -> None:
    """TrainingError where the network to go on from is fed anything but clipped Hounsfield units, as every training here is."""
    if card["input"]["scale"] != "none":
        raise TrainingError(
            f"'{card['name']}' wants its input scaled to 0..1, trainings feed Hounsfield units: start from another"
        )


def spread(n: int, most: int) -> list[int]:
    """At most ``most`` of ``n``, evenly over all."""
    step = max(1, -(-n // most))
    return list(range(0, n, step))


def fresh(architecture: str, arguments: dict[str, Any], seed: int) -> nn.Module:
    """A network with weights that follow from ``seed``, in the memory layout that convolutions are fastest in."""
    seed_everything(seed)
    module = build(architecture, **arguments)
    return in_layout(module if architecture.startswith("monai-") else start_afresh(module))


def take_over(module: nn.Module, start: Trained, role: Role) -> None:
    """Give ``module`` the weights of ``start``, a network of ``role`` and of the same shape; WeightsError where it is not."""
    state = {k: torch.from_numpy(np.array(v)) for k, v in start.tensors.items()}
    load_strictly(module, state, role, str(start.card["architecture"]))
    in_layout(module)


def in_layout(module: nn.Module) -> nn.Module:
    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.ConvTranspose2d):
            child.to(memory_format=torch.channels_last)
        elif isinstance(child, nn.Conv3d | nn.ConvTranspose3d):
            child.to(memory_format=torch.channels_last_3d)
    return module


def steps_of(params: TrainParams, kinds: Sequence[NDArray[Any]]) -> int:
    return params.steps or max(1, sum(map(len, kinds)) // params.batch)


def device_of(compute: Compute) -> str:
    """Where batches are made; of several GPUs each process has its own."""
    from tasks.nets.network import settle_device

    device = settle_device(compute.device)
    return device.type if compute.devices > 1 else str(device)


def in_memory(compute: Compute) -> bool | None:
    """Several processes read from the files what they need; one decides by the size."""
    return False if compute.devices > 1 else None


def fitted(
    module: nn.Module,
    batches: Balanced,
    loss: Loss,
    params: TrainParams,
    *,
    score: CropScore | SliceScore | None,
    monitor: str,
    compute: Compute,
    workspace: Path | None,
    progress: Progress,
    tell: Tell,
) -> list[Row]:
    """Run the loop; each epoch is told. Returns the rows."""
    rows = fit(
        module,
        batches,  # type: ignore[arg-type]
        loss,
        params.loop,
        steps_an_epoch=batches.steps,
        compute=compute,
        validate=score,
        monitor=monitor if score else "loss",
        higher_is_better=score is not None,
        workspace=workspace,
        progress=progress,
    )
    history = []
    for row in rows:
        history.append(row)
        tell(row)
    return history


def about(
    scans: Sequence[Scan],
    roles: dict[str, list[int]],
    params: TrainParams,
    batches: Balanced,
    rows: list[Row],
    precision: str,
    start: Trained | None = None,
) -> dict[str, Any]:
    """What the card keeps of a training: data, split, seed, precision, how long, on what, the training that it went on from."""
    return {
        "data": params.data,
        "scans": {role: len({scans[k].uid for k in ks}) for role, ks in roles.items()},
        "patients": {role: len({scans[k].patient for k in ks}) for role, ks in roles.items()},
        "split": {role: list(dict.fromkeys(scans[k].uid for k in ks)) for role, ks in roles.items()},
        "folds": sorted({scans[k].fold for k in roles["train"]}),
        "left_out_fold": params.left_out_fold,
        "examples_a_batch": dict(zip(("positive", "hard", "other"), batches.counts, strict=False)),
        "examples": dict(zip(("positive", "hard", "other"), map(len, batches.kinds), strict=False)),
        "steps": batches.steps * len(rows),
        "epochs": len(rows),
        "seed": params.loop.seed,
        "precision": precision,
        "params": params.model_dump(mode="json", exclude={"name", "data", "licence"}),
        "minutes": round(sum(batches.steps * params.batch / r["examples_per_second"] for r in rows) / 60, 2),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        **({"started_from": before(start.card)} if start else {}),
    }


def before(card: dict[str, Any]) -> dict[str, Any]:
    """Of the network that a training started from: its name, and the scans it had seen, which the new one has seen too."""
    known = ("data", "split", "steps", "seed", "precision", "params", "minutes", "hardware", "started_from", "beside")
    return {"name": card["name"], **{k: v for k, v in card["training"].items() if k in known}}


def as_artifact(
    card: Card, module: nn.Module, rows: list[Row], score: CropScore | SliceScore | None, monitor: str, labels: list[str]
) -> Trained:
    """Weights, card and history, with the confusion and the worst mistakes of the validation part."""
    tensors = {k: v.detach().cpu().contiguous().numpy() for k, v in module.state_dict().items()}
    if score is None:
        return Trained(card.model_dump(mode="json"), tensors, rows)
    best = max(rows, key=lambda r: r.get(monitor, 0.0))["epoch"]
    metrics = {k: round(v, 4) if isinstance(v, float) else v for k, v in score(module).items()}
    card = card.model_copy(update={"metrics": {"validation": metrics, "best_epoch": best}})
    return Trained(card.model_dump(mode="json"), tensors, rows, labels, score.confusion(module), score.mistakes(module))
