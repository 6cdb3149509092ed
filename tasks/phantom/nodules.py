"""Nodules: what may be asked for, where they go, what they look like, and the risk that makes them malignant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Vector
from tasks.phantom.shapes import Field, tube

Kind = Literal["solid", "part-solid", "ground-glass", "calcified"]
Margin = Literal["smooth", "lobulated", "spiculated"]
Place = Literal["alone", "pleural", "vessel"]
SUBSOLID: tuple[Kind, ...] = ("part-solid", "ground-glass")


@dataclass(frozen=True)
class NoduleSpec:
    """What is wanted; what is None is drawn at random.

    diameter_mm: mean of the longest axial axis and its perpendicular, spicules not counted. stretch: lengths of the three
    half-axes relative to each other, (1, 1, 1) a ball. contrast_hu: by how much haze (ground glass, also around a solid core)
    stands out of the lung; None: by chance, 140 at least.
    """

    diameter_mm: float | None = None
    kind: Kind | None = None
    margin: Margin | None = None
    place: Place | None = None
    stretch: tuple[float, float, float] | None = None
    contrast_hu: float | None = None


@dataclass(frozen=True)
class PhantomNodule:
    """A nodule as it was drawn. diameter_mm and volume_mm3 are of the part inside the lung, spicules not counted."""

    center_lps_mm: Vector
    diameter_mm: float
    volume_mm3: float
    kind: Kind
    margin: Margin
    place: Place
    malignant: bool
    p_malignant: float  # that the risk model gave before the coin was tossed


@dataclass(frozen=True)
class Shape:
    """A nodule before it is placed: half-axes in mm along (z, y, x), lobes and spicules as unit vectors with sizes."""

    spec: NoduleSpec
    radii: NDArray[np.float64]
    turn: NDArray[np.float64]  # 3x3 rotation
    lobes: NDArray[np.float64]  # [n, 4]: direction, height relative to the radius
    spicules: NDArray[np.float64]  # [n, 4]: direction, length in mm
    hu: float
    core: float  # part-solid: radius of the solid part, relative

    @property
    def reach_mm(self) -> float:
        """Nothing of it is farther from its centre."""
        longest = self.spicules[:, 3].max() if len(self.spicules) else 0.0
        return float(self.radii.max() * 1.35 + longest + 1.0)

    def tissue_hu(self, lung_hu: float) -> float:
        """HU of all but a solid core or lime, in lung of ``lung_hu``."""
        if self.spec.kind not in SUBSOLID:
            return self.hu
        return max(self.hu, lung_hu + 140) if self.spec.contrast_hu is None else lung_hu + self.spec.contrast_hu

    def core_distance(self, x: Field, y: Field, z: Field, share: float = 1.0) -> Field:
        """Signed distance (mm) from the surface without spicules; x, y, z from the centre."""
        u, v, w = (self.turn[k, 0] * x + self.turn[k, 1] * y + self.turn[k, 2] * z for k in range(3))
        f = np.sqrt((u / self.radii[0]) ** 2 + (v / self.radii[1]) ** 2 + (w / self.radii[2]) ** 2)
        r = np.sqrt(x * x + y * y + z * z)
        bump = np.ones_like(r)
        for *direction, height in self.lobes:
            cosine = (direction[0] * x + direction[1] * y + direction[2] * z) / np.maximum(r, 1e-3)
            bump = np.maximum(bump, 1 + height * np.exp(-9 * (1 - cosine)))
        return r * (1 - share * bump / np.maximum(f, 1e-2))

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """The same with spicules."""
        d = self.core_distance(x, y, z)
        for *direction, length in self.spicules:
            tip = tuple(np.array(direction) * (self.radii.mean() + length))
            d = np.minimum(d, tube(x, y, z, (0.0, 0.0, 0.0), tip, 1.9, 0.6))
        return d


def draw_specs(rng: np.random.Generator, n: int) -> list[NoduleSpec]:
    """``n`` nodules of 4-25 mm, small ones more often; the first two at least 7 mm wide."""
    sizes = np.clip(rng.lognormal(np.log(8.0), 0.5, n), 4, 25)
    sizes[:2] = np.clip(sizes[:2] + 3, 7, 25)
    return [NoduleSpec(diameter_mm=float(d)) for d in sizes]


def draw_varied_specs(rng: np.random.Generator, n: int, thickness_mm: float) -> list[NoduleSpec]:
    """``n`` nodules of 3-30 mm, none of them too small to be seen in slices of ``thickness_mm`` by anyone."""
    sizes = np.clip(rng.lognormal(np.log(8.5), 0.55, n), least_seen_mm(thickness_mm), 30)
    return [NoduleSpec(diameter_mm=float(d)) for d in sizes]


def least_seen_mm(thickness_mm: float) -> float:
    """Diameter of the smallest nodule that anyone sees in slices of ``thickness_mm``."""
    return max(3.0, 1.3 * thickness_mm)


def complete(rng: np.random.Generator, spec: NoduleSpec, *, varied: bool = False, least_mm: float = 3.0) -> NoduleSpec:
    """Every open wish settled by chance; a varied one's diameter from ``least_mm`` on."""
    if varied:
        return _complete_varied(rng, spec, least_mm)
    d = float(spec.diameter_mm if spec.diameter_mm is not None else np.clip(rng.lognormal(np.log(8.0), 0.5), 4, 25))
    kinds: list[Kind] = ["solid", "part-solid", "ground-glass", "calcified"]
    kind_odds = [0.66, 0.12, 0.10, 0.12] if d >= 6 else [0.85, 0.0, 0.0, 0.15]
    kind = spec.kind or kinds[rng.choice(4, p=kind_odds)]
    margins: list[Margin] = ["smooth", "lobulated", "spiculated"]
    margin_odds = [0.45, 0.30, 0.25] if d >= 8 and kind != "calcified" else [0.75, 0.25, 0.0]
    margin = spec.margin or margins[rng.choice(3, p=margin_odds)]
    places: list[Place] = ["alone", "pleural", "vessel"]
    place = spec.place or places[rng.choice(3, p=[0.45, 0.30, 0.25])]
    stretch = spec.stretch or tuple(float(v) for v in rng.uniform(0.8, 1.25, 3))
    return NoduleSpec(d, kind, margin, place, stretch, spec.contrast_hu)  # type: ignore[arg-type]


