"""Small networks for small images: one linear layer, a perceptron, two blocks of convolutions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from tasks.nets.registry import network

Size = Sequence[int]


@network("linear", takes="images")
class Linear(nn.Sequential):
    """Every pixel to every class, nothing between. In: ``N x channels x H x W``. Out: logits ``N x classes``."""

    def __init__(self, classes: int = 10, channels: int = 3, size: Size = (32, 32)):
        pixels = channels * size[0] * size[1]
        super().__init__(OrderedDict(flatten=nn.Flatten(), output=nn.Linear(pixels, classes)))


@network("mlp", takes="images")
class Mlp(nn.Sequential):
    """Two hidden layers: what a network that does not know neighbouring pixels can do. In and out as ``linear``."""

    def __init__(self, classes: int = 10, channels: int = 3, size: Size = (32, 32), hidden: Size = (512, 128)):
        pixels = channels * size[0] * size[1]
        first, second = hidden
        layers = {
            "flatten": nn.Flatten(),
            "hidden1": nn.Linear(pixels, first),
            "activation1": nn.ReLU(),
            "hidden2": nn.Linear(first, second),
            "activation2": nn.ReLU(),
            "output": nn.Linear(second, classes),
        }
        super().__init__(OrderedDict(layers))


@network("convnet", takes="images")
class ConvNet(nn.Sequential):
    """Two blocks of two 3x3 convolutions (batch norm, ReLU) and max-pooling by 2, then one linear layer. As ``linear``."""

    def __init__(self, classes: int = 10, channels: int = 3, size: Size = (32, 32), widths: Size = (48, 96)):
        if min(size) < 4:
            raise ValueError(f"images of {size[0]} x {size[1]} pixels are too small: at least 4 x 4")
        first, second = widths
        features = second * (size[0] // 4) * (size[1] // 4)
        head = {"flatten": nn.Flatten(), "dropout": nn.Dropout(0.2), "output": nn.Linear(features, classes)}
        super().__init__(OrderedDict(block1=block(channels, first), block2=block(first, second), **head))


def block(inside: int, width: int) -> nn.Sequential:
    """Pooled before the first norm: it commutes with ReLU, and everything after has a quarter of the work."""
    layers = {
        "conv1": nn.Conv2d(inside, width, 3, padding=1, bias=False),  # the norm has a bias
        "pool": nn.MaxPool2d(2),
        "norm1": nn.BatchNorm2d(width),
        "activation1": nn.ReLU(inplace=True),
        "conv2": nn.Conv2d(width, width, 3, padding=1, bias=False),
        "norm2": nn.BatchNorm2d(width),
        "activation2": nn.ReLU(inplace=True),
    }
    return nn.Sequential(OrderedDict(layers))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inside: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return self.relu(inner + self.shortcut(x))


@network("resnet", takes="images")
class ResNet(nn.Sequential):
    """ResNet-18 for small images: the first convolution is 3x3 and nothing is pooled before the blocks (arXiv:1512.03385).

    In and out as ``linear``; any size of at least 8 x 8.
    """

    def __init__(self, classes: int = 10, channels: int = 3, size: Size = (32, 32), width: int = 64, blocks: int = 2):
        if min(size) < 8:
            raise ValueError(f"images of {size[0]} x {size[1]} pixels are too small: at least 8 x 8")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["stem"] = nn.Sequential(
            nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        inside = width
        for stage in range(4):
            wide = width << stage
            strides = [1 if stage == 0 else 2] + [1] * (blocks - 1)
            pairs = zip([inside] + [wide] * (blocks - 1), strides, strict=True)
            layers[f"stage{stage + 1}"] = nn.Sequential(*(Residual(i, wide, s) for i, s in pairs))
            inside = wide
        layers["pool"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        layers["output"] = nn.Linear(inside, classes)
        super().__init__(layers)
