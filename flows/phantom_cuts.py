"""Phantoms cut to patches and crops in processes: each is made, cut and forgotten, only what training reads is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from artifacts.checkpoint import Checkpoint
from artifacts.store import Ref, Store
from flows.console import watcher
from tasks import processes
from tasks.cut import CutParams
from tasks.line import Line
from tasks.mine import MineParams
from tasks.patch import PatchParams
from tasks.phantom_examples import PhantomExamplesParams, phantom_examples
from tasks.phantom_patches import PhantomPatchesParams, phantom_patches
from tasks.stage import Params
from tasks.training.phantoms import PhantomSource, seeds
from tasks.training.ready import CheckpointSource

Result = TypeVar("Result")
Say = Callable[[str], None]
WATCHED = 5  # of so many phantoms one is watched, not trained on


def cut_phantoms(store: Store, n: int, patches: bool, segmenter: Checkpoint | None, cutting: Mapping[str, Params]) -> list[Ref]:
    """Refs of Patches or Examples of ``n`` phantoms, some of them in the validation part; sizes as the data set's are cut."""
    watched = max(1, n // WATCHED) if n > 1 else 0
    sources = [PhantomSource(seed) for seed in seeds("train", n - watched)]
    sources += [PhantomSource(seed, "validation") for seed in seeds("validation", watched)]
    cut, patch = cutting.get("cut") or CutParams(), cutting.get("patch") or PatchParams()
    mine = cutting.get("mine") or MineParams()
    assert isinstance(cut, CutParams)
    assert isinstance(patch, PatchParams)
    assert isinstance(mine, MineParams)
    params: dict[str, Params] = {
        "phantom-examples": PhantomExamplesParams(spec=cut.spec, blobs=mine.blobs),
        "phantom-patches": PhantomPatchesParams(size=patch.size, context=patch.context),
    }
    work = partial(cut_one, store.root, patches, CheckpointSource(segmenter) if segmenter else None, params)
    return in_processes("phantoms", work, sources, os.cpu_count() or 1, watcher().say)


def cut_one(root: Path, patches: bool, segmenter: Any, params: Mapping[str, Params], source: PhantomSource) -> Ref:
    """Patches of a phantom, or its crops with what ``segmenter`` (a ref, a source or none) proposes."""
    store = Store(root)
    line = Line(store, source.digest, params=params)
    if patches:
        ref = line(phantom_patches, phantom=source)
    elif segmenter is None:
        ref = line(phantom_examples, phantom=source)
    else:
        ref = line(phantom_examples, slot="mined", phantom=source, segmenter=segmenter)
    store.forget()
    return ref


def in_processes(what: str, work: Callable[[Any], Result], over: Sequence[Any], workers: int, say: Say) -> list[Result]:
    """``tasks.processes.in_processes`` that says how far it is. CTRL-C ends it, what is whole is kept."""
    started, done = time.perf_counter(), 0

    def said(_result: Result) -> None:
        nonlocal done
        done += 1
        if done in (1, len(over)) or done % 10 == 0:
            each = (time.perf_counter() - started) / done
            left = each * (len(over) - done) / 60
            say(f"{what}: {done} of {len(over)}, {each:.1f} s each, {left:.1f} min to go")

    return processes.in_processes(work, over, workers, said)
