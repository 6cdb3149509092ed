"""Which islands of air in a body are lung: not bowel gas, stomach, throat, or room air under a blanket."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.balls import Mask, dilate
from tasks.patient_grid import CoarseGrid

HOLLOW_HU = -950  # block means emptier than this: gas; in a lung, emphysema (the usual threshold for it)
DENSE_HU = -600
LARGE_SHARE = 0.25  # of the largest island: surely lung as well
LITRE = 1000.0


@dataclass(frozen=True)
class Island:
    """What is known of one island: size, the shares of it that are hollow, dense, and close to room air, and its box."""

    label: int
    ml: float
    hollow: float
    dense: float
    open: float
    box: tuple[slice, slice, slice]

    @property
    def may_be_a_lung(self) -> bool:
        """A litre of air may be an emphysematous lung; less of it and as hollow is a gut."""
        return self.open < 0.1 and self.dense < 0.6 and self.hollow < (0.8 if self.ml > LITRE else 0.2)

    def may_be_a_piece(self, frame: tuple[slice, slice, slice]) -> bool:
        """A lobe cut off by a tumour: as airy as lung, and within the frame of the large pieces."""
        shares = [
            max(0, min(b.stop, f.stop) - max(b.start, f.start)) / (b.stop - b.start) for b, f in zip(self.box, frame, strict=True)
        ]
        return self.open < 0.05 and self.dense < 0.4 and self.hollow < 0.05 and min(shares) > 0.8


def lung_islands(hu: NDArray[np.float32], air: Mask, room: Mask, grid: CoarseGrid, piece_ml: float) -> Mask:
    """``hu``, ``air`` in the body and ``room`` air on a patient grid -> the islands of at least ``piece_ml`` that are lung."""
    import cc3d

    labels, n = cc3d.connected_components(air, connectivity=6, return_N=True)
    statistics = cc3d.statistics(labels)
    near_room = dilate(room, grid.spacing_mm, 1.5 * max(grid.spacing_mm))
    islands = []
    for label in range(1, n + 1):
        ml, box = statistics["voxel_counts"][label] * grid.voxel_ml, statistics["bounding_boxes"][label]
        if ml >= piece_ml:
            mask = labels[box] == label
            here = hu[box][mask]
            hollow, dense, near = ((here < HOLLOW_HU).mean(), (here > DENSE_HU).mean(), near_room[box][mask].mean())
            islands.append(Island(label, float(ml), float(hollow), float(dense), float(near), box))
    lungs = [i for i in islands if i.may_be_a_lung]
    lungs = [i for i in lungs if i.ml > LARGE_SHARE * max(j.ml for j in lungs)]
    kept = np.zeros(n + 1, dtype=bool)
    if lungs:
        frame = tuple(slice(min(i.box[a].start for i in lungs), max(i.box[a].stop for i in lungs)) for a in range(3))
        for i in islands:
            kept[i.label] = i in lungs or i.may_be_a_piece(frame)  # type: ignore[arg-type]
    return kept[labels]
