"""Turn the published checkpoints of *Deep Learning with PyTorch* into a weights set: safetensors and cards.

Weights alone are read (``torch.load(weights_only=True)``): a file that asks for code to be run is refused, and runs none.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.checkpoint import Card, CropSpec, InputSpec, Role, write_checkpoint
from artifacts.errors import StoreError, UsageError, WeightsError
from tasks.nets.network import load_strictly
from tasks.nets.registry import build

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_BYTES = 64 << 20  # the published files have 0.9 to 1.6 MB
LICENCE = "none stated; for tests and comparisons, not for redistribution"
BOOK = "E. Stevens, L. Antiga, T. Viehmann: Deep Learning with PyTorch (Manning, 2020), part 2"
CROP_ZYX = (32, 48, 48)


@dataclass(frozen=True)
class Published:
    """What is known of one of the published files beside its weights."""

    architecture: str
    arguments: dict[str, Any]
    prefix: str  # of the names of its weights, which ours do not have
    input: InputSpec
    source: str
    training: dict[str, Any]


_LOOK = InputSpec(crop=CropSpec(shape_zyx=CROP_ZYX, spacing_zyx_mm=None, border="shift"))
_LUNA3D = {"in_channels": 1, "conv_channels": 8, "crop_zyx": list(CROP_ZYX), "classes": 2}
PUBLISHED: dict[Role, Published] = {
    "segmenter": Published(
        "unet2d",
        {"in_channels": 7, "classes": 1, "depth": 3, "width": 16},
        "unet.",
        InputSpec(context_slices=3),
        BOOK,
        {"data": "LUNA16", "crops": "64x64 pixels around nodules", "loss": "Dice + 8 x false-negative Dice", "optimizer": "Adam"},
    ),
    "nodule": Published(
        "luna3d",
        _LUNA3D,
        "",
        _LOOK,
        BOOK,
        {"data": "LUNA16", "balance": "1:1", "augmentation": "flip, scale, rotate, noise", "optimizer": "SGD 1e-3"},
    ),
    "malignancy": Published(
        "luna3d",
        _LUNA3D,
        "",
        _LOOK,
        "the book's nodule classifier, its last blocks fine-tuned for malignancy (class 1: malignant)",
        {"data": "LUNA16 with the radiologists' malignancy ratings", "optimizer": "SGD"},
    ),
}


def import_book(name: str, segmenter: Path, nodule: Path, malignancy: Path, into: Path, replace: bool = False) -> None:
    """Write the weights set ``into/name`` from the three ``torch.save`` files: all of it, or nothing.

    WeightsError where a file is not one of weights, is cut short, or belongs to another network; UsageError where the name is
    not made of a-z, 0-9 and dashes, or is taken and ``replace`` is false; StoreError where the set cannot be written.
    """
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise UsageError("a name of weights is made of a-z, 0-9 and dashes, such as book")
    target = into / name
    if target.exists() and not replace:
        raise taken(name)
    files: dict[Role, Path] = {"segmenter": segmenter, "nodule": nodule, "malignancy": malignancy}
    states = {role: _checked(_weights(path, role), role) for role, path in files.items()}
    try:
        _write(target, states)
    except OSError as e:
        raise StoreError(f"weights '{name}' could not be written ({e.strerror or type(e).__name__})", private=str(into)) from e


def taken(name: str) -> UsageError:
    return UsageError(f"weights '{name}' exist already: choose another name, or say --replace")


def _weights(path: Path, role: Role) -> dict[str, Tensor]:
    """The ``model_state`` of a ``torch.save`` file."""
    import torch

    try:
        if path.exists() and not path.is_file():
            raise WeightsError(f"what you give as {role} is no plain file: give the published checkpoint", private=str(path))
        if path.stat().st_size > LARGEST_BYTES:
            raise WeightsError(f"the {role} file has more than {LARGEST_BYTES >> 20} MB: it is not the published checkpoint")
        with warnings.catch_warnings(action="ignore"):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except FileNotFoundError as e:
        raise WeightsError(f"there is no {role} file where you say", private=str(path)) from e
    except Exception:  # a malformed or hostile file may fail in any way; none of them runs its code
        raise WeightsError(
            f"the {role} file is not a checkpoint of weights alone: it is damaged, cut short, or asks to run code; "
            "nothing was run or written; get the published file again",
            private=str(path),
        ) from None
    state = saved.get("model_state") if isinstance(saved, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"the {role} file has no 'model_state' of weights: give the published checkpoint", private=str(path))
    return state


def _checked(state: dict[str, Tensor], role: Role) -> dict[str, Tensor]:
    """The weights under our names; WeightsError unless they are that network's, finite and complete."""
    import torch

    known = PUBLISHED[role]
    state = {str(k).removeprefix(known.prefix): v for k, v in state.items()}
    load_strictly(build(known.architecture, **known.arguments), state, role, known.architecture)
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"the {role} file holds numbers that are not finite ({key}): get the published file again")
    return state


def _write(target: Path, states: dict[Role, dict[str, Tensor]]) -> None:
    """Into a folder beside ``target``, which then takes its place whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        fresh, old = Path(temporary, "new"), Path(temporary, "old")
        for role, state in states.items():
            known = PUBLISHED[role]
            card = Card(
                name=target.name,
                role=role,
                architecture=known.architecture,
                arguments=known.arguments,
                input=known.input,
                training=known.training,
                licence=LICENCE,
                source=known.source,
            )
            write_checkpoint(fresh, card, {k: v.numpy() for k, v in state.items()})
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(fresh, target)
        except OSError:
            if old.exists():
                os.rename(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)
