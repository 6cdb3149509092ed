"""Train: images and their statistics to a network that tells their classes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from artifacts.channel_stats import ChannelStats
from artifacts.errors import UsageError, WeightsError
from artifacts.images import HeldOutImages, Images
from artifacts.trained import Trained
from tasks.images.recipes import TrainParams
from tasks.stage import Compute, Progress, Tell, silent, stage, unheard

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.images.feed import Feed
    from tasks.images.normalise import Normaliser

WATCHED = 2000  # held-out images judged after each epoch where there is no validation part


@stage("train", version=2, params=TrainParams, gpu=True)
def train(
    images: Images,
    stats: ChannelStats,
    params: TrainParams = TrainParams(),
    pretrained: Any = None,
    progress: Progress = silent,
    tell: Tell = unheard,
    workspace: Path | None = None,
    compute: Compute = Compute(),
) -> Trained:
    """Train ``params.network`` on ``images.train``. pretrained: weights by name to start from (torchvision).

    With a validation part the best epoch by it is kept, else the last one. Without one, some of the test images are judged after
    each epoch for the curves: they are shown and choose nothing.
    """
    from tasks.nets.network import settle_device
    from tasks.training.loop import fit, seed_everything

    seed_everything(params.seed)
    device = settle_device(compute.device)
    card = card_of(images, stats, params)
    module, normalise = network_of(card, pretrained), normaliser_of(card)
    feed = feed_of(images, normalise, params, device)
    if hasattr(module, "look_at"):
        look(module, normalise.cpu()(feed_sample(images)))
    normalise.to(device)
    chosen_by, held_out = held_out_of(images)
    rows = fit(
        module,
        feed,
        loss_for(params),
        params.loop().model_copy(update={"compile": params.compile or (params.network == "fast" and device.type == "cuda")}),
        steps_an_epoch=feed.steps,
        compute=compute,
        validate=lambda m: judged(m, normalise, held_out, chosen_by),
        monitor="validation_accuracy",
        higher_is_better=True,
        workspace=workspace,
        optimizers=optimizers_for(params, feed.batch_size),
        progress=progress,
    )
    import lightning_fabric  # noqa: F401  (its import takes seconds, which are no training)

    started, history = time.perf_counter(), []
    try:
        for row in rows:
            history.append(row)
            tell(row)
    except ValueError as e:
        if "more than 1 value per channel" not in str(e):
            raise
        raise UsageError("one image a batch is too few for this network's norms: --set train.batch_size=2 or more") from e
    card["training"]["seconds"] = round(time.perf_counter() - started, 2)
    card["training"]["device"] = device_name(device)
    tensors = {k: v.detach().cpu().numpy() for k, v in module.state_dict().items()}
    confusion = confusion_of(module, normaliser_of(card), images) if len(images.validation) else np.zeros((0, 0), np.int64)
    return Trained(card, tensors, history, list(images.classes) if len(images.validation) else [], confusion)


def card_of(images: Images, stats: ChannelStats, params: TrainParams) -> dict[str, Any]:
    """What is needed to build the network again, feed it and read its answer; what it was trained on and how."""
    channels, height, width = images.shape
    wanted: dict[str, Any] = {"channels": channels, "mean": stats.mean.tolist(), "std": stats.std.tolist()}
    arguments: dict[str, Any] = {"classes": len(images.classes), "channels": channels, "size": [height, width]}
    architecture = params.network
    from tasks.nets.registry import image_networks

    if params.network not in image_networks() or params.network == "torchvision":
        from tasks.nets.torchvision_nets import preprocessing

        wanted |= preprocessing(params.network)
        if params.input_size:
            wanted |= {"resize": params.input_size, "crop": params.input_size}
        arguments |= {"model": params.network, "size": [wanted["crop"], wanted["crop"]], "frozen": params.frozen}
        architecture = "torchvision"
    elif params.frozen or params.input_size:
        raise UsageError(f"frozen and input_size are for torchvision's networks: {params.network} is none")
    return {
        "name": params.network,
        "architecture": architecture,
        "arguments": arguments,
        "classes": list(images.classes),
        "input": wanted | {"size": [height, width]},
        "training": {"images": len(images.train), "data": images.origin, "params": params.model_dump(mode="json")},
        "licence": "that of the images it was trained on",
    }


def network_of(card: Mapping[str, Any], pretrained: dict[str, Tensor] | None = None) -> nn.Module:
    """Fresh weights, or ``pretrained`` ones below a fresh head. WeightsError where they are another model's."""
    import torch

    from tasks.nets.registry import build

    try:
        module = build(card["architecture"], **card["arguments"])
    except WeightsError as e:  # there are no weights yet: what was asked for does not fit the images
        raise UsageError(str(e)) from e
    if pretrained is not None:
        if not hasattr(module, "adopt"):
            raise UsageError(f"published weights are for torchvision's networks: {card['name']} is none")
        try:
            adopt(module, pretrained)
        except ValueError as e:
            raise WeightsError(f"these weights are not those of {card['name']}: {e}") from e
    elif card["arguments"].get("frozen"):
        raise UsageError("a frozen network needs weights to freeze: --pretrained download, or a file of published weights")
    for child in module.modules():
        if isinstance(child, torch.nn.Conv2d):
            child.to(memory_format=torch.channels_last)
    check_sees(module, card)
    return module


