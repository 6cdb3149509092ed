"""Subsets: some classes, some share of each, drawn by a seed; what is asked for and not there is told with what is near."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import UsageError

Indices = NDArray[np.int64]


def choose_classes(classes: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The labels of the ``wanted`` names, in the order asked for; all of them where nothing is asked.

    UsageError names the nearest classes to one that does not exist.
    """
    for name in wanted:
        if name not in classes:
            raise UsageError(f"no class '{name}'{nearest(name, classes)}")
    if len(set(wanted)) != len(wanted):
        raise UsageError("a class is asked for twice: name each once")
    if len(wanted) == 1:
        raise UsageError("one class alone has nothing to be told apart from: name two or more, or none for all")
    return [list(classes).index(name) for name in wanted] if wanted else list(range(len(classes)))


def nearest(name: str, known: Sequence[str]) -> str:
    """``: did you mean ship or sheep?``, or all there is where nothing is near and the list is short."""
    folded = {k.lower(): k for k in known}
    near = [folded[n] for n in get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f": there are {', '.join(list(known)[:20])}{' …' if len(known) > 20 else ''}"


def of_classes(labels: Indices, chosen: Sequence[int]) -> tuple[Indices, Indices]:
    """Which images have one of the ``chosen`` labels, and their new labels: the position in ``chosen``."""
    new = np.full(max(int(labels.max(initial=0)), *chosen) + 1, -1, dtype=np.int64)
    new[list(chosen)] = np.arange(len(chosen))
    relabelled = new[labels]
    kept = np.flatnonzero(relabelled >= 0)
    return kept, relabelled[kept]


def stratified(labels: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Two disjoint lists of indices that are everything: ``share`` of every class, rounded, and the rest. Both ascending.

    At least one image of a class goes to the first list if ``share`` > 0. The draw of one class follows from ``seed`` and
    its label alone, and a larger share with the same seed contains a smaller one.
    """
    first: list[Indices] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(round(share * len(members)), 1 if share > 0 else 0)
        order = np.random.default_rng([seed, int(label)]).permutation(len(members))
        first.append(members[order[:count]])
    chosen = np.sort(np.concatenate(first)) if first else np.empty(0, dtype=np.int64)
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)
