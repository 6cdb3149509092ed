"""Small artifacts on any grid, with everything filled in, for tests of what people see."""

from __future__ import annotations

import numpy as np

from artifacts.crops import Crops
from artifacts.findings import Finding, Findings
from artifacts.geometry import Geometry, Vector
from artifacts.heatmap import HeatMap
from artifacts.lumps import Candidate, Lump, Lumps
from artifacts.lungmask import LungMask
from artifacts.scores import Scores
from artifacts.volume import QCFinding, Series, SourceSlice, Volume

Order = tuple[int, int, int]


def grid(shape_patient: Order, spacing_patient: Vector, order: Order = (2, 1, 0), signs: Order = (1, 1, 1)) -> Geometry:
    """A grid whose array axis ``i`` runs along patient axis ``order[i]`` (x, y, z), backwards where ``signs[i]`` is -1.

    Shape and spacing are given along the patient's x, y, z; the grid's middle lies at LPS (0, 0, 0).
    """
    directions = [tuple(float(s) if p == o else 0.0 for p in range(3)) for o, s in zip(order, signs, strict=True)]
    shape = tuple(shape_patient[o] for o in order)
    spacing = tuple(spacing_patient[o] for o in order)
    corner = -sum(np.array(d) * (n - 1) / 2 * s for d, n, s in zip(directions, shape, spacing, strict=True))
    return Geometry(shape, spacing, tuple(corner.tolist()), tuple(directions))  # type: ignore[arg-type]


def ball(geometry: Geometry, center_lps_mm: Vector, radius_mm: float) -> np.ndarray:
    """Where voxel centres lie within a ball."""
    zyx = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij"), axis=-1)
    return np.linalg.norm(geometry.lps_mm_from_zyx(zyx) - center_lps_mm, axis=-1) <= radius_mm


def chest(geometry: Geometry, **series: object) -> dict:
    """A body with two lungs and three findings, as the arguments of the stage ``report``, and crops and scores beside them."""
    hu = np.full(geometry.shape_zyx, -1024, dtype=np.int16)
    hu[ball(geometry, (0, 0, 0), 95)] = 40
    right, left = ball(geometry, (-45, 0, 0), 38), ball(geometry, (45, 0, 0), 38)
    hu[right | left] = -850
    labels = np.zeros(geometry.shape_zyx, dtype=np.uint16)
    heat = np.zeros(geometry.shape_zyx, dtype=np.uint8)
    found, lumps, candidates = [], [], []
    places = [
        ((-50.0, -10.0, 12.0), 9.0, 0.998, 0.93),
        ((40.0, 15.0, -10.0), 6.0, 0.8, None),
        ((-40.0, 18.0, -8.0), 5.0, 0.4, 0.1),
    ]
    for rank, (lps, radius, p, p_malignant) in enumerate(places, 1):
        blob = ball(geometry, lps, radius)
        hu[blob], labels[blob], heat[blob] = 30, rank, round(255 * p)
        zyx: Vector = tuple(geometry.zyx_from_lps_mm(lps).tolist())  # type: ignore[assignment]
        z, volume_mm3 = int(np.clip(round(zyx[0]), 0, geometry.shape_zyx[0] - 1)), float(blob.sum() * geometry.voxel_mm3)
        side = "right" if lps[0] < 0 else "left"
        found.append(
            Finding(rank, rank, lps, zyx, 2 * radius, 2.2 * radius, 1.8 * radius, volume_mm3, 30.0, p, p_malignant, side, 7.5, z,
                    z + 1, f"1.2.3.{z}", (rank,))
        )  # fmt: skip
        lumps.append(Lump(rank, zyx, lps, volume_mm3, 2 * radius, 2 * radius, 2 * radius, p, p, 7.5))
        candidates.append(Candidate(rank, "peak", zyx, lps, radius, p))
    slices = tuple(SourceSlice(f"1.2.3.{i}", i + 1, i * geometry.spacing_zyx[0]) for i in range(geometry.shape_zyx[0]))
    about = Series(**{"uid": "1.2.3", "kernel": "B70f", "slices": slices} | series)  # type: ignore[arg-type]
    checks = [QCFinding("thick-slices", "warning", "slices are 5 mm apart")]
    return {
        "volume": Volume(hu, geometry, about, checks, tuple(range(len(slices)))),
        "lung_mask": LungMask(right.astype(np.uint8) + 2 * left.astype(np.uint8), geometry),
        "heat_map": HeatMap(heat, geometry),
        "lumps": Lumps(lumps, candidates, geometry),
        "findings": Findings(found, labels, geometry),
    }


def nothing_found(inputs: dict) -> dict:
    """The same chest, in which no stage found anything."""
    geometry = inputs["volume"].geometry
    return inputs | {
        "heat_map": HeatMap(np.zeros(geometry.shape_zyx, dtype=np.uint8), geometry),
        "lumps": Lumps([], [], geometry),
        "findings": Findings([], np.zeros(geometry.shape_zyx, dtype=np.uint16), geometry),
    }


def crops_and_scores(n: int) -> tuple[Crops, Scores]:
    rng = np.random.default_rng(0)
    crops = Crops(
        rng.integers(-1000, 400, (n, 8, 12, 12), dtype=np.int16),
        rng.normal(size=(n, 3)),
        np.full((n, 3), 4, dtype=np.int32),
        (2.5, 0.7, 0.7),
    )
    probability = rng.random(n).astype(np.float32)
    probability[1::5] = np.nan
    return crops, Scores("nodule", probability, np.ones(n, dtype=np.int32))
