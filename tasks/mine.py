"""mine: crops of what a segmenter proposes: its own false lumps, the hardest negatives, and the nodules that it found."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from artifacts.checkpoint import CropSpec
from artifacts.examples import ORIGINS, Examples
from artifacts.lumps import Lumps
from artifacts.rows import Layout
from artifacts.volume import Volume
from tasks.cut import TRAINED_ON, CutParams, examples_at
from tasks.stage import Params, stage
from tasks.training.truth import Truth


class MineParams(Params):
    """Which of a segmenter's proposals are kept."""

    spec: CropSpec = Field(TRAINED_ON, title="Crop", description="Size, spacing and border rule of a crop")
    threshold: float = Field(
        0.1,
        ge=0.05,
        le=0.95,
        title="Threshold",
        description="Of the group stage while mining; lower than in screening: harder ones too",
    )
    most: int = Field(
        60, ge=1, le=100_000, title="Most of a scan", description="Proposals kept of a scan at most, the most probable first"
    )
    doubt_mm: float = Field(
        4.0,
        ge=0.0,
        le=50.0,
        title="Doubt",
        description="What lies this near beyond a nodule's radius is neither",
        json_schema_extra={"unit": "mm"},
    )
    layout: Layout = Field("hdf5", title="File format", description="HDF5 with one chunk a crop, or Zarr shards; the same crops")

    @property
    def bytes_a_crop(self) -> int:
        return 2 * int(np.prod(self.spec.shape_zyx))


@stage("mine", version=1, params=MineParams)
def mine(volume: Volume, lumps: Lumps, truth: Truth, params: MineParams = MineParams()) -> Examples:
    """The proposals' crops with their truth, most probable first; those beside a nodule or in an excluded finding left out."""
    ranked = sorted(lumps.candidates, key=lambda c: -c.probability)
    centers = np.array([c.center_lps_mm for c in ranked], np.float64).reshape(-1, 3)
    _, sure = truth.which(centers, params.doubt_mm)
    kept = centers[sure][: params.most]
    places = [(ORIGINS.index("mined"), p) for p in kept]
    return examples_at(volume, truth, places, CutParams(spec=params.spec, doubt_mm=params.doubt_mm, layout=params.layout))