def check_sees(module: nn.Module, card: Mapping[str, Any]) -> None:
    """UsageError where a network of torchvision cannot take images of the size that it will be given."""
    import torch

    if card["architecture"] != "torchvision":
        return  # ours were refused when they were built
    size = card["arguments"]["size"]
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, 3, *size))
    except (RuntimeError, ValueError, AssertionError) as e:
        raise UsageError(
            f"{card['name']} cannot see images of {size[0]} x {size[1]}: --set train.input_size=0 or a larger one"
        ) from e


def adopt(module: Any, pretrained: dict[str, Tensor]) -> None:
    module.adopt(pretrained)


def normaliser_of(card: Mapping[str, Any]) -> Normaliser:
    from tasks.images.normalise import Normaliser

    return Normaliser.from_card(card["input"])


def feed_of(images: Images, normalise: Normaliser, params: TrainParams, device: Any) -> Feed:
    from tasks.images.fast import on_the_device
    from tasks.images.feed import Feed

    feed = Feed.of(
        images.train,
        normalise,
        device,
        params.batch_size or 128,
        flip=params.flip or "none",
        shift=min(params.shift or 0, min(images.shape[1:]) - 1),
        seed=params.seed,
    )
    if params.network == "fast":
        feed.images, feed.normalise = on_the_device(feed.images, normalise, device)
    return feed


def look(module: Any, images: Tensor) -> None:
    """Let the network take from the training images what it does not learn."""
    module.look_at(images)


def feed_sample(images: Images) -> Tensor:
    import torch

    from tasks.images.fast import LOOKED_AT

    count = len(images.train)
    chosen = np.random.default_rng(0).permutation(count)[:LOOKED_AT]
    return torch.from_numpy(images.train.images[np.sort(chosen)])


def loss_for(params: TrainParams) -> Callable[[Tensor, Tensor], Tensor]:
    from tasks.images.losses import loss_of

    return loss_of(params.loss, params.label_smoothing or 0.0)


def optimizers_for(params: TrainParams, batch: int) -> Callable[[nn.Module], list[Any]] | None:
    """None: the loop's own choice."""
    if params.optimizer != "muon":
        return None
    if params.network == "fast":
        from tasks.images.fast import optimizers_of

        return optimizers_of(params, batch)
    return lambda module: muon_and_adamw(module, params)


def muon_and_adamw(module: nn.Module, params: TrainParams) -> list[Any]:
    """Filters and matrices by Muon, all else (and what gives the logits) by AdamW at a tenth of its rate."""
    import torch

    from tasks.training.muon import Muon

    rate, decay = float(params.learning_rate or 0.02), float(params.weight_decay or 0.0)
    learns = [p for p in module.parameters() if p.requires_grad]
    turned = [p for p in learns if p.ndim >= 2][:-1]
    rest = [p for p in learns if not any(p is t for t in turned)]
    made: list[Any] = [Muon(turned, lr=rate, weight_decay=decay)] if turned else []
    return [*made, torch.optim.AdamW(rest, lr=rate / 10, weight_decay=decay)]


def held_out_of(images: Images) -> tuple[str, HeldOutImages]:
    if len(images.validation):
        return "validation", images.validation
    some = np.sort(np.random.default_rng(0).permutation(len(images.test))[:WATCHED])
    return "test", HeldOutImages(images.test.images[some], images.test.labels[some])


def judged(module: nn.Module, normalise: Normaliser, part: HeldOutImages, name: str) -> dict[str, float]:
    """Loss and accuracy on a held-out part."""
    from artifacts.image_scores import log_loss
    from tasks.images.evaluate import probabilities

    if not len(part):
        return {}
    p = probabilities(module, normalise, part.images)
    right = p[np.arange(len(p)), part.labels]
    return {
        f"{name}_loss": log_loss(right),
        f"{name}_accuracy": float((p.argmax(1) == part.labels).mean()),
    }


def confusion_of(module: nn.Module, normalise: Normaliser, images: Images) -> NDArray[np.int64]:
    from artifacts.image_scores import confusion
    from tasks.images.evaluate import probabilities

    called = probabilities(module, normalise, images.validation.images).argmax(1)
    return confusion(images.validation.labels, called, len(images.classes))


def device_name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
