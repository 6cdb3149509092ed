"""Reference standard: what is known to be in one scan, handed to the line like a scan: with a digest, opened when needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from artifacts.dataset import Nodule
from artifacts.volume import Volume

if TYPE_CHECKING:
    from tasks.phantom import Phantom
    from tasks.training.truth import Truth

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
    of: str = ""  # digest of what the outlines are drawn from

    @property
    def digest(self) -> str:
        """Of all that is known."""
        known = [self.uid, self.patient, [asdict(n) for n in self.nodules], dict(self.facts), self.outlined is not None, self.of]
        return hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=16).hexdigest()

    def open(self) -> Reference:
        return self


def reference_of_phantom(phantom: Phantom) -> Reference:
    """The phantom's own nodules, outlines and how it was scanned."""
    uid = phantom.volume.series.uid
    nodules = tuple(
        Nodule(
            uid,
            n.center_lps_mm,
            n.diameter_mm,
            n.malignant,
            row=k,
            kind=n.kind,
            margin=n.margin,
            place=n.place,
            risk=n.p_malignant,
        )
        for k, n in enumerate(phantom.nodules)
    )
    return Reference(uid, f"phantom-{phantom.seed}", nodules, dict(phantom.facts), lambda _volume: phantom.nodule_labels)


def reference_of_scan(truth: Truth) -> Reference:
    """What a data set says of a scan. Nodules are outlined where a label map came with it, or readers drew around all of them."""
    outlined: Callable[[Volume], Labels] | None = None
    if truth.label_map:
        outlined = partial(_labelled, truth)
    elif truth.rings and all(truth.rings):
        outlined = partial(_drawn, truth)
    scan = truth.scan
    return Reference(scan.uid, scan.patient, (*truth.nodules, *truth.excluded), outlined=outlined, of=truth.digest)


def _labelled(truth: Truth, volume: Volume) -> Labels:
    """uint16 ``[z, y, x]``: what the label map holds."""
    from tasks.training.masks import in_label_map

    there, labels = in_label_map(truth, volume.geometry), np.zeros(volume.hu.shape, dtype=np.uint16)
    for k, nodule in enumerate(truth.nodules):
        if nodule.row in there:
            box, mask = there[nodule.row]
            labels[box][mask] = k + 1
    return labels


def _drawn(truth: Truth, volume: Volume) -> Labels:
    """uint16 ``[z, y, x]``: voxels that half of the readers drew in."""
    from tasks.training.masks import drawn

    labels = np.zeros(volume.hu.shape, dtype=np.uint16)
    for k, rings in enumerate(truth.rings):
        if (found := drawn(rings, volume.geometry, consensus=0.5)) is not None:
            box, mask = found
            labels[box][mask] = k + 1
    return labels
