"""The training loop of every network: plain functions that yield what an epoch came to.

What an epoch does follows from the seed and its number alone, and the whole state is kept after each: a run that was killed
goes on from its last epoch and ends with the weights of a run that was not. Lightning Fabric gives device and precision.
"""

from __future__ import annotations

import copy
import io
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from artifacts.errors import NotFiniteError, TrainingError, UsageError
from artifacts.store import explained
from tasks.nets.network import settle_device
from tasks.stage import Compute, Params, Progress, silent

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Batches = Callable[[int], Iterable[Batch]]  # epoch, from 0 -> its batches; the same ones for the same epoch
Validate = Callable[[nn.Module], dict[str, float]]
Row = dict[str, Any]


class LoopParams(Params):
    """How a network is fitted."""

    epochs: int = Field(20, ge=1, le=10_000, title="Epochs", description="Times that training goes through its examples")
    learning_rate: float = Field(1e-3, gt=0, le=100, title="Learning rate", description="The highest of the schedule")
    weight_decay: float = Field(1e-4, ge=0, le=10, title="Weight decay", description="Pull of the weights towards zero")
    optimizer: Literal["adamw", "adam", "sgd", "momentum", "muon"] = Field(
        "adamw", title="Optimiser", description="momentum: SGD with Nesterov's 0.9; muon: matrices by Muon, the rest by AdamW"
    )
    schedule: Literal["one-cycle", "cosine", "linear", "constant"] = Field(
        "one-cycle", title="Schedule", description="one-cycle: rises over a quarter, then falls to nothing; cosine, linear: fall"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, title="Averaging", description="Share kept a step in a moving average of weights; 0: none"
    )
    patience: int = Field(0, ge=0, title="Patience", description="Epochs without a better validation before it stops; 0: never")
    clip: float = Field(5.0, ge=0, title="Clip", description="Longest gradient; 0: any length")
    seed: int = Field(0, ge=0, lt=2**31, title="Seed", description="Weights, shuffles and augmentation follow from it")
    compile: bool = Field(False, title="Compile", description="torch.compile: pays on a GPU after some minutes")


def seed_everything(seed: int) -> None:
    """Weights, shuffles and noise follow from ``seed``."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def start_afresh(module: nn.Module) -> nn.Module:
    """He's initialisation for ReLU (arXiv:1502.01852): without it a network that normalises only its input learns late."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(child.weight, nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
    return module


@dataclass
class Fitting:
    """What is kept after every epoch."""

    module: nn.Module
    average: nn.Module  # the module itself where nothing is averaged
    optimizers: list[Optimizer]
    epoch: int = 0  # epochs done
    history: list[Row] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_value: float = math.nan
    best_epoch: int = -1

    def save(self, path: Path) -> None:
        state = {
            "module": self.module.state_dict(),
            "average": None if self.average is self.module else self.average.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            **{k: getattr(self, k) for k in ("epoch", "history", "best", "best_value", "best_epoch")},
        }
        body, temporary = io.BytesIO(), path.with_name(f".{path.name}.{os.getpid()}")
        torch.save(state, body)  # in memory first: on a full disk it would end in a message that nobody understands
        try:
            with explained("keep an epoch"):
                temporary.write_bytes(body.getbuffer())
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """TrainingError where the file is damaged or another network's."""
        try:
            state = torch.load(path, weights_only=True, map_location=next(self.module.parameters()).device)
            self.module.load_state_dict(state["module"])
            if state["average"] is not None:
                self.average.load_state_dict(state["average"])
            for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
        except Exception as e:
            raise TrainingError("the kept epoch cannot be read, or is of another network: start over with --refresh train") from e
        for k in ("epoch", "history", "best", "best_value", "best_epoch"):
            setattr(self, k, state[k])


