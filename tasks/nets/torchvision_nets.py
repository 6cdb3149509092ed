"""Any classifier of torchvision by its name, with its own weights and preprocessing where they are at hand, and a new head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tasks.nets.registry import network

OFF = {"googlenet": {"aux_logits": False, "init_weights": True}, "inception_v3": {"aux_logits": False, "init_weights": True}}


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
        from torchvision import models

        if channels != 3:
            raise ValueError("torchvision's models take three channels")
        self.net = models.get_model(model, weights=None, **OFF.get(model, {}))
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
        mine = self.net.state_dict()
        body = {k: v for k, v in state.items() if not k.startswith((f"{self.head}.", "aux", "AuxLogits"))}
        want = {k for k in mine if not k.startswith(f"{self.head}.")}
        odd = sorted(want ^ body.keys()) or sorted(k for k in want if mine[k].shape != body[k].shape)
        if odd:
            raise ValueError(f"{odd[0]} does not fit, and {len(odd) - 1} more")
        self.net.load_state_dict(body, strict=False)

    def train(self, mode: bool = True) -> TorchvisionNet:
        super().train(mode)
        if self.frozen:
            self.net.eval()
            self.net.get_submodule(self.head).train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


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
