"""A folder as LUNA16 unpacks, made of small phantoms: subsets of .mhd files, annotations, candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from artifacts.volume import Volume
from tasks.phantom import Phantom, make_phantom

ANNOTATIONS = "seriesuid,coordX,coordY,coordZ,diameter_mm"
CANDIDATES = "seriesuid,coordX,coordY,coordZ,class"


@cache
def phantom(seed: int, nodules: int = 3) -> Phantom:
    return make_phantom(seed, nodules=nodules, small=True)


def write_mhd(volume: Volume, path: Path) -> None:
    """MetaImage with its voxels in a .raw beside it, as LUNA16's."""
    g = volume.geometry
    matrix = [v for axis in (2, 1, 0) for v in g.directions_zyx[axis]]
    header = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": False,
        "TransformMatrix": " ".join(f"{v:g}" for v in matrix),
        "Offset": " ".join(f"{v!r}" for v in g.origin_lps_mm),
        "ElementSpacing": " ".join(f"{v!r}" for v in reversed(g.spacing_zyx)),
        "DimSize": " ".join(map(str, reversed(g.shape_zyx))),
        "ElementType": "MET_SHORT",
        "ElementDataFile": f"{path.stem}.raw",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{k} = {v}\n" for k, v in header.items()))
    path.with_suffix(".raw").write_bytes(np.ascontiguousarray(volume.hu, "<i2").tobytes())


@dataclass
class LunaFolder:
    """phantoms: seed -> phantom, in subset (seed % 10); rows of the tables so far."""

    root: Path
    phantoms: dict[int, Phantom] = field(default_factory=dict)
    annotations: list[str] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)

    def add(self, seed: int, nodules: int = 3, candidates: int = 5) -> str:
        """Write the phantom's scan, note its nodules and some candidates. Returns its series UID."""
        made = self.phantoms[seed] = phantom(seed, nodules)
        uid = made.volume.series.uid
        write_mhd(made.volume, self.root / f"subset{seed % 10}" / f"{uid}.mhd")
        for n in made.nodules:
            self.annotations.append(",".join([uid, *map(repr, n.center_lps_mm), repr(n.diameter_mm)]))
            self.candidates.append(",".join([uid, *map(repr, n.center_lps_mm), "1"]))
        rng = np.random.default_rng(seed)
        flat = rng.choice(np.flatnonzero((made.lung_labels > 0) & (made.nodule_labels == 0)), candidates)
        places = np.stack(np.unravel_index(flat, made.lung_labels.shape), axis=1)
        for x, y, z in made.volume.geometry.lps_mm_from_zyx(places).tolist():
            self.candidates.append(f"{uid},{x!r},{y!r},{z!r},0")
        return uid

    def write_tables(self) -> Path:
        (self.root / "annotations.csv").write_text("\n".join([ANNOTATIONS, *self.annotations]) + "\n")
        (self.root / "candidates_V2.csv").write_text("\n".join([CANDIDATES, *self.candidates]) + "\n")
        return self.root


def luna_folder(root: Path, seeds: tuple[int, ...] = (1, 2, 3), nodule_free: tuple[int, ...] = ()) -> LunaFolder:
    made = LunaFolder(root)
    for seed in (*seeds, *nodule_free):
        made.add(seed, 0 if seed in nodule_free else 3)
    made.write_tables()
    return made
