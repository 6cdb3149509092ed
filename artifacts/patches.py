"""Patches: one scan's slices for the segmenter, cut through nodules and elsewhere, each with its mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview
from artifacts.dataset import Split
from artifacts.rows import Layout, Voxels, read_rows, write_rows

ORIGINS = ("nodule", "bright", "lung", "mined")
BOXES = ("hu", "masks", "ignore")
COLUMNS = {"nodule": np.int32, "origin": np.uint8, "centers_lps_mm": np.float64}
SHOWN = 24
GREEN, GREY = (60, 220, 90), (150, 150, 150)


@dataclass
class Patches:
    """``n`` patches of one scan; every array has ``n`` rows, in one order. Voxels are the scan's own, never resampled.

    hu       int16 ``[n, slices, y, x]`` Hounsfield units: the slice in question in the middle, as many on either side; at the
             ends of a scan its last slice repeats. Array, or ``Rows`` on disk (``hu[k]``, ``hu[[5, 2]]``, ``np.asarray(hu)``)
    masks    uint8 ``[n, y, x]`` of the middle slice: 1 in a nodule. Array or ``Rows``
    ignore   uint8 ``[n, y, x]``: 1 in an excluded finding (or one of too few readers): neither nodule nor background; a loss
             leaves these pixels out. Array or ``Rows``
    nodule   int32: the nodule through which it was cut (``artifacts.dataset.Nodule.row``); -1 none
    origin   uint8, index into ``ORIGINS``: through a nodule, at something dense in the lungs, anywhere in them, or at a
             segmenter's own false lump. Where the mask is 1 a nodule is, whatever the origin
    centers_lps_mm  float64 ``[n, 3]``; spacing_zyx_mm of the scan

    uid, patient, split and fold as in ``artifacts.examples.Examples``.
    """

    kind: ClassVar[str] = "patches"

    uid: str
    patient: str
    split: Split
    fold: int
    spacing_zyx_mm: tuple[float, float, float]
    hu: Voxels
    masks: Voxels
    ignore: Voxels
    nodule: NDArray[np.int32]
    origin: NDArray[np.uint8]
    centers_lps_mm: NDArray[np.float64]
    layout: Layout = "hdf5"

    def __post_init__(self) -> None:
        for name, dtype in COLUMNS.items():
            setattr(self, name, np.asarray(getattr(self, name), dtype))
        for name in (*COLUMNS, "masks", "ignore"):
            if len(getattr(self, name)) != len(self.hu):
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, there are {len(self.hu)} patches")

    def __len__(self) -> int:
        return len(self.hu)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Of each patch: was it cut through a nodule? (A patch of another origin may show a bit of one.)"""
        return self.nodule >= 0

    def write(self, folder: Path) -> None:
        boxes = {b: getattr(self, b) for b in BOXES}
        write_rows(folder, "patches", boxes, {c: getattr(self, c) for c in COLUMNS}, self.layout)
        about = {n: getattr(self, n) for n in ("uid", "patient", "split", "fold", "layout")}
        write_json(folder / "patches.json", about | {"spacing_zyx_mm": list(self.spacing_zyx_mm)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The columns into memory; voxels stay on disk until they are indexed."""
        about = read_json(folder / "patches.json")
        about["spacing_zyx_mm"] = tuple(about["spacing_zyx_mm"])
        return cls(**about, **read_rows(folder, "patches", BOXES, tuple(COLUMNS), about["layout"]))

    def summary(self) -> dict[str, Any]:
        nodules = len(set(self.nodule[self.nodule >= 0].tolist()))
        return {"series": self.uid, "split": self.split, "patches": len(self), "nodules": nodules}

    def by_origin(self) -> list[dict[str, Any]]:
        return [{"origin": n, "patches": k} for i, n in enumerate(ORIGINS) if (k := int((self.origin == i).sum()))]

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        size = " x ".join(map(str, self.hu.shape[1:]))
        pictures = {}
        for title, wanted in (("Through nodules, outlined", self.positive), ("Elsewhere", ~self.positive)):
            shown = np.flatnonzero(wanted)
            shown = shown[np.unique(np.linspace(0, max(len(shown) - 1, 0), min(len(shown), SHOWN)).round().astype(int))]
            if len(shown):
                pictures[f"{title}, {len(shown)} of {int(wanted.sum())}"] = self._montage(shown)
        place = {"split": self.split, "fold": self.fold, "spacing z, y, x, mm": " ".join(f"{s:.3g}" for s in self.spacing_zyx_mm)}
        return Preview(f"{len(self)} patches of {size} voxels", {"Patches": self.by_origin(), "Scan": [place]}, pictures)

    def _montage(self, shown: NDArray[np.intp]) -> bytes:
        from artifacts.charts import montage
        from artifacts.drawing import grey

        tiles = []
        for k in map(int, shown):
            tile = np.repeat(grey(self.hu[k][self.hu.shape[1] // 2])[..., None], 3, axis=-1)
            tile[_rim(self.ignore[k] > 0)] = GREY
            tile[_rim(self.masks[k] > 0)] = GREEN
            tiles.append(tile)
        return montage(tiles, [ORIGINS[self.origin[k]] for k in shown], columns=8)


def _rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of ``mask`` that touch what is outside of it."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner
