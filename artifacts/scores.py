"""Scores: what one classifier says of each candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview


@dataclass
class Scores:
    """One value a candidate, in the order of the lumps' candidates.

    probability  float32 ``[n]``, NaN where the classifier was not asked
    flips        int32 ``[n]``, how many views of it, turned by 180 degrees, were averaged
    threshold    probability above which the network means yes, as its card says
    """

    kind: ClassVar[str] = "scores"

    meaning: str  # what a probability of 1 means: "nodule", "malignant"
    probability: NDArray[np.float32]
    flips: NDArray[np.int32]
    threshold: float = 0.5

    def write(self, folder: Path) -> None:
        rows = [None if np.isnan(p) else float(p) for p in self.probability]
        about = {"meaning": self.meaning, "threshold": self.threshold}
        write_json(folder / "scores.json", about | {"probability": rows, "flips": self.flips.tolist()})

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "scores.json")
        probability = np.array([np.nan if p is None else p for p in meta["probability"]], dtype=np.float32)
        return cls(meta["meaning"], probability, np.array(meta["flips"], dtype=np.int32), meta.get("threshold", 0.5))

    def summary(self) -> dict[str, Any]:
        asked = self.probability[~np.isnan(self.probability)]
        return {"asked": len(asked), f"{self.meaning}_above_{self.threshold:g}": int((asked > self.threshold).sum())}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import scores_preview

        return scores_preview(self, inputs["crops"])
