"""Examples: one scan's crops for the classifiers, each with its truth. A training run reads many of these, crop by crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview
from artifacts.checkpoint import CropSpec
from artifacts.dataset import Split
from artifacts.rows import Layout, Voxels, read_rows, write_rows

ORIGINS = ("annotated", "jittered", "candidate", "bright", "mined", "blob")
COLUMNS = {
    "label": np.uint8,
    "malignant": np.int8,
    "nodule": np.int32,
    "origin": np.uint8,
    "diameter_mm": np.float32,
    "rating": np.float32,
    "risk": np.float32,
    "centers_lps_mm": np.float64,
    "offset_zyx": np.int32,
}
SHOWN = 24  # crops of a kind in the preview


@dataclass
class Examples:
    """``n`` crops of one scan; every array has ``n`` rows, in one order.

    hu              int16 ``[n, z, y, x]`` Hounsfield units, cut as ``spec`` says. An array, or (what ``read`` gives) ``Rows`` on
                    disk that behave alike: ``hu[k]``, ``hu[3:9]``, ``hu[[5, 2, 2]]``, ``np.asarray(hu)``
    label           uint8: 1 nodule, 0 none
    malignant       int8: 1, 0, or -1: not known, left out on purpose, or no nodule
    nodule          int32: which nodule it shows (``artifacts.dataset.Nodule.row``, the scan's label map value minus 1); -1 none
    origin          uint8, index into ``ORIGINS``:
                    annotated  on a nodule's own centre              (label 1)
                    jittered   off it, still inside the nodule       (label 1)
                    candidate  of the data set's table of candidates (label as there; 1 only where an annotated nodule is)
                    bright     something dense inside the lungs      (label 0)
                    mined      proposed by a segmenter               (1 where a nodule is, 0: its own false lump)
                    blob       proposed by the blob filter           (likewise)
    diameter_mm     float32 of the nodule; 0 none
    rating, risk    float32: median of the readers' malignancy 1..5; the phantom's true risk 0..1. NaN: not known
    centers_lps_mm  float64 ``[n, 3]`` patient coordinates of the place; offset_zyx int32 ``[n, 3]``: where in its crop it lies
    spacing_zyx_mm  of one voxel of a crop

    uid is the series UID (or the pseudonym the volume goes by), patient a pseudonym equal for all scans of a patient, split and
    fold are the patient's. Excluded findings and places in doubt (beside a nodule, not in it) give no crop.
    """

    kind: ClassVar[str] = "examples"

    uid: str
    patient: str
    split: Split
    fold: int
    spec: CropSpec
    spacing_zyx_mm: tuple[float, float, float]
    hu: Voxels
    label: NDArray[np.uint8]
    malignant: NDArray[np.int8]
    nodule: NDArray[np.int32]
    origin: NDArray[np.uint8]
    diameter_mm: NDArray[np.float32]
    rating: NDArray[np.float32]
    risk: NDArray[np.float32]
    centers_lps_mm: NDArray[np.float64]
    offset_zyx: NDArray[np.int32]
    layout: Layout = "hdf5"

    def __post_init__(self) -> None:
        for name, dtype in COLUMNS.items():
            setattr(self, name, np.asarray(getattr(self, name), dtype))
            if len(getattr(self, name)) != len(self.hu):
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, there are {len(self.hu)} crops")

    def __len__(self) -> int:
        return len(self.hu)

    def write(self, folder: Path) -> None:
        write_rows(folder, "examples", {"hu": self.hu}, {c: getattr(self, c) for c in COLUMNS}, self.layout)
        about = {n: getattr(self, n) for n in ("uid", "patient", "split", "fold", "layout")}
        spec = self.spec.model_dump(mode="json")
        write_json(folder / "examples.json", about | {"spec": spec, "spacing_zyx_mm": list(self.spacing_zyx_mm)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The columns into memory; ``hu`` stays on disk until it is indexed."""
        about = read_json(folder / "examples.json")
        about |= {"spec": CropSpec.model_validate(about["spec"]), "spacing_zyx_mm": tuple(about["spacing_zyx_mm"])}
        return cls(**about, **read_rows(folder, "examples", ("hu",), tuple(COLUMNS), about["layout"]))

    def summary(self) -> dict[str, Any]:
        return {
            "series": self.uid,
            "split": self.split,
            "crops": len(self),
            "nodules": len(set(self.nodule[self.nodule >= 0].tolist())),
            "positive": int(self.label.sum()),
            "malignant": int((self.malignant == 1).sum()),
        }

    def by_origin(self) -> list[dict[str, Any]]:
        """One row an origin: how many crops, of nodules, of anything else."""
        return [
            {
                "origin": name,
                "crops": int(here.sum()),
                "nodule": int(self.label[here].sum()),
                "none": int((~self.label[here] & 1).sum()),
            }
            for k, name in enumerate(ORIGINS)
            if (here := self.origin == k).any()
        ]

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        words = f"{len(self)} crops of {' x '.join(map(str, self.spec.shape_zyx))} voxels, {int(self.label.sum())} of nodules"
        pictures = {}
        for title, wanted in (("Nodules", self.label == 1), ("Everything else", self.label == 0)):
            shown = _spread(np.flatnonzero(wanted))
            if len(shown):
                pictures[f"{title}, {len(shown)} of {int(wanted.sum())}"] = self._montage(shown)
        place = {"split": self.split, "fold": self.fold, "spacing z, y, x, mm": " ".join(f"{s:.3g}" for s in self.spacing_zyx_mm)}
        return Preview(words, {"Crops": self.by_origin(), "Scan": [place]}, pictures)

    def _montage(self, shown: NDArray[np.intp]) -> bytes:
        from artifacts.charts import montage
        from artifacts.drawing import grey

        middles = [grey(self.hu[int(k)][min(max(int(self.offset_zyx[k][0]), 0), self.spec.shape_zyx[0] - 1)]) for k in shown]
        captions = [
            f"{ORIGINS[self.origin[k]]} {self.diameter_mm[k]:.0f} mm" if self.label[k] else ORIGINS[self.origin[k]] for k in shown
        ]
        return montage(middles, captions, columns=8)


def _spread(index: NDArray[np.intp]) -> NDArray[np.intp]:
    """At most ``SHOWN``, evenly over all."""
    return index[np.unique(np.linspace(0, len(index) - 1, min(len(index), SHOWN)).round().astype(int))] if len(index) else index
