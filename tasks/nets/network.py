"""A checkpoint made ready to run: its network on a device, in a precision, with the card that says how to feed it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from artifacts.checkpoint import Card, Checkpoint, InputSpec
from artifacts.errors import UsageError, WeightsError
from tasks.nets.registry import build

if TYPE_CHECKING:
    import torch
    from torch import nn

Precision = Literal["float32", "bfloat16"]


@dataclass
class Network:
    """module: in eval mode on ``device``, weights float32, channels last; gives logits. dtype: what stages compute in.

    digest: of the checkpoint (weights and card), as in every key.
    """

    module: nn.Module
    card: Card
    device: torch.device
    dtype: torch.dtype
    digest: str


def load_network(checkpoint: Checkpoint, device: str | torch.device = "cpu", precision: Precision = "float32") -> Network:
    """Build the card's network and give it the checkpoint's weights, all of them and no others.

    WeightsError where the architecture is unknown or its shapes are not the checkpoint's.
    """
    import torch

    card = checkpoint.card
    module = build(card.architecture, **card.arguments)
    crop = card.input.crop
    if crop is not None and getattr(module, "crop_zyx", crop.shape_zyx) != crop.shape_zyx:
        raise WeightsError(
            f"the {card.role} card contradicts itself: it asks for crops of {crop.shape_zyx} voxels, "
            f"its network takes {module.crop_zyx}; build or import the checkpoint again"
        )
    load_strictly(module, {k: torch.from_numpy(v) for k, v in checkpoint.tensors().items()}, card.role, card.architecture)
    device, dtype = torch.device(device), getattr(torch, precision)
    module = module.eval().requires_grad_(False).to(device)
    for child in module.modules():
        if isinstance(child, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            child.to(memory_format=torch.channels_last)
        elif isinstance(child, torch.nn.Conv3d):
            child.to(memory_format=torch.channels_last_3d)
    return Network(module, card, device, dtype, checkpoint.digest)


def load_strictly(module: nn.Module, state: dict[str, torch.Tensor], role: str, architecture: str) -> None:
    """``load_state_dict`` whose complaint is one line."""
    check_shapes(module, state, role, architecture)
    module.load_state_dict(state, strict=True)


def check_shapes(module: nn.Module, state: dict[str, torch.Tensor], role: str, architecture: str) -> None:
    """WeightsError names the first name or shape that differs between ``state`` and ``module``, and how many more do."""
    want = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    have = {k: tuple(v.shape) for k, v in state.items()}
    odd = [k for k in sorted(want.keys() | have.keys()) if want.get(k) != have.get(k)]
    if odd:
        first, more = odd[0], f", and {len(odd) - 1} more differ" if len(odd) > 1 else ""
        raise WeightsError(
            f"the {role} checkpoint is not a {architecture}: {first} is {have.get(first, 'missing')}, "
            f"wanted {want.get(first, 'nothing of that name')}{more}; import the checkpoint that belongs to this card"
        )


def windowed(hu: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """Hounsfield units as the network wants them: float32, clipped to the card's window, mapped to 0..1 where it says so."""
    low, high = spec.window_hu
    x = hu.float().clamp(low, high)
    return x.sub_(low).div_(high - low) if spec.scale == "unit" else x


def settle_device(wanted: str = "auto") -> torch.device:
    """The device that ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1`` means here; UsageError if none."""
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return torch.device("cuda:0" if cards else "cpu")
    kind, _, index = wanted.partition(":")
    if wanted == "cpu":
        return torch.device("cpu")
    if kind == "cuda" and (index.isdecimal() or wanted == "cuda"):
        if int(index or 0) < cards:
            return torch.device("cuda", int(index or 0))
        raise UsageError(f"the device {wanted} is not here ({cards} CUDA devices): use auto or cpu")
    raise UsageError(f"unknown device '{wanted}': use auto, cpu, cuda or cuda:<number>")


def card_name(device: str) -> str:
    """What every process on this machine calls this CUDA device, whatever CUDA_VISIBLE_DEVICES numbers it."""
    import torch

    index = torch.device(device).index
    card = torch.cuda.get_device_properties(torch.cuda.current_device() if index is None else index)
    return f"gpu-{getattr(card, 'uuid', index or 0)}"


def settle_precision(wanted: str, device: torch.device) -> Precision:
    """``auto``: bfloat16 where it is faster than float32 (CUDA of capability 8.0 on, ``cpu_has_bfloat16``), else float32."""
    if wanted in ("float32", "bfloat16"):
        return wanted  # type: ignore[return-value]
    if wanted != "auto":
        raise UsageError(f"unknown precision '{wanted}': use auto, float32 or bfloat16")
    if device.type == "cuda":
        import torch

        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    return "bfloat16" if cpu_has_bfloat16() else "float32"


@cache
def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32: in tiles (AMX), or AMD's in vectors (AVX-512 BF16).

    With the vectors alone, segmenter: 1.6 times as fast as float32 on two Zen 5 cores, 0.8 times on two of an Intel Xeon.
    """
    try:
        words = set(cpuinfo.read_text().split())
    except OSError:
        return False
    return {"amx_bf16", "amx_tile"} <= words or {"AuthenticAMD", "avx512_bf16"} <= words
