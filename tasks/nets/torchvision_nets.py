"""Any classifier of torchvision by its name, with its own weights and preprocessing where they are at hand, and a new head."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tasks.nets.registry import network

GOOGLES = ("googlenet", "inception_v3")
OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")  # in the published weights of the densenets


def classifiers() -> list[str]:
    """Names of torchvision's image classifiers."""
    from torchvision import models

    return models.list_models(module=models)


@network("torchvision", takes="images")
class TorchvisionNet(nn.Module):
    """``net`` is the model; its last linear layer (or 1x1 convolution) is new, for ``classes``. Out: logits ``N x classes``.

    frozen: only the head learns, and the norms of the rest keep the statistics they came with.
    """

    def __init__(
        self,
        model: str = "resnet18",
        classes: int = 10,
        channels: int = 3,
        size: Sequence[int] = (224, 224),
        frozen: bool = False,
    ):
        super().__init__()
        if channels != 3:
            raise ValueError("torchvision's models take three channels")
        self.net = bare(model, size, **({"aux_logits": False, "init_weights": True} if model in GOOGLES else {}))
        self.frozen, self.classes = frozen, classes
        self.head = last_layer(self.net)
        self.replace_head()

    def replace_head(self) -> None:
        old = self.net.get_submodule(self.head)
        parent, _, name = self.head.rpartition(".")
        new: nn.Module
        if isinstance(old, nn.Linear):
            new = nn.Linear(old.in_features, self.classes)
        else:
            new = nn.Conv2d(old.in_channels, self.classes, old.kernel_size)  # type: ignore[arg-type, union-attr]
        setattr(self.net.get_submodule(parent) if parent else self.net, name, new)
        if self.frozen:
            self.net.requires_grad_(False)
            new.requires_grad_(True)

    def adopt(self, state: dict[str, Tensor]) -> None:
        """Take over published weights, all but the head's. ValueError where they are another model's."""
        load_published(self.net, state, besides=(f"{self.head}.", "aux", "AuxLogits"))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(with_versions(state_dict, self), strict, assign)

    def train(self, mode: bool = True) -> TorchvisionNet:
        super().train(mode)
        if self.frozen:
            self.net.eval()
            self.net.get_submodule(self.head).train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def bare(model: str, size: Sequence[int], **more: Any) -> nn.Module:
    """The model without weights, as torchvision builds it for its published ones, for images of ``size``."""
    from torchvision import models

    if model.startswith("vit_"):
        more["image_size"] = size[0]
    elif model.startswith("maxvit"):
        more["input_size"] = tuple(size)
    elif model in GOOGLES:
        more = {"init_weights": False, **more, "transform_input": True}  # theirs saw images that were normalised otherwise
    return models.get_model(model, weights=None, **more)


def load_published(net: nn.Module, state: Mapping[str, Tensor], besides: tuple[str, ...] = ()) -> None:
    """Published weights into ``net``, all but those that are called as ``besides``. ValueError where they are another model's."""
    mine = {k: v for k, v in net.state_dict().items() if not k.startswith(besides)}
    counters = {k: v for k, v in mine.items() if k.endswith("num_batches_tracked")}  # older files have none: nothing needs them
    given = counters | {k: v for k, v in as_named_now(state).items() if not k.startswith(besides)}
    odd = sorted(mine.keys() ^ given.keys()) or sorted(k for k in mine if mine[k].shape != given[k].shape)
    if odd:
        raise ValueError(f"{odd[0]} does not fit" + (f", and {len(odd) - 1} more" if len(odd) > 1 else ""))
    net.load_state_dict(with_versions(given, net), strict=False)


def as_named_now(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published weights by the names that the model's parts have today."""
    return {OLD_NAME.sub(r"\1", name): value for name, value in state.items()}


def with_versions(state: Mapping[str, Any], module: nn.Module) -> Mapping[str, Any]:
    """``state`` with the versions of the module's parts, without which some (mnasnet) take no weights."""
    versioned = OrderedDict(state)
    versioned._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    return versioned


def last_layer(net: nn.Module) -> str:
    """Name of the layer that gives the logits."""
    linear = [n for n, m in net.named_modules() if isinstance(m, nn.Linear)]
    return (linear or [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)])[-1]


def preprocessing(model: str) -> dict[str, Any]:
    """What the model's published weights were trained with: resize, crop, mean, std."""
    from torchvision import models

    preset = models.get_model_weights(model).DEFAULT.transforms()  # type: ignore[attr-defined]
    return {
        "mean": list(preset.mean),
        "std": list(preset.std),
        "resize": int(preset.resize_size[0]),
        "crop": int(preset.crop_size[0]),
        "interpolation": preset.interpolation.value,
    }
