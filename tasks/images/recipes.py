"""Recipes: how each network is trained where nothing else is asked for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from artifacts.errors import UsageError
from tasks.images.augment import Flip
from tasks.images.losses import LossName
from tasks.images.subset import nearest
from tasks.stage import Params
from tasks.training.loop import LoopParams

Recipe = dict[str, Any]

BASE: Recipe = {
    "epochs": 10,
    "learning_rate": 1e-3,
    "weight_decay": 1e-4,
    "optimizer": "adamw",
    "schedule": "one-cycle",
    "clip": 5.0,
    "ema": 0.0,
    "label_smoothing": 0.0,
    "batch_size": 128,
    "flip": "random",
    "shift": 0,
}
RECIPES: dict[str, Recipe] = {
    "linear": BASE | {"epochs": 5, "flip": "none"},
    "mlp": BASE,
    "convnet": BASE | {"epochs": 8, "learning_rate": 4e-3, "weight_decay": 1e-2, "shift": 2},
    "resnet": BASE
    | {"epochs": 30, "optimizer": "momentum", "learning_rate": 0.1, "weight_decay": 5e-4, "shift": 4, "label_smoothing": 0.1},
    "fast": BASE
    | {
        "epochs": 8,
        "optimizer": "muon",
        "schedule": "linear",
        "learning_rate": 0.24,
        "weight_decay": 0.004,
        "clip": 0.0,
        "label_smoothing": 0.2,
        "batch_size": 2000,
        "flip": "alternating",
        "shift": 2,
    },
}
TORCHVISION = BASE | {"epochs": 5, "batch_size": 64}


class TrainParams(Params):
    """How a classifier of images is trained; what is empty is the network's own recipe."""

    network: str = Field(
        "convnet", title="Network", description="linear, mlp, convnet, resnet, fast, or a classifier of torchvision by its name"
    )
    loss: LossName = Field("cross-entropy", title="Loss", description="nll: on log-softmax; mse: on one-hot targets")
    epochs: int | None = Field(None, ge=1, le=10_000, title="Epochs", description="Times it goes through its images")
    learning_rate: float | None = Field(None, gt=0, le=100, title="Learning rate", description="The highest of the schedule")
    weight_decay: float | None = Field(None, ge=0, le=10, title="Weight decay", description="Pull of the weights towards zero")
    optimizer: Literal["adamw", "adam", "sgd", "momentum", "muon"] | None = Field(
        None, title="Optimiser", description="momentum: SGD with Nesterov's 0.9; muon: filters and matrices, the rest by AdamW"
    )
    schedule: Literal["one-cycle", "cosine", "linear", "constant"] | None = Field(
        None, title="Schedule", description="one-cycle: rises over a quarter, then falls to nothing; cosine, linear: fall"
    )
    ema: float | None = Field(None, ge=0, lt=1, title="Averaging", description="Share kept a step in an average of the weights")
    clip: float | None = Field(None, ge=0, title="Clip", le=1e6, description="Longest gradient; 0: any length")
    label_smoothing: float | None = Field(None, ge=0, lt=1, title="Label smoothing", description="Share spread over all classes")
    batch_size: int | None = Field(
        None, ge=1, le=100_000, title="Batch size", description="Images a step; fewer where an epoch would have under 25 steps"
    )
    flip: Flip | None = Field(None, title="Flip", description="alternating: every other epoch; random: by a coin")
    shift: int | None = Field(
        None, ge=0, le=64, title="Shift", description="Pixels an image is moved at most, mirrored at its borders"
    )
    patience: int = Field(
        0, ge=0, le=10_000, title="Patience", description="Epochs without a better validation; 0: never stops early"
    )
    frozen: bool = Field(False, title="Frozen", description="torchvision: only the new head learns")
    input_size: int = Field(
        0,
        ge=0,
        le=1024,
        title="Input size",
        description="torchvision: images are resized to it; 0: what its weights were trained on",
    )
    seed: int = Field(0, ge=0, lt=2**31, title="Seed", description="Weights, order and augmentation follow from it")
    compile: bool = Field(False, title="Compile", description="torch.compile; `fast` always compiles on a GPU")

    @model_validator(mode="before")
    @classmethod
    def _settled(cls, given: Any) -> Any:
        """Empty fields from the recipe, so that the key of what is trained says what was done."""
        if not isinstance(given, dict):
            return given
        asked = {k: v for k, v in given.items() if v is not None}
        return recipe_of(asked.get("network", "convnet")) | asked

    def settled(self) -> TrainParams:
        """The same; what is still empty, as in a form's default, from the recipe."""
        return TrainParams(**self.model_dump())

    def loop(self) -> LoopParams:
        return LoopParams(**{k: getattr(self, k) for k in LoopParams.model_fields if hasattr(self, k)})


def recipe_of(network: str) -> Recipe:
    """UsageError with the nearest names where there is no such network."""
    if network in RECIPES:
        return RECIPES[network]
    from tasks.nets.torchvision_nets import classifiers

    known = [*RECIPES, *classifiers()]
    if network not in known:
        near = nearest(network, known)
        raise UsageError(f"no network is called '{network}'{near}")
    return TORCHVISION
