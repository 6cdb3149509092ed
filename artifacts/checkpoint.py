"""Checkpoints: safetensors beside a JSON card that says what the network wants, was trained on, and scored.

A *weights set* is a folder with one checkpoint per role: ``segmenter``, ``nodule``, ``malignancy``; each is
``<role>.safetensors`` and ``<role>.json``. Nothing here ever unpickles.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from artifacts.errors import WeightsError

Role = Literal["segmenter", "nodule", "malignancy"]
ROLES: tuple[Role, ...] = ("segmenter", "nodule", "malignancy")


class CropSpec(BaseModel):
    """The box a classifier looks at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape_zyx: tuple[int, int, int] = Field((32, 48, 48), description="Voxels along z, y, x")
    spacing_zyx_mm: tuple[float, float, float] | None = Field(
        None, description="Resample to this spacing; none: the scan's own voxels, whatever their size"
    )
    border: Literal["shift", "pad"] = Field("shift", description="At the volume's border: move the box inside, or pad with air")


class InputSpec(BaseModel):
    """What a network is fed, so that inference configures itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_hu: tuple[float, float] = Field((-1000.0, 1000.0), description="Hounsfield units are clipped to this range")
    scale: Literal["none", "unit"] = Field("none", description="none: clipped HU as they are; unit: window mapped to 0..1")
    context_slices: int = Field(3, ge=0, description="Segmenter: slices above and below that the network sees")
    views: Literal[1, 2, 4] = Field(
        1, description="Segmenter: mirrored views of a slice (none, up-down, left-right, both); the highest counts"
    )
    crop: CropSpec | None = Field(None, description="Classifiers: the box around a candidate")
    kernel: Literal["sharp", "soft", "any"] = Field("any", description="Reconstruction kernel to prefer among a study's series")


class Blobs(BaseModel):
    """The places in a scan that a filter proposes to a classifier (``tasks.blobs``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shown: int = Field(80, ge=1, le=2000, description="So many of a scan, the clearest")
    odds: float = Field(
        0.25, gt=0, le=1, description="Of a nodule there, against a lump that looks the same: the segmenter did not call it"
    )

    def weighed(self, p: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of looks alone -> of a blob with these looks."""
        return np.asarray(self.odds * p / (self.odds * p + 1 - p))


class Card(BaseModel):
    """A checkpoint's card. ``training`` and ``metrics`` are for people; the rest configures inference."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: Role
    architecture: str = Field(description="Name in the registry of networks")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Arguments of that architecture")
    input: InputSpec
    positive_class: int = Field(1, description="Classifiers: index of the output that means yes")
    threshold: float = Field(0.5, gt=0, lt=1, description="Probability above which this network means yes")
    temperature: float = Field(
        1.0, ge=0.05, le=20, description="Classifiers: logits are divided by this, so that probabilities are shares (Guo, 2017)"
    )
    blobs: Blobs | None = Field(None, description="Nodule classifier: what it is shown beside lumps; none: nothing")
    training: dict[str, Any] = Field(default_factory=dict, description="Data, split, seeds, command, hardware, duration")
    metrics: dict[str, Any] = Field(default_factory=dict, description="What it scored on data it never saw, and how measured")
    licence: str
    source: str = Field("", description="Where it comes from; citation")

    @property
    def blobs_shown(self) -> int:
        return self.blobs.shown if self.blobs else 0


@dataclass(frozen=True)
class Checkpoint:
    """A network's weights (on disk) and card."""

    path: Path  # of the .safetensors
    card: Card

    @cached_property
    def digest(self) -> str:
        """Of the weights' bytes and of what the card says about inference: goes into every key.

        A segmenter's threshold is not in it: it is a parameter of what groups the heat map, which stays the same.
        """
        decides = {"role", "architecture", "arguments", "input", "positive_class"} | (
            {"threshold"} if self.card.role != "segmenter" else set()
        )
        if self.card.temperature != 1:  # 1 changes nothing, and is what cards without one mean
            decides |= {"temperature"}
        if self.card.blobs:
            decides |= {"blobs"}
        about = self.card.model_dump(mode="json", include=decides)
        h = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16)
        h.update(self.path.read_bytes())
        return h.hexdigest()

    def tensors(self) -> dict[str, NDArray[Any]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(self.path)
        except (SafetensorError, OSError, ValueError) as e:
            raise WeightsError(f"the {self.card.role} checkpoint is damaged or cut short; import or build it again") from e


def tempered(p: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities with their logits divided by ``temperature``; NaN stays NaN, 0, 1/2 and 1 stay what they are."""
    probability = np.asarray(p, dtype=np.float64)
    if temperature == 1:
        return probability
    with np.errstate(divide="ignore"):
        logit = np.log(probability) - np.log1p(-probability)
        return np.asarray(1 / (1 + np.exp(-np.clip(logit / temperature, -700, 700))))


def read_checkpoint(folder: Path, role: Role) -> Checkpoint:
    """The checkpoint of ``role`` in a weights set; WeightsError where it is missing or its card does not hold."""
    path, card_path = folder / f"{role}.safetensors", folder / f"{role}.json"
    if not path.is_file() or not card_path.is_file():
        raise WeightsError(f"weights '{folder.name}' have no {role}: see `hounsfield weights list`")
    try:
        card = Card.model_validate_json(card_path.read_bytes())
    except ValidationError as e:
        raise WeightsError(f"the card of {role} in weights '{folder.name}' does not hold: {e.errors()[0]['msg']}") from e
    if card.role != role:
        raise WeightsError(f"the card of {role} in weights '{folder.name}' says it is a {card.role}")
    return Checkpoint(path, card)


def write_checkpoint(folder: Path, card: Card, tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    """Write both files; each appears whole or not at all."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{card.role}.safetensors"
    body = save({k: np.asarray(v, order="C") for k, v in tensors.items()})
    for target, content in ((path, body), (path.with_suffix(".json"), card.model_dump_json(indent=1).encode() + b"\n")):
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_bytes(content)
        temporary.replace(target)
    return Checkpoint(path, card)
