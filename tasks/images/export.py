"""Export: weights, images, features and a normalised copy as files that other programs read; each is read back and compared."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from artifacts.channel_stats import ChannelStats
from artifacts.errors import InputError, StoreError, WeightsError
from artifacts.images import Images, as_hdf5, read_hdf5
from artifacts.trained import Trained

if TYPE_CHECKING:
    from torch import nn

AT_ONCE = 500


def export_weights(trained: Trained, folder: Path) -> list[Path]:
    """``checkpoint.safetensors``, ``checkpoint.pt`` (a state_dict: ``torch.load(…, weights_only=True)``), ``checkpoint.json``."""
    import torch
    from safetensors.numpy import load, save

    tensors = {k: np.asarray(v, order="C") for k, v in trained.tensors.items()}
    buffer = io.BytesIO()
    torch.save({k: torch.from_numpy(v.copy()) for k, v in tensors.items()}, buffer)
    back = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    check({k: v.numpy() for k, v in back.items()}, tensors, "checkpoint.pt")
    body = save(tensors)
    check(load(body), tensors, "checkpoint.safetensors")
    card = json.dumps(trained.card, indent=1).encode()
    named = {"checkpoint.safetensors": body, "checkpoint.pt": buffer.getvalue(), "checkpoint.json": card}
    return [written(folder / name, content) for name, content in named.items()]


def import_weights(path: Path) -> Trained:
    """What ``export_weights`` wrote, from its .safetensors and the card beside it."""
    from safetensors.numpy import load_file

    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        tensors = load_file(path)
        missing = {"architecture", "arguments", "classes", "input", "name"} - card.keys()
    except Exception as e:
        raise WeightsError(
            "the checkpoint cannot be read: give a .safetensors with its .json beside it", private=str(path)
        ) from e
    if missing:
        raise WeightsError(f"the checkpoint's card does not say its {', '.join(sorted(missing))}")
    return Trained(card, tensors)


def export_images(images: Images, path: Path) -> Path:
    """HDF5: uint8 ``<part>_images`` ``[n, channel, y, x]`` and int64 ``<part>_labels``; attribute ``classes``."""
    return hdf5(path, parts_of(images, lambda x: x), images)


def export_normalised(images: Images, stats: ChannelStats, path: Path) -> Path:
    """HDF5: the same with float32 images, normalised by the training images' statistics (attributes ``mean``, ``std``)."""
    import torch

    from tasks.images.normalise import Normaliser

    normalise = Normaliser.of(stats)
    return hdf5(path, parts_of(images, lambda x: normalise(torch.from_numpy(x)).numpy()), images, mean=stats.mean, std=stats.std)


def export_features(images: Images, trained: Trained, path: Path) -> Path:
    """HDF5: float32 ``<part>_features`` ``[n, feature]``, what goes into the network's last layer, and the labels."""
    from tasks.images.evaluate import loaded
    from tasks.images.train import normaliser_of

    module, normalise = loaded(trained), normaliser_of(trained.card)
    arrays = parts_of(images, lambda x: features(module, normalise, x))
    return hdf5(path, {k.replace("_images", "_features"): v for k, v in arrays.items()}, images)


def features(module: nn.Module, normalise: Callable[[Any], Any], images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 ``[n, feature]``: the input of the last linear layer, flat."""
    import torch

    from tasks.nets.torchvision_nets import last_layer

    heard: list[Any] = []
    hook = module.get_submodule(last_layer(module)).register_forward_pre_hook(lambda _, given: heard.append(given[0].flatten(1)))
    try:
        with torch.inference_mode():
            for start in range(0, len(images), AT_ONCE):
                module(normalise(torch.from_numpy(images[start : start + AT_ONCE])))
    finally:
        hook.remove()
    return torch.cat(heard).float().numpy() if heard else np.zeros((0, 0), dtype=np.float32)


def parts_of(images: Images, change: Callable[[NDArray[np.uint8]], NDArray[Any]]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for name, part in images.parts.items():
        if len(part):
            arrays |= {f"{name}_images": change(part.images), f"{name}_labels": part.labels}
    return arrays


def hdf5(path: Path, arrays: Mapping[str, NDArray[Any]], images: Images, **attributes: Any) -> Path:
    written(path, as_hdf5(arrays, {"classes": list(images.classes), "origin": images.origin, **attributes}))
    check(read_hdf5(path), arrays, path.name)
    return path


def check(back: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """InputError where what was written does not read back equal."""
    if back.keys() != arrays.keys() or not all(np.array_equal(back[k], v, equal_nan=True) for k, v in arrays.items()):
        raise InputError(f"{name} did not read back as it was written: is the disk in order?")


def written(path: Path, body: bytes) -> Path:
    """The file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(body)
        temporary.replace(path)
    except OSError as e:
        raise StoreError(f"{path.name} could not be written ({os.strerror(e.errno or 0)}): choose another --out") from e
    finally:
        temporary.unlink(missing_ok=True)
    return path
