"""What the training of ``fast`` does beside the network itself (``tasks/nets/fast_net.py``): which weight moves how, and why.

Filters      Muon at a fixed length. A norm follows each, so that only a filter's direction counts; an orthogonal step turns all
             of its directions alike, where plain momentum spends most steps on few.
Biases       of the norms and of the whitening: plain momentum, at a rate forty times that of the head. Norms keep what
             comes before them at one scale, so that a bias can move far without harm, and in a run of 200 steps it must.
Head         momentum; its logits are scaled down by 9, and the rate is what that asks for.
Decay        is the same share of a weight in each step, whatever its rate: the rate of a group divides it out.
Schedule     the highest rate at once, then straight down to nothing: steps of fixed length need no warming up.

Rates are for one image; a batch of n moves n times as far. Found for this network by the speed-runners (arXiv:2404.00498) and
for momentum 0.85, which forgets within a few steps: with 200 steps in all there is no time for a long memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from tasks.images.normalise import Normaliser
from tasks.training.muon import Muon

if TYPE_CHECKING:
    from tasks.images.recipes import TrainParams

HEAD_RATE, BIAS_RATE = 1.5e-3, 0.06  # an image
MOMENTUM, FILTER_MOMENTUM = 0.85, 0.6
USUAL_RATE, USUAL_BATCH = 0.24, 2000
LOOKED_AT = 5000  # images that the whitening is taken from


def optimizers_of(params: TrainParams, batch: int) -> Callable[[nn.Module], list[Optimizer]]:
    """``params.learning_rate`` is Muon's; the other rates follow it in proportion."""
    rate, decay = float(params.learning_rate or USUAL_RATE), float(params.weight_decay or 0.0)
    share = rate / USUAL_RATE
    decay *= batch / USUAL_BATCH

    def make(module: nn.Module) -> list[Optimizer]:
        learns = [p for p in module.parameters() if p.requires_grad]
        filters = [p for p in learns if p.ndim == 4]
        biases, head = [p for p in learns if p.ndim == 1], [p for p in learns if p.ndim == 2]
        groups = [group(biases, BIAS_RATE * batch * share, decay), group(head, HEAD_RATE * batch * share, decay)]
        return [Muon(filters, lr=rate, momentum=FILTER_MOMENTUM, fixed_norm=True), SGD(groups, momentum=MOMENTUM, nesterov=True)]

    return make


def group(params: Sequence[Tensor], rate: float, decay: float) -> dict[str, object]:
    return {"params": params, "lr": rate, "weight_decay": decay / rate}


def on_the_device(images: Tensor, normalise: Normaliser, device: torch.device) -> tuple[Tensor, nn.Module]:
    """On a GPU: all images normalised once, in half precision, channels last, as its convolutions want them: a batch is only
    moved. On a CPU: as they are; normalising a batch there costs less than the memory of floats."""
    if device.type != "cuda":
        return images, normalise
    whole = torch.cat([normalise(part).to(torch.bfloat16) for part in images.split(4096)])
    return whole.contiguous(memory_format=torch.channels_last), nn.Identity()
