"""phantom-patches: slices of a training phantom for the segmenter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.examples import ORIGINS as OF_EXAMPLES
from artifacts.examples import Examples
from artifacts.patches import ORIGINS, Patches
from tasks.balls import filled
from tasks.phantom import Phantom
from tasks.stage import Params, stage
from tasks.training.candidates import bright_places, mimic_places
from tasks.training.masks import through
from tasks.training.phantoms import TrainingSource

MINED = OF_EXAMPLES.index("mined")


class PhantomPatchesParams(Params):
    """Which patches of a phantom are kept."""

    context: int = Field(3, ge=0, le=9, title="Context", description="Slices above and below that the network sees")
    size: int = Field(80, ge=16, le=512, title="Size", description="Pixels of a patch's side")
    slices_a_nodule: int = Field(5, ge=1, le=50, title="Patches a nodule", description="Through each nodule, large or small")
    bright: float = Field(0.6, ge=0, le=10, title="Bright", description="Patches at something dense, for each through a nodule")
    lung: float = Field(
        0.4, ge=0, le=10, title="Anywhere", description="Patches anywhere in the lungs, for each through a nodule"
    )


@stage("phantom-patches", version=2, params=PhantomPatchesParams)
def phantom_patches(
    phantom: TrainingSource, examples: Examples | None = None, *, params: PhantomPatchesParams = PhantomPatchesParams()
) -> Patches:
    """Patches through every nodule, at every mimic, where there is something bright in the lungs, and anywhere in them.

    examples: crops of the same phantom; patches at what a segmenter wrongly proposed in it are cut as well.
    """
    from scipy.ndimage import find_objects

    made = phantom.phantom
    rng, labels = np.random.default_rng([1, phantom.seed]), made.nodule_labels
    boxes = [(k, box) for k, box in enumerate(find_objects(labels)) if box is not None]
    jitter = params.size // 3
    cut = [through(rng, box, labels[box] == k + 1, params.slices_a_nodule, jitter) for k, box in boxes]
    positive = np.concatenate(cut) if cut else np.zeros((0, 3), np.int64)
    nodule = np.repeat([k for k, _ in boxes], [len(places) for places in cut]).astype(np.int32)
    n = max(len(positive), 20)
    at = [mimic_places(made), bright_places(rng, made, round(params.bright * n))]
    dense = np.rint(made.volume.geometry.zyx_from_lps_mm(np.concatenate(at))).astype(np.int64)
    wrong = np.zeros((0, 3)) if examples is None else wrongly_proposed(examples)
    called = np.rint(made.volume.geometry.zyx_from_lps_mm(wrong)).astype(np.int64)
    places = [positive, dense, _anywhere(rng, made, round(params.lung * n)), called]
    centers = np.concatenate(places)
    cuts = [_cut(made.volume.hu, labels, center, params.context, params.size) for center in centers]
    masks = np.stack([c[1] for c in cuts])
    ignore = np.zeros_like(masks)
    if made.doubtful:
        doubt = filled(made.volume.geometry, made.doubtful).view(np.uint8)
        doubts = [_cut(made.volume.hu, doubt, center, params.context, params.size)[1] for center in centers]
        ignore = np.where(masks > 0, 0, np.stack(doubts)).astype(np.uint8)
    return Patches(
        uid=phantom.uid,
        patient=phantom.uid,
        split=phantom.split,
        fold=0,
        spacing_zyx_mm=made.volume.geometry.spacing_zyx,
        hu=np.stack([c[0] for c in cuts]),
        masks=masks,
        ignore=ignore,
        nodule=np.concatenate([nodule, np.full(len(centers) - len(nodule), -1)]),
        origin=np.repeat([ORIGINS.index(o) for o in ("nodule", "bright", "lung", "mined")], [len(p) for p in places]),
        centers_lps_mm=made.volume.geometry.lps_mm_from_zyx(centers),
    )


def wrongly_proposed(examples: Examples) -> NDArray[np.float64]:
    """``[n, 3]`` (LPS mm) what a segmenter proposed and is no nodule."""
    return np.asarray(examples.centers_lps_mm)[(examples.origin == MINED) & (examples.label == 0)]


def _anywhere(rng: np.random.Generator, phantom: Phantom, n: int) -> NDArray[np.int64]:
    flat = rng.choice(np.flatnonzero(phantom.lung_labels), n)
    return np.stack(np.unravel_index(flat, phantom.lung_labels.shape), axis=1).astype(np.int64)


def _cut(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], center: NDArray[np.int64], context: int, size: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Edge slices repeat, and the box is moved inside at the sides, as in the segment stage."""
    middle = int(np.clip(center[0], 0, len(hu) - 1))
    z = np.clip(np.arange(middle - context, middle + context + 1), 0, len(hu) - 1)
    y0, x0 = (int(np.clip(c - size // 2, 0, n - size)) for c, n in zip(center[1:], hu.shape[1:], strict=True))
    window = (slice(y0, y0 + size), slice(x0, x0 + size))
    return hu[z, *window], (labels[middle][window] > 0).astype(np.uint8)
