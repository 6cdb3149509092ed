"""What networks are trained on: patches and crops of phantoms, cut at nodules, at what is mistaken for them, and anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.phantom import NoduleSpec, Phantom, make_phantom
from tasks.phantom.nodules import Kind
from tasks.phantom.splits import SEEDS
from tasks.phantom.style import Style

FIRST_SEED = {split: seeds.start for split, seeds in SEEDS.items()}
SLICE_MM = (1.0, 1.25, 1.5, 2.0, 2.0, 2.0, 2.5, 3.0)
CHEST_MM = 370.0
SUBSOLID: tuple[Kind, ...] = ("part-solid", "ground-glass")


def seeds(split: str, n: int) -> range:
    """``n`` seeds of a split: "train", "validation" or "test". Phantoms people ask for have seeds below a million."""
    return SEEDS[split][:n]


def training_phantom(
    seed: int,
    nodules: int = 24,
    *,
    style: Style = "classic",
    spacing_zyx: tuple[float, float, float] | None = None,
    mimics: float = 2.0,
) -> Phantom:
    """A phantom with many nodules and mimics; array axes run along z, y, x of the patient (train with flips of your own).

    spacing_zyx: mm; without it drawn from the seed. Classic: 0.6-0.9 mm, slices of 1-3 mm; varied: field of view, slices, kernel
    and dose as varied phantoms have them. A third of the nodules are small and subsolid, which chance alone seldom makes and
    networks most easily miss.
    """
    rng = np.random.default_rng([0x7EA1, seed])
    dz, dx = float(rng.choice(SLICE_MM)), round(float(rng.uniform(0.6, 0.9)), 3)
    faint = [NoduleSpec(float(rng.uniform(5, 13)), kind) for kind in SUBSOLID * (nodules // 6)]
    specs = [*faint, *(NoduleSpec() for _ in range(nodules - len(faint)))]
    if style == "classic" and spacing_zyx is None:
        spacing_zyx = (dz, dx, dx)
    shape = None if spacing_zyx is None else tuple(8 * round(CHEST_MM / d / 8) for d in spacing_zyx[1:])
    return make_phantom(
        seed,
        nodules=specs,
        shape_yx=shape,  # type: ignore[arg-type]
        spacing_zyx=spacing_zyx,
        mimics=mimics,
        style=style,
        posed=False,
    )


@dataclass
class Patches:
    """hu int16 ``[n, slices, y, x]``; masks uint8 ``[n, y, x]`` of the middle slice: 1 in a nodule."""

    hu: NDArray[np.int16]
    masks: NDArray[np.uint8]


def cut_patches(
    rng: np.random.Generator, phantom: Phantom, *, context: int = 3, size: int = 80, slices_a_nodule: int = 5
) -> Patches:
    """Patches through every nodule, and as many where there is something bright in the lungs, or anything at all."""
    from scipy.ndimage import find_objects

    hu, labels = phantom.volume.hu, phantom.nodule_labels
    boxes = [(k + 1, box) for k, box in enumerate(find_objects(labels)) if box is not None]
    positive = np.concatenate([_in_nodule(rng, labels[box] == k, box, slices_a_nodule, size // 3) for k, box in boxes])
    lung = phantom.lung_labels > 0
    lung[0] = lung[-1] = False
    bright, any_lung = np.flatnonzero(lung & (hu > -600) & (labels == 0)), np.flatnonzero(lung)
    flat = np.concatenate([rng.choice(bright, 2 * len(positive) // 3), rng.choice(any_lung, len(positive) // 2)])
    negative = np.stack(np.unravel_index(flat, hu.shape), axis=1)
    cuts = [_cut(hu, labels, center, context, size) for center in np.concatenate([positive, negative])]
    return Patches(np.stack([c[0] for c in cuts]), np.stack([c[1] for c in cuts]))


def _in_nodule(
    rng: np.random.Generator, mask: NDArray[np.bool_], box: tuple[slice, ...], n: int, jitter: int
) -> NDArray[np.int64]:
    """``[<= n, 3]`` places (z, y, x): different slices of a nodule, off its middle by up to ``jitter`` pixels."""
    z, y, x = (i + window.start for i, window in zip(np.nonzero(mask), box, strict=True))
    slices = rng.permutation(np.unique(z))[:n]
    middle = np.array([y.mean(), x.mean()]) + rng.integers(-jitter, jitter + 1, (len(slices), 2))
    return np.column_stack([slices, np.rint(middle).astype(np.int64)])


def _cut(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], center: NDArray[np.int64], context: int, size: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Edge slices repeat, and the box is moved inside at the sides, as in the segment stage."""
    z = np.clip(np.arange(center[0] - context, center[0] + context + 1), 0, len(hu) - 1)
    y0, x0 = (int(np.clip(c - size // 2, 0, n - size)) for c, n in zip(center[1:], hu.shape[1:], strict=True))
    window = (slice(y0, y0 + size), slice(x0, x0 + size))
    return hu[z][:, *window], (labels[center[0]][window] > 0).astype(np.uint8)
