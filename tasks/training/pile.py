"""A pile: the rows of many artifacts as one array, in memory where they fit, else read from their files as they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from artifacts.errors import TrainingError
from artifacts.rows import Rows, Voxels, read_ahead

SHARE_OF_MEMORY = 0.25  # of the machine's, and of a GPU's free one
READERS = 2  # threads that read the next batches of what does not fit


class Pile:
    """``n`` boxes of voxels of one size and type out of several arrays; ``pile.take(index, device)`` is a tensor of some of them.

    in_memory: read everything once (default: where it takes less than a quarter of the machine's memory). On a GPU with room
    it is held there, so that a batch never crosses the bus. Small to pickle where it is not in memory.
    """

    def __init__(self, parts: Sequence[Voxels], rows: Sequence[NDArray[np.intp]], *, in_memory: bool | None = None):
        kept = [(p, np.asarray(r, np.intp)) for p, r in zip(parts, rows, strict=True) if len(r)]
        if not kept:
            raise TrainingError("there is nothing to train on: no example is in the training part")
        sizes = {tuple(p.shape[1:]) for p, _ in kept}
        if len(sizes) > 1:
            text = " and ".join("x".join(map(str, s)) for s in sorted(sizes))
            raise TrainingError(
                f"examples of different sizes ({text}) cannot be trained on together: cache them with one setting"
            )
        self.shape = (sum(len(r) for _, r in kept), *sizes.pop())
        self.dtype = np.dtype(kept[0][0].dtype)
        self._parts: list[Voxels] = [p for p, _ in kept]
        self._of = np.repeat(np.arange(len(kept)), [len(r) for _, r in kept])
        self._row = np.concatenate([r for _, r in kept])
        self._on_device: Tensor | None = None
        if self.nbytes < SHARE_OF_MEMORY * memory() if in_memory is None else in_memory:
            whole = np.empty(self.shape, self.dtype)
            at = 0
            for part, chosen in kept:
                whole[at : at + len(chosen)] = part[chosen]
                at += len(chosen)
            self._parts, self._of, self._row = [whole], np.zeros(len(whole), np.intp), np.arange(len(whole))

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Rows by an array of numbers, in its order."""
        index = np.asarray(index, np.intp)
        if len(self._parts) == 1:
            return np.asarray(self._parts[0][self._row[index]])
        out = np.empty((len(index), *self.shape[1:]), self.dtype)
        of = self._of[index]
        for part in np.unique(of):
            here = np.flatnonzero(of == part)
            out[here] = self._parts[part][self._row[index[here]]]
        return out

    def take(self, index: NDArray[np.intp], device: torch.device) -> Tensor:
        if device.type == "cuda" and self._held(device):
            assert self._on_device is not None
            return self._on_device[torch.from_numpy(index).to(device)]
        return torch.from_numpy(self[index]).to(device)

    def takes(self, indices: Iterable[NDArray[np.intp]], device: torch.device) -> Iterator[Tensor]:
        """``take`` of each, in order; what lies on disk is read while the batches before are used."""
        if device.type == "cuda" and self._held(device):
            yield from (self.take(index, device) for index in indices)
            return
        readers = READERS if any(isinstance(part, Rows) for part in self._parts) else 0
        yield from (torch.from_numpy(batch).to(device) for batch in read_ahead(self, indices, readers))

    def _held(self, device: torch.device) -> bool:
        if self._on_device is None and self.nbytes < SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
            self._on_device = torch.empty(self.shape, dtype=getattr(torch, self.dtype.name), device=device)
            for start in range(0, len(self), 4096):
                part = self[np.arange(start, min(start + 4096, len(self)))]
                self._on_device[start : start + len(part)] = torch.from_numpy(part).to(device)
        return self._on_device is not None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_on_device": None}


def memory() -> int:
    """Bytes of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