def fit(
    module: nn.Module,
    batches: Batches,
    loss: Loss,
    params: LoopParams,
    *,
    steps_an_epoch: int,
    compute: Compute = Compute(),
    validate: Validate | None = None,
    monitor: str = "loss",
    higher_is_better: bool = False,
    workspace: Path | None = None,
    optimizers: Callable[[nn.Module], list[Optimizer]] | None = None,
    progress: Progress = silent,
) -> Iterator[Row]:
    """Train ``module`` in place; yields a row an epoch, those of an interrupted run in ``workspace`` first.

    A row: ``epoch`` (from 1), mean ``loss``, ``examples_per_second``, ``eta_s``, and what ``validate(averaged module)`` returns.
    At the end ``module`` is in eval mode on the CPU with the averaged weights of the epoch that was best by ``monitor`` (of the
    last one where nothing validates). ``optimizers`` replaces the params' optimiser. With several devices (``ddp``) every process
    takes its share of each batch; then ``batches``, ``loss`` and ``validate`` must be picklable.

    TrainingError where the loss is no longer a number: the epochs before stay in ``workspace``. UsageError for a 3D network in
    bfloat16 on a CPU.
    """
    if compute.precision == "bfloat16" and settle_device(compute.device).type == "cpu" and _is_3d(module):
        raise UsageError("bfloat16 trains 3D networks wrongly on a CPU (torch's gradients of two-slice layers): take float32")
    asked = (batches, loss, params, steps_an_epoch, validate, monitor, higher_is_better, workspace, optimizers)
    if compute.devices > 1:
        from tasks.training.many import fit_on_many

        yield from fit_on_many(module, asked, compute)
    else:
        yield from run(fabric_of(compute), module, *asked, progress=progress)
    module.to("cpu").eval()


def _is_3d(module: nn.Module) -> bool:
    return any(isinstance(m, nn.Conv3d) for m in module.modules())


def fabric_of(compute: Compute) -> Any:
    """Lightning Fabric for ``compute``; several devices are processes of their own."""
    from lightning_fabric import Fabric

    device = settle_device(compute.device)
    one = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(
        accelerator=device.type,
        devices=compute.devices if compute.devices > 1 else one,
        strategy="ddp_spawn" if compute.devices > 1 else "auto",
        precision="bf16-mixed" if compute.precision == "bfloat16" else "32-true",
    )


def run(
    fabric: Any,
    module: nn.Module,
    batches: Batches,
    loss: Loss,
    params: LoopParams,
    steps_an_epoch: int,
    validate: Validate | None,
    monitor: str,
    higher_is_better: bool,
    workspace: Path | None,
    optimizers: Callable[[nn.Module], list[Optimizer]] | None,
    progress: Progress = silent,
) -> Iterator[Row]:
    """The loop, in each process of ``fabric``."""
    module.to(fabric.device)
    average = copy.deepcopy(module) if params.ema else module
    fitting = Fitting(module, average, (optimizers or (lambda m: make_optimizers(m, params)))(module))
    for group in (g for o in fitting.optimizers for g in o.param_groups):
        group.setdefault("initial_lr", group["lr"])
    kept = workspace / "last.pt" if workspace else None
    if kept and kept.exists():
        fitting.load(kept)
    yield from fitting.history
    wrapped = fabric.setup(torch.compile(module) if params.compile else module)
    stepping = fabric.setup_optimizers(*fitting.optimizers)
    stepping = [stepping] if len(fitting.optimizers) == 1 else list(stepping)
    for epoch in range(fitting.epoch, params.epochs):
        if stops_early(fitting, params):
            break
        row = one_epoch(fabric, wrapped, fitting, stepping, batches, loss, params, epoch, steps_an_epoch, progress)
        if validate:
            row |= fabric.broadcast(validated(validate, average, epoch) if fabric.is_global_zero else {})
        keep_best(fitting, row, monitor, higher_is_better, validate is not None)
        fitting.epoch = epoch + 1
        fitting.history.append(row)
        if kept and fabric.is_global_zero:
            fitting.save(kept)
        yield row
    module.load_state_dict(fitting.best if fitting.best is not None else average.state_dict())


