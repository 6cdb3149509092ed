"""Decode: the bytes of one image file, or an array of many, to RGB uint8 of one size; what is odd is treated as the rules say."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError

if TYPE_CHECKING:
    from PIL import Image as PIL

OtherSize = Literal["refuse", "resize", "skip"]
OtherMode = Literal["convert", "refuse", "skip"]
MOST_PIXELS, MOST_BYTES = 50_000_000, 64 * 2**20
DEEP = "16-bit colour"
MODES = {"L": "grey", "LA": "grey", "1": "grey", "P": "palette", "RGBA": "RGBA", "I;16": "16-bit grey", "I": "16-bit grey"}


class Skip(Exception):
    """This one image is left out, and why."""


@dataclass(frozen=True)
class Rules:
    """size: rows and columns every image shall have."""

    size: tuple[int, int]
    other_size: OtherSize = "refuse"
    other_mode: OtherMode = "convert"


@dataclass
class Loaded:
    """images uint8 ``[n, 3, y, x]``; kept bool ``[asked]``: which of them came out; notes: what was done or left out."""

    images: NDArray[np.uint8]
    kept: NDArray[np.bool_]
    notes: Counter[str] = field(default_factory=Counter)


def opened(body: bytes) -> PIL.Image:
    """As it was taken, turned upright. Skip where the bytes are no image, a damaged one, or larger than anything honest."""
    from PIL import Image

    if len(body) > MOST_BYTES:
        raise Skip("file too large")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such an image is left out, and told
            image: PIL.Image = Image.open(io.BytesIO(body))
        if image.width * image.height > MOST_PIXELS:
            raise Skip("too many pixels")
        deep = sixteen_bits(image)  # known only until it is loaded
        image.load()
        image = upright(image)
        image.info[DEEP] = deep
    except Skip:
        raise
    except Exception as e:  # decoders of hostile bytes raise anything
        raise Skip("damaged or no image") from e
    return image


def upright(image: PIL.Image) -> PIL.Image:
    """As it was taken: cameras turn a picture by a note in the file (EXIF orientation), not by its pixels."""
    from PIL import ExifTags, ImageOps

    try:
        return image if image.getexif().get(ExifTags.Base.Orientation, 1) == 1 else ImageOps.exif_transpose(image)
    except Exception:  # a note that nobody can read turns nothing
        return image


def sixteen_bits(image: PIL.Image) -> bool:
    """Whether a colour image has 16 bits a channel: Pillow loads the upper eight of them and calls it RGB."""
    raw = [t[3][0] if isinstance(t[3], tuple) and t[3] else t[3] for t in getattr(image, "tile", ())]
    return any(isinstance(mode, str) and mode.startswith("RGB") and ";16" in mode for mode in raw)


def decode(body: bytes, rules: Rules, notes: Counter[str]) -> NDArray[np.uint8]:
    """One file to uint8 ``[3, y, x]``. Skip or InputError where the rules say so; ``notes`` counts what was changed."""
    image = opened(body)
    if image.mode != "RGB" or image.info[DEEP]:
        name = DEEP if image.info[DEEP] else MODES.get(image.mode, image.mode)
        odd(name, "mode", rules.other_mode, notes, "an RGB image of 8 bits")
        image = as_rgb(image)
    if (image.height, image.width) != rules.size:
        is_size, want = f"{image.height} x {image.width}", f"{rules.size[0]} x {rules.size[1]}"
        odd(is_size, "size", rules.other_size, notes, want)
        image = to_size(image, rules.size)
    return np.moveaxis(np.asarray(image), -1, 0)


def to_size(image: PIL.Image, size: tuple[int, int]) -> PIL.Image:
    """The whole of ``image`` in so many rows and columns, bilinear with antialiasing."""
    from PIL import Image

    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def odd(found: str, what: Literal["size", "mode"], rule: str, notes: Counter[str], wanted: str) -> None:
    """Refuse, skip, or go on and count it."""
    if rule == "refuse":
        other = "resize" if what == "size" else "convert"
        raise InputError(
            f"an image is {found}, not {wanted}: allow it with --set read.other_{what}={other}, leave such images out with "
            f"--set read.other_{what}=skip"
        )
    if rule == "skip":
        raise Skip(f"of another {what}")
    notes["resized" if what == "size" else f"converted from {found}"] += 1


def as_rgb(image: PIL.Image) -> PIL.Image:
    """16 bits keep their upper eight; transparency goes; grey is the same in all three channels."""
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8))
    return image.convert("RGB")


def decode_arrays(array: NDArray[Any], rules: Rules, notes: Counter[str]) -> NDArray[np.uint8]:
    """``[n, y, x]`` or ``[n, y, x, channel]`` of uint8 or uint16 to uint8 ``[n, 3, y, x]``. InputError where rules refuse.

    Skip where the rules leave such images out: it is all of them.
    """
    if not len(array):
        return np.zeros((0, 3, *rules.size), dtype=np.uint8)
    channels = array.shape[3] if array.ndim == 4 else 1
    if array.dtype == np.uint16 or channels != 3:
        name = "16-bit" if array.dtype == np.uint16 else {1: "grey", 4: "RGBA"}[channels]
        odd(name, "mode", rules.other_mode, notes, "an RGB image of 8 bits")
        notes[f"converted from {name}"] += len(array) - 1
        array = (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else array
        array = array.reshape(*array.shape[:3], -1)
        array = array[..., :3] if channels > 1 else array.repeat(3, axis=-1)
    if array.shape[1:3] != rules.size:
        odd(f"{array.shape[1]} x {array.shape[2]}", "size", rules.other_size, notes, f"{rules.size[0]} x {rules.size[1]}")
        notes["resized"] += len(array) - 1
        array = resized(array, rules.size)
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def resized(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 ``[n, y, x, 3]`` at another size."""
    from PIL import Image

    return np.stack([np.asarray(to_size(Image.fromarray(i), size)) for i in images])
