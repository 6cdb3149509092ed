"""Records: an image set as its source has it, labels first, pixels when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError
from tasks.images.decode import Loaded, Rules, Skip, decode_arrays
from tasks.stage import Progress

Indices = NDArray[np.int64]
LINKS = "links (not followed)"  # a note of a source


def of_links(notes: Mapping[str, int]) -> str:
    """What an error about missing images says where links may stand for them; nothing where there are none."""
    return f"; {notes[LINKS]} links are not followed: copy what they show" if notes.get(LINKS) else ""


class Records(Protocol):
    """origin: what kind of source it is. labels: part (train, validation, test) -> int64 ``[n]``, index into ``classes``."""

    @property
    def origin(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> Mapping[str, Indices]: ...
    @property
    def notes(self) -> Mapping[str, int]: ...

    def size(self) -> tuple[int, int]:
        """Rows and columns of the first training image."""
        ...

    def load(self, part: str, indices: Indices, rules: Rules, progress: Progress) -> Loaded:
        """The pixels of some images of a part, in the order of ``indices``."""
        ...


@dataclass(frozen=True)
class ArrayRecords:
    """arrays: part -> ``[n, y, x(, channel)]`` in memory."""

    origin: str
    classes: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]
    labels: Mapping[str, Indices]
    notes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, array in self.arrays.items():
            check_form(array, part)
        for part, labels in self.labels.items():
            check_labels(labels, len(self.classes), part)
            if len(labels) != len(self.arrays[part]):
                raise InputError(f"the {part} part has {len(self.arrays[part])} images and {len(labels)} labels")

    def size(self) -> tuple[int, int]:
        h, w = self.arrays["train"].shape[1:3]
        return h, w

    def load(self, part: str, indices: Indices, rules: Rules, progress: Progress) -> Loaded:
        notes: Counter[str] = Counter()
        try:
            images = decode_arrays(self.arrays[part][indices], rules, notes)
        except Skip as why:
            empty = np.zeros((0, 3, *rules.size), dtype=np.uint8)
            return Loaded(empty, np.zeros(len(indices), dtype=bool), Counter({str(why): len(indices)}))
        return Loaded(images, np.ones(len(indices), dtype=bool), notes)


def check_form(images: NDArray[Any], part: str) -> None:
    """InputError where an array is not ``[n, y, x]`` or ``[n, y, x, channel]`` of uint8 or uint16."""
    known = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3, 4))
    if not (known and min(images.shape[1:]) > 0 and images.dtype in (np.uint8, np.uint16)):
        form = f"{'x'.join(map(str, images.shape)) or 'a single number'} of {images.dtype}"
        raise InputError(
            f"{part}_images are N x H x W x 3 (or N x 3 x H x W) of uint8, not {form}: images that lie flat are reshaped first, "
            "CIFAR's by .reshape(-1, 3, 32, 32)"
        )


def check_labels(labels: Indices, classes: int, part: str) -> None:
    """InputError names the first label that no class has."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise InputError(
            f"{wrong.size} {part} labels are outside the range 0..{classes - 1}, the first is {int(labels[wrong[0]])} "
            f"(of image {int(wrong[0])}): correct the labels, or give a name for every class"
        )
