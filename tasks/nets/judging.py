"""What a classifier says of crops: shared by the stages that ask one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from artifacts.crops import Crops
from artifacts.errors import NotFiniteError, WeightsError
from tasks.nets.network import Network, windowed
from tasks.nets.workers import spread
from tasks.stage import Progress, silent

if TYPE_CHECKING:
    import torch

CROPS_AT_ONCE = {"cpu": 4, "cuda": 256}  # on a CPU as many as its caches hold
HALF_TURNS_ZYX = ((), (3, 4), (2, 4), (2, 3))  # a crop as it is, and turned by 180 degrees about z, y, x


def check_pairing(network: Network, crops: Crops) -> None:
    """WeightsError unless the crops are what the classifier's card asks for."""
    card, shape = network.card, crops.hu.shape[1:]
    if card.input.crop is None:
        raise WeightsError(f"the {card.role} card does not say what crops its network takes; build or import it again")
    want = card.input.crop
    spacing = want.spacing_zyx_mm
    if shape != want.shape_zyx or (spacing is not None and not np.allclose(spacing, crops.spacing_zyx_mm, rtol=1e-3)):
        raise WeightsError(
            f"the {card.role} network takes crops of {want.shape_zyx} voxels of {spacing or 'any'} mm, these are {shape} "
            f"of {tuple(round(s, 3) for s in crops.spacing_zyx_mm)} mm: crop again for this network"
        )


def probabilities(
    network: Network,
    crops: Crops,
    which: NDArray[np.intp],
    flips: tuple[tuple[int, ...], ...] = ((),),
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """``[len(which)]`` probability of the card's positive class for the crops at ``which``, the mean over ``flips``.

    A flip is a tuple of axes of ``N x C x D x H x W``. WeightsError where the crops are not what
    the card asks for or the network's answer is not finite.
    """
    import torch

    check_pairing(network, crops)
    step = CROPS_AT_ONCE[network.device.type]
    parts = [slice(start, start + step) for start in range(0, len(which), step)]

    def judge(part: slice) -> NDArray[np.float32]:
        hu = torch.from_numpy(crops.hu[which[part]]).to(network.device)
        x = windowed(hu, network.card.input)[:, None]
        with torch.autocast(network.device.type, network.dtype, enabled=network.dtype != torch.float32):
            views = [_positive(network, x.flip(axes) if axes else x) for axes in flips]
        return torch.stack(views).mean(dim=0).cpu().numpy()

    answers = np.empty(len(which), dtype=np.float32)
    with torch.backends.cudnn.flags(allow_tf32=False):
        for part, answer in zip(parts, spread(judge, parts, network.device), strict=True):
            answers[part] = answer
            progress(min(part.stop, len(which)) / len(which))
    if not np.isfinite(answers).all():
        raise NotFiniteError(f"the {network.card.role} network gave a number that is not finite: its weights are damaged")
    return answers


def _positive(network: Network, x: torch.Tensor) -> torch.Tensor:
    if len(x) == 1 and x.device.type == "cpu":  # PyTorch takes a far slower convolution for one crop alone
        return _positive(network, x.expand(2, -1, -1, -1, -1))[:1]
    return network.module(x).float().softmax(dim=1)[:, network.card.positive_class]
