"""Trained: a network as training left it, with how it went: weights, card, a row an epoch, its confusion, its worst mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview

HIDDEN = ("examples_per_second", "eta_s", "epoch")
LISTED = 10


@dataclass
class Trained:
    """card: what configures inference and says on what it was trained; tensors: the weights by name.

    history    a row an epoch: ``epoch``, ``loss``, ``examples_per_second``, ``eta_s`` and what was validated
    labels, confusion  int64 ``[truth, called]`` on the validation set, at the threshold in use; empty where nothing validates
    mistakes   caption and uint8 image (``H x W`` or ``H x W x 3``), worst first
    """

    kind: ClassVar[str] = "trained"

    card: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    history: list[dict[str, Any]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    mistakes: list[tuple[str, NDArray[np.uint8]]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        from safetensors.numpy import save

        body = save({k: np.asarray(v, order="C") for k, v in self.tensors.items()})
        (folder / "weights.safetensors").write_bytes(body)
        about = {"card": self.card, "history": self.history, "labels": self.labels, "confusion": self.confusion.tolist()}
        write_json(folder / "trained.json", about | {"mistakes": [caption for caption, _ in self.mistakes]})
        with (folder / "mistakes.npz").open("wb") as f:
            np.savez(f, *[image for _, image in self.mistakes])

    @classmethod
    def read(cls, folder: Path) -> Self:
        from safetensors.numpy import load_file

        about = read_json(folder / "trained.json")
        with np.load(folder / "mistakes.npz", allow_pickle=False) as images:
            mistakes = [(caption, images[f"arr_{k}"]) for k, caption in enumerate(about["mistakes"])]
        n = len(about["labels"])
        confusion = np.array(about["confusion"], dtype=np.int64).reshape(n, n)
        tensors = load_file(folder / "weights.safetensors")
        return cls(about["card"], tensors, about["history"], about["labels"], confusion, mistakes)

    def summary(self) -> dict[str, Any]:
        last = self.history[-1] if self.history else {}
        shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in last.items() if k not in HIDDEN}
        parameters = sum(v.size for k, v in self.tensors.items() if not counted(k))
        return {"epochs": len(self.history), "parameters": parameters, **shown}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.charts import confusion_matrix, curves, montage

        last = self.history[-1] if self.history else {}
        said = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in last.items() if k not in HIDDEN and isinstance(v, float))
        pictures = {}
        if len(self.history) > 1:
            pictures["How it went"] = curves(self.history, [k for k in last if k not in HIDDEN], "by epoch")
        if self.confusion.size:
            pictures["Confusion on the validation set"] = confusion_matrix(self.confusion, self.labels)
        if self.mistakes:
            pictures["The worst mistakes"] = montage([i for _, i in self.mistakes[:24]], [c for c, _ in self.mistakes[:24]])
        layers: list[dict[str, Any]] = [
            {"layer": name, "shape": "x".join(map(str, v.shape)) or "scalar", "parameters": int(v.size)}
            for name, v in self.tensors.items()
            if not counted(name)
        ]
        total = {"layer": "total", "shape": "", "parameters": sum(row["parameters"] for row in layers)}
        epochs = [dict(shown_of(row)) for row in self.history[-20:]]
        card = [{"of the network": name, "value": value} for name, value in told(self.card)]
        tables: dict[str, list[dict[str, Any]]] = {"Epochs": epochs, "Card": card, "Layers": [*layers, total]}
        return Preview(f"{self.card.get('name', 'network')}: {len(self.history)} epochs, {said}", tables, pictures)


def shown_of(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A row of the history as people read it; how long it had to go is of no use afterwards."""
    for key, value in row.items():
        if key == "examples_per_second":
            yield "examples a second", round(value)
        elif key != "eta_s":
            yield key.replace("_", " "), round(value, 5) if isinstance(value, float) else value


def counted(name: str) -> bool:
    """Whether a tensor is what a norm counted while training: kept with the weights, but no parameter."""
    return name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")


def told(card: Mapping[str, Any], below: str = "") -> Iterator[tuple[str, str]]:
    """A card's values by their names, settings of the training among them; of a long list how many it holds."""
    for key, value in card.items():
        name = f"{below}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from told(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            some = ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value)
            yield name, some if len(value) <= LISTED else f"{len(value)} of them"
        elif value not in (None, ""):
            yield name, f"{value:.4g}" if isinstance(value, float) else str(value)
