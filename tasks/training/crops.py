"""What the two classifiers' training stages share: crops of several scans as one pile, their network and their card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.checkpoint import Blobs, Card, CropSpec, InputSpec, Role
from artifacts.errors import TrainingError
from artifacts.examples import ORIGINS, Examples
from tasks.training.losses import ClassificationLoss
from tasks.training.parts import TrainParams, check_scale, spread
from tasks.training.pile import Pile
from tasks.training.scoring import CropScore

COLUMNS = ("label", "malignant", "origin", "diameter_mm", "rating", "risk")
MINED, BLOB = ORIGINS.index("mined"), ORIGINS.index("blob")


class ClassifierParams(TrainParams):
    """How a classifier of crops is trained."""

    architecture: str = Field("resnet3d", title="Network", description="resnet3d, luna3d, monai-densenet121 or monai-resnet10")
    crop_zyx: tuple[int, int, int] = Field((32, 32, 32), title="Crop", description="Voxels the network sees along z, y, x")
    loss: ClassificationLoss = Field(
        "cross-entropy", title="Loss", description="cross-entropy, or focal: hard examples count more"
    )
    smooth: float = Field(
        0.02, ge=0, le=0.5, title="Smoothing", description="Share of each target that is moved towards one half"
    )


Params_ = TypeVar("Params_", bound=ClassifierParams)


@dataclass
class Table:
    """Crops of several scans with the columns of ``Examples``."""

    hu: Pile
    columns: dict[str, NDArray[Any]]
    spec: CropSpec

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            return self.__dict__["columns"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def captions(self) -> list[str]:
        return [f"{ORIGINS[o]} {d:.0f} mm" if d > 0 else ORIGINS[o] for o, d in zip(self.origin, self.diameter_mm, strict=True)]


def gathered(
    parts: Sequence[Examples],
    wanted: Callable[[Examples], NDArray[np.bool_]],
    most: int | None = None,
    in_memory: bool | None = None,
    what: str = "a crop",
) -> Table:
    """The ``wanted`` crops of several scans, at most ``most``, evenly over all. ``what`` they are, for the error of none.

    TrainingError where there is none, or where they are not all cut alike.
    """
    for part in parts:
        check_alike(parts[0].spec, part.spec)
    rows = [np.flatnonzero(wanted(p)) for p in parts]
    if not sum(map(len, rows)):
        raise TrainingError(f"there is nothing to train on: of {len(parts)} scans none has {what}")
    if most:
        kept = set(spread(sum(map(len, rows)), most))
        ends = np.cumsum([0, *map(len, rows)])
        rows = [
            np.array([r for k, r in enumerate(row) if start + k in kept], np.intp) for start, row in zip(ends, rows, strict=False)
        ]
    columns = {c: np.concatenate([getattr(p, c)[r] for p, r in zip(parts, rows, strict=True)]) for c in COLUMNS}
    return Table(Pile([p.hu for p in parts], rows, in_memory=in_memory), columns, parts[0].spec)


def input_of(spec: CropSpec, params: ClassifierParams) -> InputSpec:
    """The card's input: the examples' spacing and border, the network's own size."""
    if any(have < want for have, want in zip(spec.shape_zyx, params.crop_zyx, strict=True)):
        raise TrainingError(f"the crops have {spec.shape_zyx} voxels, the network wants {params.crop_zyx}: cut larger ones")
    return InputSpec(window_hu=params.window_hu, crop=spec.model_copy(update={"shape_zyx": params.crop_zyx}))


def as_in(params: Params_, card: Mapping[str, Any], spec: CropSpec) -> Params_:
    """The network and input of the classifier that a training on crops of ``spec`` starts from.

    TrainingError where that one looks at voxels of another size, or at crops larger than these.
    """
    crop, known = card["input"]["crop"], ("in_channels", "classes", "crop_zyx")
    if crop:
        check_crops(str(card["name"]), CropSpec.model_validate(crop), spec)
    check_scale(card)
    return params.model_copy(
        update={
            "architecture": card["architecture"],
            "arguments": {k: v for k, v in card["arguments"].items() if k not in known} | params.arguments,
            "window_hu": tuple(card["input"]["window_hu"]),
            "crop_zyx": tuple(crop["shape_zyx"]) if crop else params.crop_zyx,
        }
    )


def check_crops(name: str, own: CropSpec, spec: CropSpec) -> None:
    """TrainingError says how the scans would have to be cut for the network ``name``, whose card asks for ``own``."""
    want, have = (s.spacing_zyx_mm for s in (own, spec))
    same = want == have or (want is not None and have is not None and np.allclose(want, have, rtol=1e-3))
    if not same or any(h < w for h, w in zip(spec.shape_zyx, own.shape_zyx, strict=True)):
        raise TrainingError(
            f"'{name}', which training would start from, looks at crops of {in_words(own)}, these are {in_words(spec)}: cut them "
            f"so (--set 'cut.spec={own.model_dump_json()}'), or start from another one"
        )


def check_alike(one: CropSpec, other: CropSpec) -> None:
    """TrainingError where crops that are looked at together differ in what a voxel or a crop is."""
    if one != other:
        raise TrainingError(
            f"the crops are not all cut alike: there are {in_words(one)}, border {one.border}, and {in_words(other)}, border "
            f"{other.border}: give cut.spec and mine.spec the same"
        )


def in_words(spec: CropSpec) -> str:
    """``32x32x32 voxels of 1 x 1 x 1 mm``"""
    mm = "as the scan has them" if spec.spacing_zyx_mm is None else f"of {' x '.join(f'{s:g}' for s in spec.spacing_zyx_mm)} mm"
    return f"{'x'.join(map(str, spec.shape_zyx))} voxels {mm}"


def arguments_of(params: ClassifierParams) -> dict[str, Any]:
    own = {"crop_zyx": list(params.crop_zyx)} if params.architecture == "luna3d" else {}
    return {"in_channels": 1, "classes": 2, **own, **params.arguments}


def score_of(seen: Table, table: Table, truth: NDArray[np.bool_], spec: InputSpec, params: ClassifierParams) -> CropScore:
    """Of what is ``seen``; trained is on ``table``."""
    check_alike(table.spec, seen.spec)
    return CropScore(seen.hu, truth, spec, params.crop_zyx, seen.captions)


def card_of(
    role: Role,
    params: ClassifierParams,
    arguments: dict[str, Any],
    spec: InputSpec,
    training: dict[str, Any],
    blobs: Blobs | None = None,
) -> Card:
    return Card(
        name=params.name,
        role=role,
        architecture=params.architecture,
        arguments=arguments,
        input=spec,
        blobs=blobs,
        training=training,
        licence=params.licence,
        source=f"Trained by train-{role} of Hounsfield",
    )
