"""Recognise: what a network says of images it is shown: files as they are, of any size and mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError, WeightsError
from artifacts.trained import Trained
from tasks.images.decode import Skip, as_rgb, opened, to_size
from tasks.images.tree import ENDINGS, is_hidden, is_image, shown

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


@dataclass(frozen=True)
class LeftOut:
    name: str
    why: str


def with_checkpoint(trained: Trained) -> Recogniser:
    """A checkpoint of ours: an image is brought to the size of those it was trained on, then fed as in training.

    WeightsError where the card does not say what an image classifier's card says.
    """
    from tasks.images.evaluate import loaded, probabilities
    from tasks.images.train import normaliser_of

    card = trained.card
    try:
        module, normalise = loaded(trained), normaliser_of(card)
        height, width = (int(n) for n in card["input"]["size"])
        classes = tuple(str(name) for name in card["classes"])
        whole = len(classes) == card["arguments"]["classes"]
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise WeightsError("the checkpoint's card does not say how images are fed: export it again") from e
    if not whole:
        raise WeightsError(f"the checkpoint's card names {len(classes)} classes of another number: export it again")

    def ask(image: PIL.Image) -> NDArray[np.float32]:
        pixels = np.moveaxis(np.asarray(to_size(image, (height, width))), -1, 0)
        return probabilities(module, normalise, np.ascontiguousarray(pixels)[None])[0]

    return Recogniser(classes, ask)


def with_model(model: str, state: dict[str, Tensor], weights: Any) -> Recogniser:
    """A torchvision model as published: its ImageNet classes and its own transforms (resize, crop, normalise)."""
    import torch

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


def image_files(paths: Iterable[Path]) -> dict[str, Path]:
    """Files as given, and all images in folders (hidden ones are none), by a name to show. InputError where there is none."""
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError("there is nothing at a given path: give images or folders of images", private=str(path))
        if path.is_dir():
            inside = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if p.is_file()}
            named = {n: p for n, p in inside.items() if is_image(n) and not is_hidden(n)}
        else:
            named = {path.name: path}
        found |= {(name if name not in found else str(p)): p for name, p in named.items()}
    if not found:
        raise InputError(f"there is no image in the given folders ({', '.join(sorted(ENDINGS))})")
    return found


def recognise(recogniser: Recogniser, files: Mapping[str, Path], top: int = 5) -> Iterator[Recognised | LeftOut]:
    """One by one, each by its name."""
    for name, path in files.items():
        try:
            image = as_rgb(opened(path.read_bytes()))
        except (Skip, OSError) as why:
            yield LeftOut(shown(name), str(why) if isinstance(why, Skip) else "cannot be read")
            continue
        p = recogniser.ask(image)
        best = np.argsort(-p, kind="stable")[:top]
        image.thumbnail((SHOWN, SHOWN))
        yield Recognised(shown(name), np.asarray(image), [(recogniser.classes[k], float(p[k])) for k in best])


def picture_of(found: Sequence[Recognised], ending: str = ".png") -> bytes:
    """Each image beside its most probable classes, a bar for each. A JPEG where ``ending`` says so, else a PNG."""
    from artifacts.drawing import jpeg, png
    from artifacts.image_pictures import recognised

    write = jpeg if ending.lower() in (".jpg", ".jpeg") else png
    return write(recognised([(r.image, r.top) for r in found]))
