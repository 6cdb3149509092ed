"""The line of images, written once: images -> statistics -> a trained network -> its scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from artifacts.errors import UsageError
from artifacts.store import Ref
from tasks.images.evaluate import evaluate
from tasks.images.read import read
from tasks.images.statistics import statistics
from tasks.images.subset import nearest
from tasks.images.train import train
from tasks.line import Runner
from tasks.stage import Stage

STAGES: dict[str, Stage] = {s.name: s for s in (read, statistics, train, evaluate)}


class Made(NamedTuple):
    """The refs of one run, in the order of the line."""

    images: Ref
    stats: Ref
    trained: Ref
    scores: Ref


def cifar_line(line: Runner, source: Any, pretrained: Any = None) -> Made:
    """From an image source to the scores: one line a stage. pretrained: a source of published weights."""
    weights = {"pretrained": pretrained} if pretrained else {}
    images = line(read, source=source)
    stats = line(statistics, images=images)
    trained = line(train, images=images, stats=stats, **weights)
    scores = line(evaluate, images=images, trained=trained)
    return Made(images, stats, trained, scores)


def again(refresh: Iterable[str], from_stage: str | None) -> frozenset[str]:
    """The stages to run again although their artifacts are whole; UsageError names the nearest where there is no such stage."""
    names = list(STAGES)
    for name in (*refresh, *([from_stage] if from_stage else [])):
        if name not in names:
            raise UsageError(f"no stage called '{name}'{nearest(name, names)} (the stages are {', '.join(names)})")
    return frozenset(refresh) | frozenset(names[names.index(from_stage) :] if from_stage else ())