def _complete_varied(rng: np.random.Generator, spec: NoduleSpec, least_mm: float) -> NoduleSpec:
    """All kinds from 6 mm on; spicules from 7 mm on, more often on larger ones."""
    d = float(spec.diameter_mm if spec.diameter_mm is not None else np.clip(rng.lognormal(np.log(8.5), 0.55), least_mm, 30))
    kinds: list[Kind] = ["solid", "part-solid", "ground-glass", "calcified"]
    kind_odds = [0.58, 0.16, 0.14, 0.12] if d >= 6 else [0.84, 0.0, 0.0, 0.16]
    kind = spec.kind or kinds[rng.choice(4, p=kind_odds)]
    spiky = float(np.clip(0.16 + 0.02 * (d - 8), 0.12, 0.45)) if d >= 7 and kind != "calcified" else 0.0
    margins: list[Margin] = ["smooth", "lobulated", "spiculated"]
    margin = spec.margin or margins[rng.choice(3, p=[0.6 * (1 - spiky), 0.4 * (1 - spiky), spiky])]
    places: list[Place] = ["alone", "pleural", "vessel"]
    place = spec.place or places[rng.choice(3, p=[0.42, 0.32, 0.26])]
    stretch = spec.stretch or tuple(float(v) for v in rng.uniform(0.7, 1.35, 3))
    return NoduleSpec(d, kind, margin, place, stretch, spec.contrast_hu)  # type: ignore[arg-type]


