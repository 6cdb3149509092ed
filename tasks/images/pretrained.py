"""Published weights of a torchvision model: a file at hand, or torchvision's own download."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.errors import UsageError, WeightsError
from tasks.images.subset import nearest

if TYPE_CHECKING:
    from torch import Tensor

DOWNLOAD = "download"


@dataclass(frozen=True)
class PretrainedSource:
    """digest: of the weights; open: name -> tensor."""

    digest: str
    open: Callable[[], dict[str, Tensor]]


def published(model: str) -> Any:
    """torchvision's default weights of ``model``; UsageError with the nearest names where there is none."""
    from torchvision import models

    from tasks.nets.torchvision_nets import classifiers

    if model not in (known := classifiers()):
        raise UsageError(f"torchvision has no classifier '{model}'{nearest(model, known)}")
    return models.get_model_weights(model).DEFAULT  # type: ignore[attr-defined]


def published_as(model: str, path: Path | None) -> Any:
    """Which of the model's published weights the file is, by its checksum: they differ in their transforms. Else the default."""
    from torchvision import models

    default = published(model)
    if path is None or not path.is_file():
        return default
    with path.open("rb") as f:
        checksum = hashlib.file_digest(f, "sha256").hexdigest()
    known: Any = models.get_model_weights(model)
    return next((w for w in known if checksum.startswith(w.url.rpartition("-")[2].partition(".")[0])), default)


def find_pretrained(model: str, given: str, path: Path) -> PretrainedSource:
    """given: ``download``, or anything else for the file at ``path``."""
    if given == DOWNLOAD:
        weights = published(model)
        name = weights.url.rsplit("/", 1)[-1]  # ends with the beginning of its SHA-256
        return PretrainedSource(hashlib.blake2b(name.encode(), digest_size=16).hexdigest(), lambda: downloaded(weights))
    if not path.is_file():
        raise WeightsError("there is no file of weights at the given path", private=str(path))
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return PretrainedSource(digest, lambda: state_of(path))


def downloaded(weights: Any) -> dict[str, Tensor]:
    """From torch's cache, or the net; its checksum is checked. WeightsError says where to put the file."""
    name = weights.url.rsplit("/", 1)[-1]
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except Exception as e:  # URLError, timeout, HTTP error, half a file
        raise WeightsError(
            f"{name} could not be downloaded ({type(e).__name__}): get it from {weights.url} on a machine with a network and "
            f"give the file, or put it into ~/.cache/torch/hub/checkpoints"
        ) from e


def state_of(path: Path) -> dict[str, Tensor]:
    """A safetensors or torch.save file of weights; loads weights only, never code."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        raise WeightsError("the file of weights is damaged, or holds more than weights: it is not loaded") from e
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(hasattr(v, "shape") for v in state.values()):
        raise WeightsError("the file holds no weights by name (a state_dict)")
    return state
