"""Phantoms to train on: which seeds, what is in them, and how they enter the line of stages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from artifacts.dataset import Split
from tasks.phantom import NoduleSpec, Phantom, make_phantom
from tasks.phantom.nodules import SUBSOLID
from tasks.phantom.splits import SEEDS
from tasks.phantom.style import Style
from tasks.phantom.varied import VERSION, look_of

FIRST_SEED = {split: seeds.start for split, seeds in SEEDS.items()}
SLICE_MM = (1.0, 1.25, 1.5, 2.0, 2.0, 2.0, 2.5, 3.0)
CHEST_MM = 370.0
NODULES = 24  # of a training phantom
FAINT_HU = (120.0, 220.0)  # above the lung; fainter haze than that looks like none, and teaches to see it where there is none
MIXTURE = 4  # rises when a training phantom holds other kinds of nodules
GRAINY = 30.0  # HU mm: its amplitude times its size
CLASSIC_EVERY = 6  # of so many training phantoms one is a classic one


def seeds(split: Split, n: int) -> range:
    """``n`` seeds of a split: "train", "validation" or "test". Phantoms people ask for have seeds below a million."""
    return SEEDS[split][:n]


def grainy(split: Split, skip: int) -> Iterator[int]:
    """Seeds of a split after its first ``skip``, of varied phantoms whose lungs are full of large grain: there networks call more
    that is no nodule than elsewhere."""
    for seed in SEEDS[split][skip:]:
        look = look_of(seed)
        if seed % CLASSIC_EVERY and look.grain_hu * look.grain_mm >= GRAINY:
            yield seed


def training_phantom(
    seed: int,
    nodules: int = NODULES,
    *,
    style: Style = "classic",
    spacing_zyx: tuple[float, float, float] | None = None,
    mimics: float = 2.0,
    small: bool = False,
) -> Phantom:
    """A phantom with many nodules and mimics; array axes run along z, y, x of the patient (train with flips of your own).

    spacing_zyx: mm; without it drawn from the seed. Classic: 0.6-0.9 mm, slices of 1-3 mm; varied: field of view, slices, kernel
    and dose as varied phantoms have them; nodules: a ``mixture`` of so many. small: coarse, for trying things out.
    """
    rng = np.random.default_rng([0x7EA1, seed])
    dz, dx = float(rng.choice(SLICE_MM)), round(float(rng.uniform(0.6, 0.9)), 3)
    specs = mixture(rng, nodules)
    if style == "classic" and spacing_zyx is None and not small:
        spacing_zyx = (dz, dx, dx)
    shape = None if spacing_zyx is None else tuple(8 * round(CHEST_MM / d / 8) for d in spacing_zyx[1:])
    return make_phantom(
        seed,
        nodules=specs,
        shape_yx=shape,  # type: ignore[arg-type]
        spacing_zyx=spacing_zyx,
        mimics=mimics,
        small=small,
        style=style,
        posed=False,
    )


def mixture(rng: np.random.Generator, nodules: int, least_mm: float = 3.0) -> list[NoduleSpec]:
    """What chance seldom makes and networks easily miss: a third of ``nodules`` small and subsolid, half of those as faint as
    real ground glass can be; a quarter tiny, from ``least_mm``; one in twelve large and on the pleura. The rest by chance."""
    faint = [
        NoduleSpec(float(rng.uniform(5, 13)), kind, contrast_hu=float(rng.uniform(*FAINT_HU)) if k % 4 < 2 else None)
        for k, kind in enumerate(SUBSOLID * (nodules // 6))
    ]
    tiny = [NoduleSpec(float(rng.uniform(least_mm, least_mm + 2.5))) for _ in range(nodules // 4)]
    large = [NoduleSpec(float(rng.uniform(18, 30)), "solid", place="pleural") for _ in range(nodules // 12)]
    made = [*large, *faint, *tiny]
    return [*made, *(NoduleSpec() for _ in range(nodules - len(made)))]


class TrainingSource(Protocol):
    """What patches and crops are cut from: known by its digest, a phantom or like one when it is opened."""

    @property
    def seed(self) -> int: ...
    @property
    def split(self) -> Split: ...
    @property
    def uid(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def phantom(self) -> Phantom: ...
    def open(self) -> TrainingSource: ...


@dataclass(frozen=True)
class PhantomSource:
    """A training phantom as a line takes it: known by its seed, made when it is opened, once."""

    seed: int
    split: Split = "train"
    nodules: int = NODULES
    small: bool = False

    @property
    def style(self) -> Style:
        return "classic" if self.seed % CLASSIC_EVERY == 0 else "varied"

    @property
    def digest(self) -> str:
        text = f"{VERSION} {MIXTURE} {self.style} {self.seed} {self.nodules} {self.small}"
        return hashlib.blake2b(text.encode(), digest_size=16, person=b"phantom").hexdigest()

    @property
    def uid(self) -> str:
        return f"phantom-{self.seed}"

    @cached_property
    def phantom(self) -> Phantom:
        return training_phantom(self.seed, self.nodules, style=self.style, small=self.small)

    def open(self) -> PhantomSource:
        return self
