"""How a network does on examples it is not trained on: what the loop watches, and what a person sees afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from artifacts.checkpoint import InputSpec
from tasks.nets.network import windowed
from tasks.training.losses import IGNORED
from tasks.training.metrics import roc_auc
from tasks.training.pile import Pile

AT_ONCE = {"cpu": 32, "cuda": 512}
SHOWN = 24
FALSE_PIXELS = 5  # a patch without a nodule of which more are called is a false one
RED, GREEN = (235, 64, 52), (60, 220, 90)


def middle(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """The middle of the last axes."""
    for k, n in enumerate(size):
        axis = x.ndim - len(size) + k
        x = x.narrow(axis, (x.shape[axis] - n) // 2, n)
    return x


def rates(hits: float, missed: float, false: float) -> dict[str, float]:
    """Recall, precision and F1; what has no case is 0."""
    return {
        "recall": hits / max(hits + missed, 1),
        "precision": hits / max(hits + false, 1),
        "f1": 2 * hits / max(2 * hits + missed + false, 1),
    }


@dataclass
class CropScore:
    """A classifier's probability of every crop, and what the loop is told of them. truth bool ``[n]``."""

    hu: Pile
    truth: NDArray[np.bool_]
    input: InputSpec
    crop_zyx: tuple[int, int, int]
    captions: list[str] = field(default_factory=list)
    threshold: float = 0.5

    @torch.inference_mode()
    def probabilities(self, module: nn.Module) -> NDArray[np.float32]:
        device = next(module.parameters()).device
        parts = []
        for start in range(0, len(self.hu), AT_ONCE[device.type]):
            index = np.arange(start, min(start + AT_ONCE[device.type], len(self.hu)))
            x = windowed(middle(self.hu.take(index, device), self.crop_zyx), self.input)[:, None]
            parts.append(module(x).float().softmax(1)[:, 1].cpu())
        return torch.cat(parts).numpy()

    def __call__(self, module: nn.Module) -> dict[str, float]:
        p = self.probabilities(module)
        called, y = p > self.threshold, self.truth
        found = rates(int((called & y).sum()), int((~called & y).sum()), int((called & ~y).sum()))
        auc = roc_auc(p, y)
        return found | {"false_positives": int((called & ~y).sum())} | ({} if np.isnan(auc) else {"auc": auc})

    def confusion(self, module: nn.Module) -> NDArray[np.int64]:
        """``[truth, called]``."""
        called = self.probabilities(module) > self.threshold
        return np.array([[int(((self.truth == t) & (called == c)).sum()) for c in (False, True)] for t in (False, True)])

    def mistakes(self, module: nn.Module) -> list[tuple[str, NDArray[np.uint8]]]:
        """The crops whose probability is farthest from the truth, on the wrong side: the middle axial slice."""
        from artifacts.drawing import grey

        p = self.probabilities(module)
        wrong = np.flatnonzero((p > self.threshold) != self.truth)
        worst = wrong[np.argsort(-np.abs(p - self.truth)[wrong], kind="stable")][:SHOWN]
        tiles = middle(torch.from_numpy(self.hu[worst]), self.crop_zyx).numpy()
        return [(f"p {p[k]:.2f}: {self.caption(k)}", grey(tile[len(tile) // 2])) for k, tile in zip(worst, tiles, strict=True)]

    def caption(self, k: int) -> str:
        return self.captions[k] if self.captions else ("yes" if self.truth[k] else "no")


@dataclass
class SliceScore:
    """A segmenter on whole patches, counted in pixels (recall, precision, F1 = Dice) and in patches.

    found: share of patches with a nodule in which a pixel of it is called; false_positives: patches without one in which more
    than ``FALSE_PIXELS`` are.
    """

    hu: Pile
    masks: Pile
    input: InputSpec
    crop: int
    threshold: float = 0.5

    @torch.inference_mode()
    def counts(self, module: nn.Module) -> NDArray[np.int64]:
        """``[n, 3]`` pixels of each patch: rightly called, missed, falsely called."""
        device = next(module.parameters()).device
        rows = []
        for start in range(0, len(self.hu), AT_ONCE[device.type]):
            index = np.arange(start, min(start + AT_ONCE[device.type], len(self.hu)))
            called, masks = self.called(module, index, device)
            right = [(called & (masks == 1)), (~called & (masks == 1)), (called & (masks == 0))]
            rows.append(torch.stack([r.sum((1, 2)) for r in right], dim=1).cpu())
        return torch.cat(rows).numpy()

    def called(self, module: nn.Module, index: NDArray[np.intp], device: torch.device) -> tuple[Tensor, Tensor]:
        size = (self.crop, self.crop)
        x = windowed(middle(self.hu.take(index, device), size), self.input)
        masks = middle(self.masks.take(index, device), size)
        return (module(x)[:, 0].float().sigmoid() > self.threshold) & (masks != IGNORED), masks

    def __call__(self, module: nn.Module) -> dict[str, float]:
        counts = self.counts(module)
        hits, missed, false = (int(v) for v in counts.sum(0))
        seen = (counts[:, 0] + counts[:, 1]) > 0
        found = float((counts[seen, 0] > 0).mean()) if seen.any() else 0.0
        return rates(hits, missed, false) | {"found": found, "false_positives": int((counts[~seen, 2] > FALSE_PIXELS).sum())}

    def confusion(self, module: nn.Module) -> NDArray[np.int64]:
        """``[truth, called]`` in patches: with a nodule or without, something called or nothing."""
        counts = self.counts(module)
        seen = (counts[:, 0] + counts[:, 1]) > 0
        called = np.where(seen, counts[:, 0] > 0, counts[:, 2] > FALSE_PIXELS)
        return np.array([[int(((seen == t) & (called == c)).sum()) for c in (False, True)] for t in (False, True)])

    @torch.inference_mode()
    def mistakes(self, module: nn.Module) -> list[tuple[str, NDArray[np.uint8]]]:
        """The patches with most pixels missed or falsely called; the truth green, what was called red."""
        from artifacts.drawing import grey

        counts, device = self.counts(module), next(module.parameters()).device
        worst = np.argsort(-(counts[:, 1] + counts[:, 2]), kind="stable")[:SHOWN]
        worst = worst[(counts[worst, 1] + counts[worst, 2]) > 0]
        if not len(worst):
            return []
        called, masks = (a.cpu().numpy() for a in self.called(module, worst, device))
        tiles = middle(torch.from_numpy(self.hu[worst]), (self.crop, self.crop)).numpy()
        shown = []
        for k, tile, c, m in zip(worst, tiles, called, masks, strict=True):
            picture = np.repeat(grey(tile[len(tile) // 2])[..., None], 3, axis=-1)
            picture[rim(m == 1)], picture[rim(c)] = GREEN, RED
            shown.append((f"missed {counts[k, 1]}, false {counts[k, 2]} pixels", picture))
        return shown


def rim(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels of ``mask`` that touch what is outside of it."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner
