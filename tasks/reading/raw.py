"""A scan as it was read: every slice in Hounsfield units with its own place; nothing mended yet."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import InputError
from artifacts.geometry import Vector
from artifacts.volume import QCFinding, Series

MAX_VOXELS = 4 * 10**9
MAX_SIDE = 8192
HASHED_TOGETHER = 16  # slices a hash
PSEUDONYM = "scan-"


def check_size(shape_zyx: tuple[int, int, int]) -> None:
    """Refuse before any memory is asked for. Raises InputError."""
    voxels = shape_zyx[0] * shape_zyx[1] * shape_zyx[2]
    if min(shape_zyx) < 1 or max(shape_zyx[1:]) > MAX_SIDE or voxels > MAX_VOXELS:
        size = " x ".join(map(str, shape_zyx))
        raise InputError(f"the scan would have {size} voxels: at most {MAX_SIDE} a side and {MAX_VOXELS:.0e} in all are read")


@dataclass
class RawScan:
    """What ``load`` takes.

    hu            int16 ``[z, y, x]`` Hounsfield units, -1024 where there is padding or less than -1024; planes in ascending
                  order to the head, their rows and columns along the patient's (to the back, to the left)
    places_lps_mm float64 ``[z, 3]``: LPS centre of each slice's first voxel
    row_lps, column_lps  unit vectors: where a step along x, along y goes
    spacing_yx    mm between voxels along y, x
    unreadable    slices (or files beside them) that could not be read and are not in ``hu``
    tilt_deg      what the header says of the gantry
    """

    hu: NDArray[np.int16]
    places_lps_mm: NDArray[np.float64]
    row_lps: Vector
    column_lps: Vector
    spacing_yx: tuple[float, float]
    series: Series
    qc: list[QCFinding] = field(default_factory=list)
    unreadable: int = 0
    tilt_deg: float | None = None

    def digest(self) -> str:
        """32 hex digits: of the voxels, where they lie, the series' identity. Equal for equal scans, wherever they are kept."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        starts = range(0, len(self.hu), HASHED_TOGETHER)
        with ThreadPoolExecutor(2) as two:  # hashing lets go of the interpreter's lock
            parts = list(two.map(self._slab_digest, starts))
        return hashlib.blake2b(b"".join([self._identity(), *parts]), digest_size=16).hexdigest()

    def _slab_digest(self, start: int) -> bytes:
        slab = np.ascontiguousarray(self.hu[start : start + HASHED_TOGETHER])
        return hashlib.blake2b(slab.data, digest_size=32).digest()

    def _identity(self) -> bytes:
        uid = "" if self.series.uid.startswith(PSEUDONYM) else self.series.uid
        about = {
            "shape": self.hu.shape,
            "places": self.places_lps_mm.tolist(),
            "axes": [self.row_lps, self.column_lps, self.spacing_yx],
            "series": asdict(replace(self.series, uid=uid, transfer_syntax=None)),
            "qc": [asdict(q) for q in self.qc],
            "unreadable": self.unreadable,
            "tilt": self.tilt_deg,
        }
        return json.dumps(about, sort_keys=True).encode()

    def name_by_content(self) -> None:
        """Give a scan without a UID of its own a pseudonym made of its content."""
        if not self.series.uid:
            self.series = replace(self.series, uid=PSEUDONYM + self.digest()[:12])
