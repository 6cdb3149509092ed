"""Image scores: what a classifier says of held-out images, and what that comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview
from artifacts.reliability import reliability_bins


@dataclass
class ImageScores:
    """probability: float32 ``[n, class]``; truth: int64 ``[n]``; views: of an image, averaged; part: of the set."""

    kind: ClassVar[str] = "image-scores"

    classes: tuple[str, ...]
    probability: NDArray[np.float32]
    truth: NDArray[np.int64]
    views: str = "none"
    part: str = "test"
    network: str = ""

    @cached_property
    def called(self) -> NDArray[np.int64]:
        """int64 ``[n]``: the most probable class."""
        return self.probability.argmax(axis=1).astype(np.int64)

    @property
    def right(self) -> NDArray[np.bool_]:
        return self.called == self.truth

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def log_loss(self) -> float:
        """Mean negative log-likelihood of the truth."""
        return log_loss(self.probability[np.arange(len(self.truth)), self.truth])

    @property
    def brier(self) -> float:
        """Mean squared distance of the probabilities from the truth, summed over classes."""
        return float(((self.probability - np.eye(len(self.classes))[self.truth]) ** 2).sum(axis=1).mean())

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the class called, 15 bins."""
        return reliability_bins(self.probability.max(axis=1), self.right).ece

    @property
    def confusion(self) -> NDArray[np.int64]:
        return confusion(self.truth, self.called, len(self.classes))

    def mistakes(self, count: int = 24) -> NDArray[np.int64]:
        """Indices of the mistakes the network was surest of, surest first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.probability[wrong].max(axis=1), kind="stable")][:count]

    def by_class(self) -> list[dict[str, Any]]:
        """A row a class: how many there are, the share of them called it (accuracy), the share of those called it that are it."""
        table, rows = self.confusion, []
        for k, name in enumerate(self.classes):
            of, called = int(table[k].sum()), int(table[:, k].sum())
            others = table[k].copy()
            others[k] = 0
            mostly = self.classes[int(others.argmax())] if others.sum() else ""
            row = {"class": name, "images": of, "accuracy": share(table[k, k], of), "precision": share(table[k, k], called)}
            rows.append(row | {"mostly taken for": mostly})
        return rows

    def numbers(self) -> dict[str, Any]:
        return {
            "images": len(self.truth),
            "accuracy": round(self.accuracy, 4),
            "log_loss": round(self.log_loss, 4),
            "brier": round(self.brier, 4),
            "calibration_error": round(self.calibration_error, 4),
        }

    def write(self, folder: Path) -> None:
        from artifacts.images import as_hdf5

        (folder / "scores.h5").write_bytes(as_hdf5({"probability": self.probability, "truth": self.truth}))
        about = {"classes": list(self.classes), "views": self.views, "part": self.part, "network": self.network}
        write_json(folder / "scores.json", about | self.numbers() | {"by_class": self.by_class()})

    @classmethod
    def read(cls, folder: Path) -> Self:
        from artifacts.images import read_hdf5

        arrays, about = read_hdf5(folder / "scores.h5"), read_json(folder / "scores.json")
        names = (about["views"], about["part"], about["network"])
        return cls(tuple(about["classes"]), arrays["probability"], arrays["truth"], *names)

    def summary(self) -> dict[str, Any]:
        return self.numbers() | ({} if self.views == "none" else {"views": self.views})

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.image_pictures import scores_preview

        return scores_preview(self, inputs["images"])


def confusion(truth: NDArray[np.int64], called: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """int64 ``[truth, called]``."""
    return np.bincount(truth * classes + called, minlength=classes**2).reshape(classes, classes)


def log_loss(of_truth: NDArray[np.floating]) -> float:
    """Mean negative logarithm of the probabilities that the truths were given; of 0 as of 1e-12."""
    return float(np.log(1 / np.maximum(of_truth, 1e-12)).mean())


def share(part: Any, whole: int) -> float | None:
    """None of nothing."""
    return round(float(part) / whole, 4) if whole else None
