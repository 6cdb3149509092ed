"""phantom-examples: crops of a training phantom for the classifiers, with what a segmenter proposes in it."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from artifacts.checkpoint import Blobs, CropSpec
from artifacts.examples import ORIGINS, Examples
from artifacts.trained import Trained
from tasks.stage import Params, stage
from tasks.training.candidates import bright_places, cut_examples, jittered, mimic_places, proposed
from tasks.training.phantoms import TrainingSource
from tasks.training.ready import network_of


class PhantomExamplesParams(Params):
    """Which crops of a phantom are kept."""

    spec: CropSpec = Field(
        CropSpec(shape_zyx=(38, 38, 38), spacing_zyx_mm=(1.0, 1.0, 1.0), border="pad"),
        title="Crop",
        description="Size, spacing and border rule; somewhat larger than the network's input, so that it can be turned",
    )
    jittered: int = Field(3, ge=0, le=50, title="Jittered", description="Crops of each nodule off its centre")
    bright: int = Field(40, ge=0, le=10_000, title="Bright", description="Crops at something dense in the lungs")
    mined: int = Field(
        150, ge=0, le=10_000, title="Mined", description="Most of what the segmenter proposes, most probable first"
    )
    blobs: int = Field(
        Blobs().shown,
        ge=0,
        le=2000,
        title="Blobs",
        description="Blobs of what is proposed, the clearest; with a segmenter only",
    )
    threshold: float = Field(
        0.1, ge=0.05, le=0.95, title="Threshold", description="Of the segmenter; lower than the line's: harder"
    )


@stage("phantom-examples", version=3, params=PhantomExamplesParams, gpu=True)
def phantom_examples(
    phantom: TrainingSource, segmenter: Trained | None = None, *, params: PhantomExamplesParams = PhantomExamplesParams()
) -> Examples:
    """Crops at every nodule and beside its centre, at mimics and bright places, at what ``segmenter`` proposes, and at blobs."""
    made = phantom.phantom
    rng = np.random.default_rng([2, phantom.seed])
    centers = np.array([n.center_lps_mm for n in made.nodules]).reshape(-1, 3)
    mimics = mimic_places(made)
    mined = blobs = np.zeros((0, 3))
    if segmenter:
        mined, blobs = proposed(made, network_of(segmenter), params.threshold, params.blobs)
    places = {
        "annotated": centers,
        "jittered": jittered(rng, made, params.jittered),
        "bright": np.concatenate([mimics, bright_places(rng, made, params.bright)]),
        "mined": mined[: params.mined],
        "blob": blobs,
    }
    origin = np.repeat([ORIGINS.index(o) for o in places], [len(p) for p in places.values()])
    return cut_examples(phantom, np.concatenate(list(places.values())), origin, params.spec)
