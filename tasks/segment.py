"""segment: how suspicious each voxel inside the lungs is, by a 2D network that sees a slice and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from artifacts.checkpoint import InputSpec
from artifacts.errors import NotFiniteError, WeightsError
from artifacts.heatmap import HeatMap
from artifacts.lungmask import LungMask
from artifacts.volume import Volume
from tasks.nets import Network
from tasks.nets.boxes import Box, cover
from tasks.nets.workers import spread
from tasks.stage import Params, Progress, silent, stage

if TYPE_CHECKING:
    import torch

    from tasks.nets.boxed import BoxedUNet2d

CELL = 8  # boxes begin and end at multiples of this many pixels
EFFECTIVE_MARGIN = 8  # what a box costs beyond its own pixels: the margin of each layer weighted by its arithmetic ...
OVERHEAD = 5000  # ... and starting it, in pixels of work
VIEWS = ((), (-2,), (-1,), (-2, -1))
BYTES_A_PIXEL = 500  # of a network's maps, on a CUDA device


class SegmentParams(Params):
    """Nothing to choose: the network's card says how it is fed."""


@stage("segment", version=1, params=SegmentParams, network="segmenter", gpu=True)
def segment(
    volume: Volume,
    lung_mask: LungMask,
    *,
    params: SegmentParams = SegmentParams(),
    network: Network,
    progress: Progress = silent,
) -> HeatMap:
    """The network's probability in each voxel of the lung mask, 0 elsewhere.

    The same as the network run on whole slices gives there, but only what the lungs need is computed. Slices above the first
    and below the last are copies of it. Where the card asks for several views, each voxel has the highest of theirs.
    WeightsError where the network is no segmenter of slices or its output is not finite.
    """
    import torch

    from tasks.nets.boxed import BoxedUNet2d
    from tasks.nets.network import windowed
    from tasks.nets.unet2d import UNet2d

    module, context, views = network.module, network.card.input.context_slices, VIEWS[: network.card.input.views]
    if not isinstance(module, UNet2d) or module.input_batchnorm.num_features != 2 * context + 1:
        raise WeightsError(
            f"the segmenter's card asks for {context} slices on each side of one: its network ({network.card.architecture}) "
            f"must be a unet2d that takes {2 * context + 1} slices"
        )
    mask = lung_mask.labels > 0
    heat = np.zeros(mask.shape, dtype=np.uint8)
    jobs = list(_jobs(mask, _slices_at_once(network.device, mask.shape)))
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        boxed = BoxedUNet2d(module, network.dtype)
        stacks = _stacks(volume.hu, network.card.input, boxed.step, network.device)
        field = (stacks.shape[2], stacks.shape[3])

        def run(job: Job) -> int:
            z0, z1, box = job.z0, job.z1, job.box.grown(0, field)
            x = windowed(box.grown(boxed.margin, field).of(stacks[z0:z1]), network.card.input)
            logits = torch.stack([_view(boxed, x, box, field, axes) for axes in views]).amax(dim=0)
            if not torch.isfinite(logits).all():
                raise NotFiniteError(
                    "the segmenter gave a number that is not finite: its weights are damaged or not for this input"
                )
            part = box.of(heat[z0:z1])
            part[:] = (logits.sigmoid() * 255).round().to(torch.uint8).cpu().numpy()[:, : part.shape[1], : part.shape[2]]
            return job.work

        work, done = sum(job.work for job in jobs), 0
        for ran in spread(run, jobs, network.device):
            done += ran
            progress(done / work)
    heat[~mask] = 0
    return HeatMap(heat, volume.geometry)


def _view(boxed: BoxedUNet2d, x: torch.Tensor, box: Box, field: tuple[int, int], axes: tuple[int, ...]) -> torch.Tensor:
    """Logits ``N x h x w`` of ``box`` from slices flipped along ``axes``, turned back; ``x``: what the box reads of them."""
    import torch

    seen = x.flip(axes).contiguous(memory_format=torch.channels_last)
    return boxed(seen, box.mirrored(axes, field), field)[:, 0].flip(axes)


class Job(NamedTuple):
    """What to run at once: a box of the slices z0 to z1 (excluded)."""

    z0: int
    z1: int
    box: Box

    @property
    def work(self) -> int:
        y0, y1, x0, x1 = self.box
        return (self.z1 - self.z0) * (y1 - y0 + 2 * EFFECTIVE_MARGIN) * (x1 - x0 + 2 * EFFECTIVE_MARGIN)


def _jobs(mask: NDArray[np.bool_], slices: int) -> Iterator[Job]:
    for z0 in range(0, len(mask), slices):
        z1 = min(z0 + slices, len(mask))
        for box in cover(np.asarray(mask[z0:z1].any(axis=0)), CELL, EFFECTIVE_MARGIN, OVERHEAD // slices):
            yield Job(z0, z1, box)


def _slices_at_once(device: torch.device, shape_zyx: tuple[int, ...]) -> int:
    """One slice on a CPU, whose caches then hold a box's maps; on CUDA as many as take a quarter of the free memory."""
    if device.type != "cuda":
        return 1
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(np.clip(free // 4 // (shape_zyx[1] * shape_zyx[2] * BYTES_A_PIXEL), 1, 16))


def _stacks(hu: NDArray[np.int16], spec: InputSpec, step: int, device: torch.device) -> torch.Tensor:
    """int16 HU ``[z, 2 context + 1, y, x]``: each slice with its neighbours, as views of one tensor on the device.

    Height and width are filled up with the window's lowest value, or darker, to multiples of ``step``. Boxes are windowed
    as they are cut: the whole volume in float32 would take three times the memory.
    """
    import torch
    import torch.nn.functional as F

    fed = torch.from_numpy(hu).to(device)
    height, width = fed.shape[1:]
    if height % step or width % step:
        fed = F.pad(fed, (0, -width % step, 0, -height % step), value=int(np.floor(spec.window_hu[0])))
    c = spec.context_slices
    fed = torch.cat([fed[:1].expand(c, -1, -1), fed, fed[-1:].expand(c, -1, -1)])
    return fed.unfold(0, 2 * c + 1, 1).permute(0, 3, 1, 2)
