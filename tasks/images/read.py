"""Read: an image set from wherever it lies to one artifact: some or all classes, some or all of each, split by a seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from artifacts.errors import InputError
from artifacts.images import HeldOutImages, Images, Layout, TrainingImages
from tasks.images.decode import Loaded, OtherMode, OtherSize, Rules
from tasks.images.records import Indices, Records, of_links
from tasks.images.subset import choose_classes, of_classes, stratified
from tasks.stage import Params, Progress, silent, stage


class ReadParams(Params):
    """Which images, and what becomes of odd ones."""

    classes: tuple[str, ...] = Field((), title="Classes", description="Only these, labelled in this order; none: all")
    fraction: float = Field(1.0, gt=0, le=1, title="Fraction", description="Share of every class to take, drawn by the seed")
    validation: float = Field(
        0.0, ge=0, le=0.9, title="Validation", description="Share of the training images held out to choose by; 0: none"
    )
    test_share: float = Field(
        0.2, gt=0, lt=1, title="Test share", description="Share drawn as the test set where the source has none of its own"
    )
    seed: int = Field(0, ge=0, lt=2**31, title="Seed", description="Which images a fraction or a split takes follows from it")
    size: int = Field(0, ge=0, le=1024, title="Size", description="Rows and columns of every image; 0: those of the first")
    other_size: OtherSize | None = Field(
        None,
        title="Other size",
        description="What becomes of an image of another size; not said: refuse, or resize where a size is given",
    )
    other_mode: OtherMode = Field(
        "convert", title="Other mode", description="What becomes of a grey, RGBA, palette or 16-bit image: RGB is wanted"
    )
    layout: Layout = Field("hdf5", title="Layout", description="How the artifact lies on disk")

    @field_validator("classes", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = tuple(v.strip() for v in value.split(",") if v.strip())
        if value.strip() and not names:
            raise ValueError("it names no class: bird,airplane")
        return names


@dataclass
class Chosen:
    """part -> which images of which source part, with their new labels."""

    train: tuple[str, Indices, Indices]
    validation: tuple[str, Indices, Indices]
    test: tuple[str, Indices, Indices]
    classes: tuple[str, ...] = field(default=())


@stage("read", version=2, params=ReadParams)
def read(source: Records, params: ReadParams = ReadParams(), progress: Progress = silent) -> Images:
    """Every image asked for as uint8 ``N x C x H x W`` with its label; damaged files are left out and counted."""
    chosen = choose(source, params)
    size = (params.size, params.size) if params.size else source.size()
    rules = Rules(size, params.other_size or ("resize" if params.size else "refuse"), params.other_mode)
    parts = {name: getattr(chosen, name) for name in ("train", "validation", "test")}
    total, done, notes = sum(len(p[1]) for p in parts.values()), 0, Counter(source.notes)
    labelled: dict[str, tuple[Any, Any]] = {}
    for name, (origin, indices, labels) in parts.items():
        share, start = len(indices) / max(total, 1), done / max(total, 1)
        try:
            loaded = source.load(origin, indices, rules, lambda s, a=start, b=share: progress(a + s * b))  # type: ignore[misc]
        except MemoryError as e:
            much = f"{len(indices):,} {name} images of {size[0]} x {size[1]} pixels"
            raise InputError(f"{much} do not fit into memory: --set read.fraction=0.1, or a smaller read.size") from e
        done += len(indices)
        notes += loaded.notes
        labelled[name] = (loaded.images, labels[loaded.kept])
        check_classes(name, loaded, labels, chosen.classes)
    return Images(
        TrainingImages(*labelled["train"]),
        HeldOutImages(*labelled["test"]),
        chosen.classes,
        HeldOutImages(*labelled["validation"]),
        source.origin,
        dict(notes),
        params.layout,
    )


def choose(source: Records, params: ReadParams) -> Chosen:
    """Classes first, then the fraction of each, then what is held out: test only where the source has none of its own."""
    wanted = choose_classes(source.classes, params.classes)
    names = tuple(source.classes[k] for k in wanted)
    check_sources(source, names, wanted)
    at, new = {}, {}
    for part, labels in source.labels.items():
        kept, relabelled = of_classes(labels, wanted)
        some, _ = stratified(relabelled, params.fraction, params.seed)
        at[part], new[part] = kept[some], relabelled[some]
    if not len(at["test"]):
        test, train = stratified(new["train"], params.test_share, params.seed + 1)
        at["test"], new["test"] = at["train"][test], new["train"][test]
        at["train"], new["train"] = at["train"][train], new["train"][train]
        test_from: Literal["train", "test"] = "train"
    else:
        test_from = "test"
    validation = ("validation", at["validation"], new["validation"])
    if params.validation and not len(at["validation"]):
        held, rest = stratified(new["train"], params.validation, params.seed + 2)
        validation = ("train", at["train"][held], new["train"][held])
        at["train"], new["train"] = at["train"][rest], new["train"][rest]
    return Chosen(("train", at["train"], new["train"]), validation, (test_from, at["test"], new["test"]), names)


def check_sources(source: Records, names: tuple[str, ...], wanted: list[int]) -> None:
    for part in ("train", "test"):
        counts = np.bincount(source.labels[part], minlength=len(source.classes))
        if counts.sum() and (empty := [n for n, k in zip(names, wanted, strict=True) if not counts[k]]):
            raise InputError(
                f"no {part} images of the class {few(empty)}: add some, or leave it out with --classes{of_links(source.notes)}"
            )
    if not len(source.labels["train"]):
        raise InputError("there are no training images")
    if len(names) < 2:
        raise InputError(
            f"there is one class alone, {names[0]}: it has nothing to be told apart from; give images of another one"
        )


def check_classes(part: str, loaded: Loaded, labels: Indices, classes: tuple[str, ...]) -> None:
    """A class all of whose images were left out is gone: said, not trained around."""
    asked, left = (np.bincount(v, minlength=len(classes)) for v in (labels, labels[loaded.kept]))
    gone = [name for name, a, b in zip(classes, asked, left, strict=True) if a and not b]
    if gone:
        why = ", ".join(f"{n} {w}" for w, n in loaded.notes.items())
        raise InputError(f"no {part} images are left of the class {few(gone)} ({why})")
    if part == "train" and (missing := [n for n, b in zip(classes, left, strict=True) if not b]):
        raise InputError(
            f"too few images of the class {few(missing)} to train on some and hold out others: add some, take a larger fraction, "
            "or leave it out with --classes"
        )


def few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
