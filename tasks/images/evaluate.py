"""Evaluate: what a trained network says of the test images, and how often it is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.errors import NotFiniteError, WeightsError
from artifacts.image_scores import ImageScores
from artifacts.images import Images
from artifacts.trained import Trained
from tasks.stage import Compute, Params, Progress, silent, stage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.images.normalise import Normaliser

Views = Literal["none", "flip", "flip-shift"]
AT_ONCE = {"cpu": 500, "cuda": 4000}
SHIFTS = ((0, 0), (-1, -1), (1, 1))


class EvaluateParams(Params):
    """How the test images are looked at."""

    views: Literal["auto", "none", "flip", "flip-shift"] = Field(
        "auto",
        title="Views",
        description="Views averaged: itself, its mirror image, both also moved by a pixel; auto: flip-shift for `fast`",
    )
    part: Literal["test", "validation"] = Field("test", title="Part", description="Which held-out images")


@stage("evaluate", version=1, params=EvaluateParams, gpu=True)
def evaluate(
    images: Images,
    trained: Trained,
    params: EvaluateParams = EvaluateParams(),
    progress: Progress = silent,
    compute: Compute = Compute(),
) -> ImageScores:
    """Class probabilities of every image of ``params.part``, the mean over its views."""
    from tasks.images.train import normaliser_of
    from tasks.nets.network import settle_device

    part = images.parts[params.part]
    if not len(part):
        raise WeightsError(f"there are no {params.part} images: --set read.validation=0.1 holds some out")
    views: Views = ("flip-shift" if trained.card["name"] == "fast" else "none") if params.views == "auto" else params.views
    device = settle_device(compute.device)
    module = loaded(trained).to(device)
    p = probabilities(module, normaliser_of(trained.card).to(device), part.images, views, progress)
    return ImageScores(tuple(images.classes), p, part.labels, views, params.part, str(trained.card["name"]))


def loaded(trained: Trained) -> nn.Module:
    """The network of a checkpoint, in eval mode. WeightsError where its tensors are not its card's."""
    import torch

    from tasks.nets.network import load_strictly
    from tasks.nets.registry import build

    arguments = dict(trained.card["arguments"])
    module = build(trained.card["architecture"], **arguments)
    state = {k: torch.from_numpy(np.array(v)) for k, v in trained.tensors.items()}
    load_strictly(module, state, "image", str(trained.card["architecture"]))
    return module.eval()


def probabilities(
    module: nn.Module,
    normalise: Normaliser,
    images: NDArray[np.uint8],
    views: Views = "none",
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """float32 ``[n, classes]`` of uint8 ``[n, channel, y, x]``; on the device of the module. WeightsError if not finite."""
    import torch

    device = next(module.parameters()).device
    normalise, step, answers = normalise.to(device), AT_ONCE.get(device.type, 500), []
    if normalise.crop:
        step = max(step * 32 * 32 // normalise.crop**2, 1)
    with torch.inference_mode():
        for start in range(0, len(images), step):
            x = normalise(torch.from_numpy(images[start : start + step]).to(device))
            said = [module(view).float().softmax(1) for view in looks(x, views)]
            answers.append(torch.stack(said).mean(0).cpu())
            progress(min(start + step, len(images)) / len(images))
    p = torch.cat(answers).numpy()
    if not np.isfinite(p).all():
        raise NotFiniteError("the network gave a number that is not finite: its weights are damaged; train it again")
    return p


def looks(x: Tensor, views: Views) -> Iterator[Tensor]:
    """The image; its mirror image; both again moved by one pixel towards two corners, borders mirrored."""
    from torch.nn.functional import pad

    h, w = x.shape[-2:]
    for down, right in SHIFTS if views == "flip-shift" else SHIFTS[:1]:
        shown = pad(x, (1, 1, 1, 1), mode="reflect")[..., 1 + down : 1 + down + h, 1 + right : 1 + right + w] if down else x
        yield shown
        if views != "none":
            yield shown.flip(-1)
