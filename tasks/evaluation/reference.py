"""Reference standard: what is known to be in one scan, handed to the line like a scan: with a digest, opened when needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from artifacts.dataset import Nodule
from artifacts.volume import Volume

if TYPE_CHECKING:
    from tasks.phantom import Phantom

Labels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Reference:
    """nodules: excluded ones too; facts: what results are broken down by.

    outlined: gives, for a volume, uint ``[z, y, x]`` labels on its grid: 0, or 1 + index into ``nodules``; None: no outlines.
    """

    uid: str
    patient: str
    nodules: tuple[Nodule, ...]
    facts: Mapping[str, float | str] = field(default_factory=dict)
    outlined: Callable[[Volume], Labels] | None = None

    @property
    def digest(self) -> str:
        """Of all that is known, and whether nodules are outlined (their outlines come from where the nodules come from)."""
        known = [self.uid, self.patient, [asdict(n) for n in self.nodules], dict(self.facts), self.outlined is not None]
        return hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=16).hexdigest()

    def open(self) -> Reference:
        return self


def reference_of_phantom(phantom: Phantom) -> Reference:
    """The phantom's own nodules, outlines and how it was scanned."""
    uid = phantom.volume.series.uid
    nodules = tuple(
        Nodule(uid, n.center_lps_mm, n.diameter_mm, n.malignant, row=k, kind=n.kind, margin=n.margin, place=n.place)
        for k, n in enumerate(phantom.nodules)
    )
    facts: dict[str, float | str] = dict(getattr(phantom, "facts", {}))
    return Reference(uid, f"phantom-{phantom.seed}", nodules, facts, lambda _volume: phantom.nodule_labels)
