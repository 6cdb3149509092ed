"""How different phantoms are from each other: "classic", today's plain healthy chest, or "varied", where everything is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Style = Literal["classic", "varied"]
STYLES: tuple[Style, ...] = ("classic", "varied")


@dataclass(frozen=True)
class Look:
    """What a patient's chest is like apart from its proportions; the defaults are the classic phantom's.

    HU and millimetres; counts and shares where no unit is named. Zero switches a thing off.
    """

    lung_hu: float = -897.0
    gravity_hu: float = 22.0  # denser by this much at the back, less dense at the front
    mottle_hu: tuple[float, float] = (12.0, 9.0)  # coarse, fine
    dependent_hu: float = 60.0  # atelectasis under the dependent pleura
    dependent_mm: float = 7.0
    fissure_hu: float = 90.0
    fissure_mm: float = 0.9
    grain_hu: float = 0.0  # what is too small to be drawn: capillaries, lobules
    grain_mm: float = 0.8
    emphysema: float = 0.0  # share of the upper lung that is destroyed
    hazes: int = 0  # patches of inflammation
    blood_hu: float = 35.0
    organ_hu: float = 42.0
    wall_mm: float = 0.7  # of airways
    twigs: int = 600  # ends of each of the four vessel trees
    leaf_mm: float = 0.55  # radius of a vessel's last branch
    murray: float = 1 / 2.7  # radius ~ leaves^murray: Murray's law, a little steeper than its 1/3
    homing: float = 0.35  # how much a vessel minds the way back to the hilum
    waist_mm: float = 25.0  # half width of the mediastinum
    warp_mm: tuple[float, float] | None = None  # how crooked all of it is, over 50 and over 18 mm
    breast_mm: float = 0.0
    gas: bool = False  # in the stomach
    couch: bool = False
    heart_motion_mm: float = 0.0
    breathing_mm: float = 0.0
    metal: int = 0  # clips and wires in the chest wall
    lines: int = 0  # catheters and leads in the great veins
    anywhere: bool = False  # nodules on every pleura and near the hilum, textured, some with bubbles


CLASSIC = Look()


def draw_look(rng: np.random.Generator) -> Look:
    """A patient among many: ranges from what public chest CT show (see docs/phantoms.md)."""

    def perhaps(p: float, low: float, high: float, otherwise: float = 0.0) -> float:
        value = float(rng.uniform(low, high))
        return value if rng.random() < p else otherwise

    lung_hu = float(rng.uniform(-925, -825))
    contrast = perhaps(0.4, 110, 330, float(rng.uniform(25, 50)))
    return Look(
        lung_hu=lung_hu,
        gravity_hu=float(rng.uniform(10, 55)),
        mottle_hu=(float(rng.uniform(6, 18)), float(rng.uniform(5, 14))),
        dependent_hu=perhaps(0.4, 100, 450, float(rng.uniform(10, 80))),
        dependent_mm=float(rng.uniform(4, 12)),
        fissure_hu=float(rng.uniform(30, 230)),
        fissure_mm=float(rng.uniform(0.6, 1.3)),
        grain_hu=float(rng.uniform(12, 38)),
        grain_mm=float(rng.uniform(0.5, 1.1)),
        emphysema=perhaps(0.3, 0.05, 0.5),
        hazes=int(rng.integers(1, 4)) * int(rng.random() < 0.2),
        blood_hu=contrast,
        organ_hu=35 + 0.55 * max(contrast - 40, 0) + float(rng.uniform(0, 15)),
        wall_mm=float(rng.uniform(0.35, 0.95)),
        twigs=int(rng.integers(1300, 2600)),
        leaf_mm=float(rng.uniform(0.24, 0.42)),
        murray=float(1 / rng.uniform(2.45, 2.95)),
        homing=float(rng.uniform(0.3, 0.8)),
        waist_mm=float(rng.uniform(17, 27)),
        warp_mm=(float(rng.uniform(1.5, 4.0)), float(rng.uniform(0.2, 0.8))),
        breast_mm=perhaps(0.4, 15, 45),
        gas=bool(rng.random() < 0.6),
        couch=bool(rng.random() < 0.85),
        heart_motion_mm=perhaps(0.5, 1.0, 4.0),
        breathing_mm=perhaps(0.12, 0.8, 3.0),
        metal=int(rng.integers(2, 7)) * int(rng.random() < 0.12),
        lines=int(rng.integers(1, 3)) * int(rng.random() < 0.15),
        anywhere=True,
    )
