"""cut: a scan's crops for training classifiers: its nodules, some of them off centre, and what is none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from artifacts.checkpoint import CropSpec
from artifacts.examples import ORIGINS, Examples
from artifacts.geometry import Geometry
from artifacts.lumps import Candidate, Lumps
from artifacts.lungmask import LungMask
from artifacts.rows import Layout
from artifacts.volume import Volume
from tasks.crop import CropParams, crop
from tasks.stage import Params, stage
from tasks.training.truth import Truth

BRIGHT_HU = -500
MOST_OFF_MM = 3.0
TRAINED_ON = CropSpec(shape_zyx=(32, 32, 32), spacing_zyx_mm=(1.0, 1.0, 1.0), border="pad")


class CutParams(Params):
    """Which crops of a scan are kept."""

    spec: CropSpec = Field(TRAINED_ON, title="Crop", description="Size, spacing and border rule of a crop")
    jittered: int = Field(
        3, ge=0, le=50, title="Off centre", description="Further crops of each nodule, off its centre by chance"
    )
    positives: int = Field(
        200, ge=0, le=10_000, title="Most of nodules", description="Crops of nodules kept of a scan at most, centres first"
    )
    negatives: int = Field(
        100, ge=0, le=100_000, title="Most of anything else", description="Crops of what is no nodule kept of a scan at most"
    )
    bright: float = Field(
        0.4,
        ge=0.0,
        le=1.0,
        title="Bright places",
        description="Share of the negatives taken at dense places in the lungs; the rest: the table's candidates",
    )
    doubt_mm: float = Field(
        4.0,
        ge=0.0,
        le=50.0,
        title="Doubt",
        description="What lies this near beyond a nodule's radius is neither",
        json_schema_extra={"unit": "mm"},
    )
    seed: int = Field(0, ge=0, le=2**31, title="Seed", description="Another seed, other places")
    layout: Layout = Field("hdf5", title="File format", description="HDF5 with one chunk a crop, or Zarr shards; the same crops")

    def most(self, nodules: int, candidates: int) -> int:
        """Crops that a scan of so many nodules gives at most, whatever it looks like."""
        return min(self.positives, nodules * (1 + self.jittered) + candidates) + self.negatives

    @property
    def bytes_a_crop(self) -> int:
        return 2 * int(np.prod(self.spec.shape_zyx))


@stage("cut", version=1, params=CutParams)
def cut(volume: Volume, lung_mask: LungMask, truth: Truth, params: CutParams = CutParams()) -> Examples:
    """Crops of one scan with their truth, as ``artifacts.examples`` tells. A scan without nodules gives negatives alone.

    Candidates of the table count by where they lie: in an annotated nodule, or clear of all; those in doubt are left out. Where
    the table has too few, dense places in the lungs make up for them.
    """
    rng = np.random.default_rng([params.seed, *truth.scan.uid.encode()])
    found = _positives(rng, truth, params)
    table = _negatives_of_table(rng, truth, params)
    wanted = min(round(params.negatives * params.bright), params.negatives)
    table = table[: params.negatives - wanted]
    bright = bright_places(rng, volume, lung_mask, truth, params.negatives - len(table), params.doubt_mm)
    places = [(ORIGINS.index(o), p) for o, ps in (*found, ("candidate", table), ("bright", bright)) for p in ps]
    return examples_at(volume, truth, places, params)


def _positives(rng: np.random.Generator, truth: Truth, params: CutParams) -> list[tuple[str, NDArray[np.float64]]]:
    """Places in nodules, by origin: centres, then off centre, then the table's candidates; as many as may be kept."""
    centers = np.array([n.center_lps_mm for n in truth.nodules]).reshape(-1, 3)
    off = np.minimum([n.diameter_mm / 4 for n in truth.nodules], MOST_OFF_MM).repeat(params.jittered)
    jittered = centers.repeat(params.jittered, axis=0)
    jittered = jittered + rng.uniform(-1, 1, jittered.shape) * off[:, None] / np.sqrt(3)
    of_table = truth.candidates_lps_mm[truth.labels == 1]
    nodule, _ = truth.which(of_table, params.doubt_mm)
    left, found = params.positives, []
    for origin, places in (("annotated", centers), ("jittered", jittered), ("candidate", of_table[nodule >= 0])):
        places = places[np.sort(rng.permutation(len(places))[:left])]
        found.append((origin, places))
        left -= len(places)
    return found


def _negatives_of_table(rng: np.random.Generator, truth: Truth, params: CutParams) -> NDArray[np.float64]:
    """The table's candidates that are clear of every nodule and finding, shuffled."""
    places = truth.candidates_lps_mm[truth.labels == 0]
    nodule, sure = truth.which(places, params.doubt_mm)
    return rng.permutation(places[sure & (nodule < 0)])


def bright_places(
    rng: np.random.Generator, volume: Volume, lung_mask: LungMask, truth: Truth, n: int, doubt_mm: float
) -> NDArray[np.float64]:
    """``[<= n, 3]`` (LPS mm) voxels of vessels, scars and borders in the lungs, clear of every nodule and finding."""
    bright = np.flatnonzero((lung_mask.labels > 0) & (volume.hu > BRIGHT_HU))
    drawn = rng.choice(bright, min(max(20 * n, 2000), len(bright)), replace=False) if n and len(bright) else bright[:0]
    places = volume.geometry.lps_mm_from_zyx(np.stack(np.unravel_index(drawn, volume.hu.shape), axis=1)).reshape(-1, 3)
    nodule, sure = truth.which(places, doubt_mm)
    return places[sure & (nodule < 0)][:n]


def examples_at(volume: Volume, truth: Truth, places: list[tuple[int, NDArray[np.float64]]], params: CutParams) -> Examples:
    """Crops at ``places`` (origin, LPS mm), each with the truth of the nodule that it lies in."""
    centers = np.array([p for _, p in places]).reshape(-1, 3)
    crops = crop(volume, lumps_at(centers, volume.geometry), params=CropParams(spec=params.spec))
    index, _ = truth.which(centers, params.doubt_mm)
    of = [truth.nodules[k] if k >= 0 else None for k in index]
    scan = truth.scan
    return Examples(
        uid=scan.uid,
        patient=scan.patient,
        split=scan.split,
        fold=scan.fold,
        spec=params.spec,
        spacing_zyx_mm=crops.spacing_zyx_mm,
        hu=crops.hu,
        label=np.array([n is not None for n in of], np.uint8),
        malignant=np.array([-1 if n is None or n.malignant is None else n.malignant for n in of], np.int8),
        nodule=np.array([-1 if n is None else n.row for n in of], np.int32),
        origin=np.array([o for o, _ in places], np.uint8),
        diameter_mm=np.array([0.0 if n is None else n.diameter_mm for n in of], np.float32),
        rating=np.array([np.nan if n is None or n.rating is None else n.rating for n in of], np.float32),
        risk=np.array([np.nan if n is None or n.risk is None else n.risk for n in of], np.float32),
        centers_lps_mm=centers,
        offset_zyx=crops.offset_zyx,
        layout=params.layout,
    )


def lumps_at(centers_lps_mm: NDArray[np.float64], geometry: Geometry) -> Lumps:
    """Places as the crop stage wants them."""
    zyx = geometry.zyx_from_lps_mm(centers_lps_mm)
    rows = zip(zyx.tolist(), centers_lps_mm.tolist(), strict=True)
    return Lumps([], [Candidate(1, "center", tuple(i), tuple(p), 0.0, 1.0) for i, p in rows], geometry)
