"""Truth: what a data set says of one scan; what crops and patches of it are labelled by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from artifacts.dataset import Dataset, DatasetScan, Nodule, Ring
from tasks.training.labels import LabelMap

UNMEASURED_MM = 6.0  # diameter of an excluded finding that nobody measured: small nodules and spots, mostly


@dataclass(frozen=True)
class Truth:
    """nodules and excluded findings of one scan; rings[k]: what readers drew around nodule k, none where nobody did;
    candidates float64 ``[n, 3]`` LPS mm with labels int8 ``[n]``, the table's; label_map: where one came with the scan."""

    scan: DatasetScan
    nodules: tuple[Nodule, ...]
    excluded: tuple[Nodule, ...]
    rings: tuple[tuple[Ring, ...], ...]
    candidates_lps_mm: NDArray[np.float64]
    labels: NDArray[np.int8]
    label_map: LabelMap | None = None

    def for_crops(self) -> Truth:
        """Without what only masks are made of: other outlines do not change a crop."""
        return replace(self, rings=((),) * len(self.nodules), label_map=None)

    def for_patches(self) -> Truth:
        """Without candidates, which no patch is cut at."""
        return replace(self, candidates_lps_mm=np.zeros((0, 3)), labels=np.zeros(0, np.int8))

    @cached_property
    def digest(self) -> str:
        """Of all of it: a scan whose truth changed is cut again, and no other one."""
        rows = [asdict(self.scan), *(asdict(n) for n in (*self.nodules, *self.excluded))]
        h = hashlib.blake2b(json.dumps(rows, sort_keys=True).encode(), digest_size=16)
        for ring in (r for rings in self.rings for r in rings):
            h.update(f"{ring.reader}{ring.hole}{len(ring.points_lps_mm)}".encode())
            h.update(np.ascontiguousarray(ring.points_lps_mm).data)
        h.update(f"labels {self.label_map.digest if self.label_map else None}".encode())
        h.update(np.ascontiguousarray(self.candidates_lps_mm).data)
        h.update(np.ascontiguousarray(self.labels).data)
        return h.hexdigest()

    def open(self) -> Truth:
        return self

    def which(self, places_lps_mm: NDArray[np.float64], doubt_mm: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Of each place ``[n, 3]``: the index of the nodule it lies in (-1 none), and whether that is sure.

        In doubt is what lies beside a nodule, up to ``doubt_mm`` beyond its radius, and what lies in an excluded finding. What
        lies in a nodule is sure, though excluded findings lie there too: LUNA16 lists each reader's mark on it as one.
        """
        nearest, beyond = _nearest(places_lps_mm, self.nodules)
        _, beyond_excluded = _nearest(places_lps_mm, self.excluded)
        inside = beyond <= 0
        sure = inside | ((beyond > doubt_mm) & (beyond_excluded > 0))
        return np.where(inside, nearest, -1), sure


def _nearest(places: NDArray[np.float64], nodules: tuple[Nodule, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of each place the index of the nearest nodule, and how far it lies beyond that one's radius (below 0: inside)."""
    if not nodules or not len(places):
        return np.full(len(places), -1), np.full(len(places), np.inf)
    centers = np.array([n.center_lps_mm for n in nodules])
    radii = np.array([(n.diameter_mm if n.diameter_mm > 0 else UNMEASURED_MM) / 2 for n in nodules])
    beyond = np.linalg.norm(places[:, None] - centers[None], axis=2) - radii
    nearest = beyond.argmin(axis=1)
    return nearest, beyond[np.arange(len(places)), nearest]


def truth_of(dataset: Dataset, uid: str) -> Truth:
    """What ``dataset`` says of the scan ``uid``."""
    here = dataset.numbered(uid)
    nodules = [(k, n) for k, n in here if not n.excluded]
    rings = tuple(tuple(dataset.outlines.of(k)) for k, _ in nodules)
    excluded = tuple(n for _, n in here if n.excluded)
    return Truth(dataset.scan(uid), tuple(n for _, n in nodules), excluded, rings, *dataset.candidates.of(uid))
