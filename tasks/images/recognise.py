"""Recognise: what a network says of images it is shown: files as they are, of any size and mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError
from artifacts.trained import Trained
from tasks.images.decode import Skip, as_rgb, opened
from tasks.images.tree import ENDINGS

if TYPE_CHECKING:
    from PIL import Image as PIL
    from torch import Tensor

SHOWN = 160  # pixels of an image in the picture


@dataclass(frozen=True)
class Recogniser:
    """classes: names. ask: an RGB image -> float32 ``[class]`` probabilities."""

    classes: tuple[str, ...]
    ask: Callable[[PIL.Image], NDArray[np.float32]]


@dataclass(frozen=True)
class Recognised:
    """image: uint8 ``[y, x, 3]``, small; top: (class, probability), the most probable first."""

    name: str
    image: NDArray[np.uint8]
    top: list[tuple[str, float]]


def with_checkpoint(trained: Trained) -> Recogniser:
    """A checkpoint of ours: an image is brought to the size of those it was trained on, then fed as in training."""
    from tasks.images.evaluate import loaded, probabilities
    from tasks.images.train import normaliser_of

    module, normalise = loaded(trained), normaliser_of(trained.card)
    height, width = trained.card["input"]["size"]

    def ask(image: PIL.Image) -> NDArray[np.float32]:
        pixels = np.moveaxis(np.asarray(fitted(image, height, width)), -1, 0)
        return probabilities(module, normalise, np.ascontiguousarray(pixels)[None])[0]

    return Recogniser(tuple(trained.card["classes"]), ask)


def with_model(model: str, state: dict[str, Tensor], weights: Any) -> Recogniser:
    """A torchvision model as published: its ImageNet classes and its own transforms (resize, crop, normalise)."""
    import torch

    from artifacts.errors import WeightsError
    from tasks.nets.torchvision_nets import bare, load_published

    preprocess = weights.transforms()
    module = bare(model, (preprocess.crop_size[0],) * 2)
    try:
        load_published(module, state)
    except ValueError as e:
        raise WeightsError(f"these weights are not those of {model}: {e}") from e
    module.eval()

    def ask(image: PIL.Image) -> NDArray[np.float32]:
        with torch.inference_mode():
            return module(preprocess(image).unsqueeze(0)).float().softmax(1)[0].numpy()

    return Recogniser(tuple(weights.meta["categories"]), ask)


def fitted(image: PIL.Image, height: int, width: int) -> PIL.Image:
    """The middle of ``image`` at that size, as much of it as the shape allows."""
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Files as given, and all images in folders. InputError where there is none."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError("there is nothing at a given path: give images or folders of images", private=str(path))
        inside = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in ENDINGS) if path.is_dir() else [path]
        found += inside
    if not found:
        raise InputError(f"there is no image in the given folders ({', '.join(sorted(ENDINGS))})")
    return found


def recognise(recogniser: Recogniser, paths: Sequence[Path], top: int = 5) -> Iterator[Recognised | Path]:
    """One by one; the path itself where a file is no image or damaged."""
    for path in paths:
        try:
            image = as_rgb(upright(opened(path.read_bytes())))
        except (Skip, OSError):
            yield path
            continue
        p = recogniser.ask(image)
        best = np.argsort(-p, kind="stable")[:top]
        image.thumbnail((SHOWN, SHOWN))
        yield Recognised(path.name, np.asarray(image), [(recogniser.classes[k], float(p[k])) for k in best])


def upright(image: PIL.Image) -> PIL.Image:
    """As it was taken: cameras turn a picture by a note in the file (EXIF orientation), not by its pixels."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a note that nobody can read turns nothing
        return image


def picture_of(found: Sequence[Recognised], ending: str = ".png") -> bytes:
    """Each image beside its most probable classes, a bar for each. A JPEG where ``ending`` says so, else a PNG."""
    from artifacts.drawing import jpeg, png
    from artifacts.image_pictures import recognised

    write = jpeg if ending.lower() in (".jpg", ".jpeg") else png
    return write(recognised([(r.image, r.top) for r in found]))