def one_epoch(
    fabric: Any,
    wrapped: nn.Module,
    fitting: Fitting,
    stepping: list[Any],
    batches: Batches,
    loss: Loss,
    params: LoopParams,
    epoch: int,
    steps_an_epoch: int,
    progress: Progress,
) -> Row:
    """All steps of ``epoch``; its row without validation."""
    seed_everything(params.seed * 100_003 + epoch)
    wrapped.train()
    started, total, examples, steps = time.perf_counter(), torch.zeros((), device=fabric.device), 0, 0
    all_steps = params.epochs * steps_an_epoch
    for step, (x, y) in zip(range(steps_an_epoch), batches(epoch), strict=False):
        done = epoch * steps_an_epoch + step
        share = rate(done, all_steps, params.schedule)
        mine = slice(fabric.global_rank, None, fabric.world_size)
        value = loss(wrapped(x[mine].to(fabric.device)), y[mine].to(fabric.device))
        for optimizer in stepping:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
        fabric.backward(value)
        if params.clip:
            nn.utils.clip_grad_norm_(fitting.module.parameters(), params.clip)
        for optimizer in stepping:
            optimizer.step()
        if params.ema:
            follow(fitting.average, fitting.module, min(params.ema, (1 + done) / (10 + done)))
        total += value.detach()
        examples, steps = examples + len(x), steps + 1
        if step % 20 == 19 or step + 1 == steps_an_epoch:
            check_number(float(total), epoch, step)
            progress((done + 1) / all_steps)
    if not steps:
        raise TrainingError("there is not one batch to train on: give more data or a smaller batch size")
    check_number(float(total), epoch, steps - 1)
    seconds = time.perf_counter() - started
    left = (params.epochs - epoch - 1) * seconds
    return {"epoch": epoch + 1, "loss": float(total) / steps, "examples_per_second": examples / seconds, "eta_s": left}


def validated(validate: Validate, average: nn.Module, epoch: int) -> dict[str, float]:
    """TrainingError where the epoch's last steps have broken the network: its answers are no numbers."""
    try:
        return validate(average.eval())
    except NotFiniteError as e:
        kept = "; the epochs before are kept" if epoch else ""
        raise TrainingError(f"the network's answers are no numbers after epoch {epoch + 1}: lower the learning rate{kept}") from e


def check_number(total: float, epoch: int, step: int) -> None:
    if not math.isfinite(total):
        where = f"in epoch {epoch + 1}, by step {step + 1}"
        kept = "; the last whole epoch's weights are kept" if epoch else ""
        raise TrainingError(f"the loss is {total} {where}: lower the learning rate{kept}")


def rate(step: int, steps: int, schedule: str = "one-cycle") -> float:
    """Share of the learning rate at ``step`` of ``steps``."""
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1 - step / max(steps, 1)
    rising = 0.25 if schedule == "one-cycle" else 0.0
    done = (step + 1) / max(steps, 1)
    return (
        done / rising
        if done < rising
        else 0.5 * (1 + math.cos(math.pi * min(1.0, (step / max(steps, 1) - rising) / (1 - rising))))
    )


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, share: float) -> None:
    """Move ``average`` towards ``module``: keep ``share`` of it; counters are copied."""
    for a, b in zip(average.state_dict().values(), module.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(b.to(a.dtype), 1 - share)
        else:
            a.copy_(b)


def keep_best(fitting: Fitting, row: Row, monitor: str, higher_is_better: bool, validates: bool) -> None:
    """Keep a copy of the averaged weights where this epoch is the best so far."""
    value = float(row.get(monitor, math.nan)) * (-1 if higher_is_better else 1)
    if validates and math.isfinite(value) and not value >= fitting.best_value:
        fitting.best = {k: v.detach().cpu().clone() for k, v in fitting.average.state_dict().items()}
        fitting.best_value, fitting.best_epoch = value, int(row["epoch"])


def stops_early(fitting: Fitting, params: LoopParams) -> bool:
    return bool(params.patience) and 0 <= fitting.best_epoch <= fitting.epoch - params.patience


def make_optimizers(module: nn.Module, params: LoopParams) -> list[Optimizer]:
    """The optimiser that ``params`` name; norms and biases do not decay."""
    weights = [p for p in module.parameters() if p.requires_grad]
    decay = [{"params": [p for p in weights if p.ndim > 1], "weight_decay": params.weight_decay}]
    plain = [{"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0}]
    lr, momentum = params.learning_rate, params.optimizer == "momentum"
    made: list[Optimizer]
    if params.optimizer == "muon":
        matrices = [p for p in weights if p.ndim == 2]
        rest = [p for p in weights if p.ndim != 2]
        made = [torch.optim.Muon(matrices, lr=lr, weight_decay=params.weight_decay)] if matrices else []
        made += [torch.optim.AdamW(rest, lr=lr, weight_decay=params.weight_decay)] if rest else []
    elif params.optimizer in ("sgd", "momentum"):
        made = [torch.optim.SGD(decay + plain, lr=lr, momentum=0.9 if momentum else 0.0, nesterov=momentum)]
    else:
        kind = torch.optim.AdamW if params.optimizer == "adamw" else torch.optim.Adam
        made = [kind(decay + plain, lr=lr)]
    return made