def draw_shape(rng: np.random.Generator, spec: NoduleSpec, *, varied: bool = False) -> Shape:
    """The form of a complete spec, its mean axial diameter equal to ``spec.diameter_mm`` to about 0.1 mm."""
    from scipy.spatial.transform import Rotation

    diameter, stretch = float(spec.diameter_mm or 0), np.array(spec.stretch)
    radii = 0.5 * diameter * stretch / stretch.mean()
    n_lobes = {"smooth": 0, "lobulated": int(rng.integers(7, 12)), "spiculated": int(rng.integers(4, 8))}[str(spec.margin)]
    lobes = np.hstack([directions(rng, n_lobes), rng.uniform(0.2, 0.45, (n_lobes, 1))])
    if varied and spec.margin == "smooth":  # nothing that grows is an exact ellipsoid
        lobes = np.hstack([directions(rng, 5), rng.uniform(0.03, 0.16, (5, 1))])
    n_spicules = int(rng.integers(10 if varied else 28, 42)) if spec.margin == "spiculated" else 0
    lengths = rng.uniform(0.45, 1.0, (n_spicules, 1)) * min(0.5 * diameter, 7.0)
    hu = {"solid": (-10, 60), "part-solid": (-580, -480), "ground-glass": (-600, -480), "calcified": (250, 650)}[str(spec.kind)]
    if varied:
        hu = {"solid": (-60, 70), "part-solid": (-680, -420), "ground-glass": (-720, -430), "calcified": (180, 1100)}[
            str(spec.kind)
        ]
    turn = Rotation.random(random_state=rng).as_matrix()
    shape = Shape(
        spec, radii, turn, lobes, np.hstack([directions(rng, n_spicules), lengths]), rng.uniform(*hu), rng.uniform(0.4, 0.65)
    )
    for _ in range(2):  # lobes widen it: measure and rescale
        measured, _volume = measure(*sample(shape, lambda x, y, z: np.full_like(x, -1e3)))
        radii = radii * diameter / measured
        shape = Shape(spec, radii, turn, lobes, shape.spicules, shape.hu, shape.core)
    return shape


def directions(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    v = rng.standard_normal((n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True) if n else v


def sample(shape: Shape, lung: Callable[[Field, Field, Field], Field]) -> tuple[NDArray[np.bool_], float]:
    """The core inside the lung on a fine grid of its own, and the grid's step in mm. ``lung``: signed distance there."""
    reach = shape.radii.max() * 1.35
    step = float(np.clip(reach / 24, 0.1, 0.5))
    line = np.arange(-reach, reach + step, step)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    return (shape.core_distance(x, y, z) < 0) & (lung(x, y, z) < 0), step


def measure(mask: NDArray[np.bool_], step_mm: float) -> tuple[float, float]:
    """Mean axial diameter (mm; longest axis in any axial slice and the width across it) and volume (mm3) of a mask."""
    angles = np.deg2rad(np.arange(0, 180, 5))
    best = (0.0, 0.0)
    for plane in mask:
        yx = np.argwhere(plane)
        if len(yx) < 4:
            continue
        along = yx @ np.stack([np.sin(angles), np.cos(angles)])
        width = (along.max(axis=0) - along.min(axis=0) + 0.6) * step_mm  # voxels' middles lie inside the rim
        k = int(width.argmax())
        if width[k] > best[0]:
            best = (float(width[k]), float(width[(k + len(angles) // 2) % len(angles)]))
    return 0.5 * sum(best), float(mask.sum()) * step_mm**3


def risk(spec: NoduleSpec, diameter_mm: float, upper_lobe: bool) -> float:
    """Probability of malignancy that phantoms are drawn from: logistic in size and form, in the manner of the Brock model
    (McWilliams et al., NEJM 2013) but with made-up coefficients: -2.0 + 0.22 (d - 8 mm) + 2.2 spiculated + 0.7 lobulated
    + 1.0 part-solid + 0.3 ground-glass - 4 calcified + 0.4 upper lobe."""
    score = -2.0 + 0.22 * (diameter_mm - 8) + 0.4 * upper_lobe
    score += {"spiculated": 2.2, "lobulated": 0.7}.get(str(spec.margin), 0.0)
    score += {"part-solid": 1.0, "ground-glass": 0.3, "calcified": -4.0}.get(str(spec.kind), 0.0)
    return float(1 / (1 + np.exp(-score)))
