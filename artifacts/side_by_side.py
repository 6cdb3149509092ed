"""Side by side: several trainings on the same images: curves, accuracy, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview


@dataclass
class SideBySide:
    """rows: one a training, ``name`` first, then numbers. histories: name -> a row an epoch.

    confidences: name -> (probability of the class called, whether it was right) of every image.
    """

    kind: ClassVar[str] = "side-by-side"

    rows: list[dict[str, Any]]
    histories: dict[str, list[dict[str, Any]]]
    confidences: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        about = {"rows": self.rows, "histories": self.histories, "confidences": self.confidences}
        write_json(folder / "side_by_side.json", about)

    @classmethod
    def read(cls, folder: Path) -> Self:
        about = read_json(folder / "side_by_side.json")
        pairs = {n: [(float(p), bool(r)) for p, r in v] for n, v in about["confidences"].items()}
        return cls(about["rows"], about["histories"], pairs)

    @property
    def best(self) -> list[str]:
        """Names of those with the highest accuracy: of all that share it."""
        most = max(r["accuracy"] for r in self.rows)
        return [r["name"] for r in self.rows if r["accuracy"] == most]

    def summary(self) -> dict[str, Any]:
        return {r["name"]: r["accuracy"] for r in self.rows}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.charts import reliability

        pictures = {"How it went": self.curves()}
        for name, pairs in self.confidences.items():
            sure, right = [p for p, _ in pairs], [r for _, r in pairs]
            pictures[f"How far the confidence of {name} can be trusted"] = reliability(sure, right)
        said = ", ".join(f"{r['name']} {r['accuracy']:.2%}" for r in self.rows)
        return Preview(f"{said}; most often right: {' and '.join(self.best)}", {"Side by side": self.rows}, pictures)

    def curves(self) -> bytes:
        """A panel for each thing measured in every training, with a line a training."""
        from artifacts.charts import curves

        hidden = {"epoch", "examples_per_second", "eta_s"}
        shared = [k for k in next(iter(self.histories.values()))[0] if k not in hidden]
        epochs = max(len(h) for h in self.histories.values())
        rows: list[dict[str, Any]] = [{"epoch": k + 1} for k in range(epochs)]
        for name, history in self.histories.items():
            for row, measured in zip(rows, history, strict=False):
                row |= {f"{name}: {k.replace('_', ' ')}": measured.get(k) for k in shared}
        panels = [[f"{name}: {k.replace('_', ' ')}" for name in self.histories] for k in shared]
        return curves(rows, panels)
