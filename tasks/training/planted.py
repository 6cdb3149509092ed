"""Real scans to train on, with nodules planted into them: real lungs, real noise, and all that is in lungs and no nodule."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from artifacts.dataset import Split
from artifacts.geometry import Vector
from artifacts.lungmask import LungMask
from artifacts.volume import Volume
from tasks.balls import filled
from tasks.load import load
from tasks.outline import outline
from tasks.phantom import Phantom
from tasks.phantom.nodules import least_seen_mm
from tasks.phantom.plant import plant, thickness_mm
from tasks.reading.choose import choose_series
from tasks.reading.find import find_series
from tasks.reading.read import read_scan
from tasks.reading.source import open_source
from tasks.training.phantoms import MIXTURE, mixture

VERSION = 2  # rises when the same scan and seed give other nodules
NODULES = 24  # asked for; where there is no room there are fewer

Doubtful = tuple[tuple[Vector, float], ...]  # centre (LPS mm) and radius (mm) of what is there already, nodule or not


@lru_cache(maxsize=1)
def read_soil(path: Path) -> tuple[str, Volume, LungMask]:
    """The best series of ``path``: digest of its voxels, its volume, its lungs. Raises as `hounsfield screen` does."""
    with tempfile.TemporaryDirectory() as scratch, open_source(path, Path(scratch)) as opened:
        raw = read_scan(choose_series(find_series(opened))[0][0])
    volume = load(raw)
    return raw.digest(), volume, outline(volume)


def doubtful_in(table: Path, uid: str) -> Doubtful:
    """What a CSV of LUNA16's columns says of one series."""
    import pandas as pd

    rows = pd.read_csv(table, dtype={"seriesuid": str}).query("seriesuid == @uid")
    centers = rows[["coordX", "coordY", "coordZ"]].to_numpy(float).tolist()
    return tuple(((x, y, z), d / 2) for (x, y, z), d in zip(centers, rows["diameter_mm"].tolist(), strict=True))


@dataclass(frozen=True)
class PlantedSource:
    """A real scan with planted nodules as a line takes it: known by its voxels and a seed, made when it is opened, once."""

    path: Path  # for reading only: neither the digest nor the name says it
    seed: int
    doubtful: Doubtful = ()
    split: Split = "train"

    @cached_property
    def digest(self) -> str:
        text = f"{VERSION} {MIXTURE} {read_soil(self.path)[0]} {self.seed} {self.doubtful} {NODULES}"
        return hashlib.blake2b(text.encode(), digest_size=16, person=b"planted").hexdigest()

    @property
    def uid(self) -> str:
        return f"planted-{self.digest[:12]}-{self.seed}"

    @cached_property
    def phantom(self) -> Phantom:
        _, volume, lungs = read_soil(self.path)
        wishes = mixture(np.random.default_rng([0x91A8, self.seed]), NODULES, least_seen_mm(thickness_mm(volume)))
        planted = plant(volume, lungs, self.seed, wishes, self.doubtful)
        labels = np.where(filled(volume.geometry, self.doubtful), 0, lungs.labels).astype(np.uint8)
        return Phantom(self.seed, planted.volume, planted.nodules, planted.labels, labels, doubtful=list(self.doubtful))

    def open(self) -> PlantedSource:
        return self
