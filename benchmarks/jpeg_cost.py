"""What JPEG costs in accuracy: the same images learned and tested with exact pixels, and as the JPEG files of the other set.

    python -m benchmarks.jpeg_cost --network fast --epochs 16

Each exact image's twin is the nearest image of its class among the JPEG files. Both sets are cut into the same folds; every
image is tested once, by a network trained from the same seed on the other folds, so that only the pixels differ. What is done
is kept in ``--out``; stopped, it goes on. After each fold it says what all folds so far tell.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.images import HeldOutImages, Images, Labelled, TrainingImages
from benchmarks.__main__ import hardware
from benchmarks.cifar import opened
from tests.conftest import real_data

CIFAR = real_data() / "cifar10"
DRAWS = 10_000


def both(images: Images) -> Labelled:
    parts = (images.train, images.test)
    return Labelled(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))


def twins(exact: Labelled, others: Labelled) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each exact image the index of the nearest of ``others`` with its label, and how far it is in mean grey levels."""
    at, apart = np.zeros(len(exact), np.int64), np.zeros(len(exact))
    for label in np.unique(exact.labels):
        mine, theirs = np.flatnonzero(exact.labels == label), np.flatnonzero(others.labels == label)
        a, b = (np.float32(s.images[i]).reshape(len(i), -1) for s, i in ((exact, mine), (others, theirs)))
        at[mine] = theirs[((b * b).sum(1) - 2 * a @ b.T).argmin(1)]
        apart[mine] = np.abs(a - np.float32(others.images[at[mine]]).reshape(len(mine), -1)).mean(1)
    return at, apart


def right(pixels: Labelled, like: Images, fold: NDArray[np.bool_], network: str, epochs: int, seed: int) -> NDArray[np.bool_]:
    """Which images of ``fold`` are told right by a network trained on all others."""
    from tasks.images.evaluate import evaluate
    from tasks.images.recipes import TrainParams
    from tasks.images.statistics import statistics
    from tasks.images.train import train

    part = lambda chosen: (pixels.images[chosen], pixels.labels[chosen])  # noqa: E731
    images = replace(like, train=TrainingImages(*part(~fold)), test=HeldOutImages(*part(fold)))
    trained = train(images, statistics(images), TrainParams(network=network, epochs=epochs, seed=seed))
    scores = evaluate(images, trained)
    return np.asarray(scores.probability.argmax(1) == scores.truth)


def main() -> None:
    about = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=about[0], epilog=about[2], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exact", type=Path, default=CIFAR / "lossless.npz")
    parser.add_argument("--jpeg", type=Path, default=CIFAR / "jpeg-60000.zip")
    parser.add_argument("--network", default="fast")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/jpeg-cost"))
    given = parser.parse_args()
    like, files = opened(given.exact), opened(given.jpeg)
    if sorted(like.classes) != sorted(files.classes):
        parser.error(f"other classes: {like.classes} and {files.classes}")
    exact, others = both(like), both(files)
    exact = Labelled(exact.images, np.array([files.classes.index(c) for c in like.classes])[exact.labels])
    like = replace(like, classes=files.classes)
    at, apart = twins(exact, others)
    known = np.bincount(at, minlength=len(others))[at] == 1  # a file that two images are nearest to is nobody's twin
    exact, jpeg = Labelled(exact.images[known], exact.labels[known]), Labelled(others.images[at[known]], others.labels[at[known]])
    print(f"{len(exact):,} of {len(known):,} images have a twin, {apart[known].mean():.1f} grey levels away", flush=True)
    fold_of = np.random.default_rng(0).permutation(len(exact)) % given.folds
    given.out.mkdir(parents=True, exist_ok=True)
    told = {"exact": np.zeros(len(exact), bool), "jpeg": np.zeros(len(exact), bool)}
    for fold in range(given.folds):
        for name, pixels in (("exact", exact), ("jpeg", jpeg)):
            kept = given.out / f"{given.network}-{given.epochs}-{given.folds}-{fold}-{name}.json"
            if not kept.exists():
                answer = right(pixels, like, fold_of == fold, given.network, given.epochs, seed=fold)
                kept.write_text(json.dumps(answer.tolist()))
            told[name][fold_of == fold] = json.loads(kept.read_text())
        tested = fold_of <= fold
        print(f"{given.network}, {given.epochs} epochs of {(fold_of != fold).sum():,} images, {tested.sum():,} tested: ", end="")
        print(cost(told["exact"][tested], told["jpeg"][tested]), flush=True)
    print(hardware())


def cost(exact: NDArray[np.bool_], jpeg: NDArray[np.bool_]) -> str:
    """The shares that are right, and their difference with the 2.5 and 97.5 percentiles of draws of the images."""
    gap = exact.astype(float) - jpeg
    low, high = np.percentile(100 * np.random.default_rng(0).choice(gap, (DRAWS, len(gap))).mean(1), [2.5, 97.5])
    both = f"exact {100 * exact.mean():.2f} %, JPEG {100 * jpeg.mean():.2f} %"
    return f"{both}: {100 * gap.mean():.2f} points (95 %: {low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
