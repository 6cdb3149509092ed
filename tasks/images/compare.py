"""Compare: trainings that differ in one thing, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from artifacts.image_scores import ImageScores
from artifacts.side_by_side import SideBySide
from artifacts.trained import Trained
from tasks.stage import Params, stage

SHOWN = ("epoch", "loss", "test_loss", "test_accuracy", "validation_loss", "validation_accuracy")


class CompareParams(Params):
    """What differs."""

    names: tuple[str, ...] = Field((), title="Names", description="What each training is called, in order")


@stage("compare-trainings", version=1, params=CompareParams)
def compare(trained: Sequence[Trained], scores: Sequence[ImageScores], params: CompareParams = CompareParams()) -> SideBySide:
    """Accuracy, log loss, Brier score and calibration of each, its curves, and how sure it was how rightly."""
    rows, histories, confidences = [], {}, {}
    for name, one, judged in zip(params.names, trained, scores, strict=True):
        seconds = one.card["training"].get("seconds", 0.0)
        rows.append({"name": name, **judged.numbers(), "training seconds": seconds})
        histories[name] = [{k: row[k] for k in SHOWN if k in row} for row in one.history]
        sure = judged.probability.max(axis=1).round(4).tolist()
        confidences[name] = list(zip(sure, judged.right.tolist(), strict=True))
    return SideBySide(rows, histories, confidences)
