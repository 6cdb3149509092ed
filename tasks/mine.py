"""mine: crops of what a segmenter and the blob filter propose: false ones, the hardest negatives, and the nodules they found."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from artifacts.checkpoint import Blobs, CropSpec
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
        60, ge=1, le=100_000, title="Most of a scan", description="Lumps' places kept of a scan at most, the most probable first"
    )
    blobs: int = Field(Blobs().shown, ge=0, le=2000, title="Blobs", description="Blobs kept of a scan, the clearest first")
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
    def most_crops(self) -> int:
        return self.most + self.blobs

    @property
    def bytes_a_crop(self) -> int:
        return 2 * int(np.prod(self.spec.shape_zyx))


@stage("mine", version=2, params=MineParams)
def mine(volume: Volume, lumps: Lumps, truth: Truth, params: MineParams = MineParams()) -> Examples:
    """The proposals' crops with their truth; those beside a nodule or in an excluded finding left out.

    What lies in lumps comes first, the most probable first; then the blobs.
    """
    lump = sorted((c for c in lumps.candidates if c.source != "blob"), key=lambda c: -c.probability)
    blob = [c for c in lumps.candidates if c.source == "blob"]
    places = []
    for origin, proposed, most in (("mined", lump, params.most), ("blob", blob, params.blobs)):
        centers = np.array([c.center_lps_mm for c in proposed], np.float64).reshape(-1, 3)
        _, sure = truth.which(centers, params.doubt_mm)
        places += [(ORIGINS.index(origin), p) for p in centers[sure][:most]]
    return examples_at(volume, truth, places, CutParams(spec=params.spec, doubt_mm=params.doubt_mm, layout=params.layout))
