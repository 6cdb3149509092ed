"""The chest without its vessels: signed distances of body, bones, organs and lungs on a coarse grid.

Frame: millimetres, x to the patient's left, y to the back, z up; z = 0 near the lungs' base, x = 0 the midline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.disease import emphysema, hazes
from tasks.phantom.shapes import Field, ellipsoid, join, meet, tube
from tasks.phantom.style import CLASSIC, Look


@dataclass(frozen=True)
class Build:
    """One person's proportions, in millimetres (angles of ribs in mm of drop)."""

    scale: float
    height: float  # base to apex of the lungs
    half_width: float  # of the inside of the rib cage, at its widest
    half_depth: float
    dome_right: float  # tops of the diaphragm
    dome_left: float
    heart: float  # radius factor
    wall: float  # muscle and bone between pleura and fat
    fat: float
    rib_spacing: float
    rib_phase: float
    spine_y: float
    depth_of_organs: float = 0.0  # the half depth that heart and vessels were drawn for

    def __post_init__(self) -> None:
        if not self.depth_of_organs:
            object.__setattr__(self, "depth_of_organs", self.half_depth)


def draw_build(rng: np.random.Generator) -> Build:
    s = rng.uniform(0.94, 1.05)
    return Build(
        scale=s,
        height=s * rng.uniform(240, 258),
        half_width=s * rng.uniform(132, 141),
        half_depth=s * rng.uniform(87, 96),
        dome_right=s * rng.uniform(42, 58),
        dome_left=s * rng.uniform(28, 44),
        heart=rng.uniform(0.9, 1.1),
        wall=rng.uniform(17, 21),
        fat=rng.uniform(5, 13),
        rib_spacing=s * rng.uniform(23, 27),
        rib_phase=rng.uniform(0, 25),
        spine_y=s * rng.uniform(60, 66),
    )


def draw_varied_build(rng: np.random.Generator) -> Build:
    """People of all shapes: slight to stout, barrel chests, shallow and deep breaths."""
    s = rng.uniform(0.86, 1.08)
    half_depth = s * rng.uniform(82, 112)
    return Build(
        scale=s,
        height=s * rng.uniform(225, 275),
        half_width=s * rng.uniform(120, 142),
        half_depth=half_depth,
        dome_right=s * rng.uniform(34, 66),
        dome_left=s * rng.uniform(20, 52),
        heart=rng.uniform(0.85, 1.18),
        wall=rng.uniform(14, 23),
        fat=rng.uniform(3, 32),
        rib_spacing=s * rng.uniform(22, 28),
        rib_phase=rng.uniform(0, 25),
        spine_y=half_depth - s * rng.uniform(22, 31),
        depth_of_organs=s * rng.uniform(82, 92),
    )


@dataclass(frozen=True)
class Anatomy:
    """Fields ``[z, y, x]`` float32 on a coarse grid; ``axes`` are its z, y, x coordinates in mm."""

    build: Build
    axes: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
    lung: Field
    cage: Field  # inside of the ribs
    mediastinum: Field  # everything between the lungs, spine included
    body: Field
    muscle: Field
    organs: Field
    bone: Field
    texture: Field  # HU to add to the lung: gravity, mottle
    fissure: Field  # mm from the nearest fissure
    gas: Field  # in the stomach
    look: Look = CLASSIC

    def at(self, field: Field, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of a field at points ``[n, 3]`` (x, y, z) by linear interpolation."""
        from scipy.ndimage import map_coordinates

        axes = self.axes
        index = [(points[:, 2 - k] - axes[k][0]) / (axes[k][1] - axes[k][0]) for k in range(3)]
        return map_coordinates(field, index, order=1, mode="nearest")


def make_anatomy(
    rng: np.random.Generator,
    build: Build,
    step_mm: float,
    half_extent_mm: tuple[float, float],
    z_mm: tuple[float, float],
    look: Look = CLASSIC,
) -> Anatomy:
    """``half_extent_mm`` along y and x, ``z_mm`` from and to: the coarse grid covers them with a margin of two steps."""
    ends = (z_mm, (-half_extent_mm[0], half_extent_mm[0]), (-half_extent_mm[1], half_extent_mm[1]))
    az, ay, ax = (np.arange(lo - 2 * step_mm, hi + 3 * step_mm, step_mm, dtype=np.float32) for lo, hi in ends)
    z, y, x = np.meshgrid(az, ay, ax, indexing="ij", sparse=True)
    if look.warp_mm:
        z, y, x = (g + w for g, w in zip((z, y, x), warp(rng, (len(az), len(ay), len(ax)), step_mm, look.warp_mm), strict=True))
    cage = _cage(build, x, y, z)
    organs, mediastinum = _mediastinum(build, x, y * (build.depth_of_organs / build.half_depth), z, look.waist_mm)
    below = _below_diaphragm(build, x, y, z)
    lung = meet(cage, -mediastinum, below, blend_mm=5.0)
    body, muscle = _wall(build, x, y, z, look.breast_mm)
    if look.warp_mm:  # fat lies between the muscles too
        muscle = muscle + 3 * warp(rng, (len(az), len(ay), len(ax)), step_mm, (1.0, 0.5))[0]
        mediastinum = np.maximum(mediastinum, body + 6)  # the spine stays under the skin
    fields = {
        "lung": lung,
        "cage": cage,
        "mediastinum": mediastinum,
        "body": body,
        "muscle": muscle,
        "organs": join(organs, meet(cage, -below, blend_mm=2.0), blend_mm=3.0),
        "bone": np.maximum(_bones(build, cage, x, y, z), body + 3) if look.warp_mm else _bones(build, cage, x, y, z),
        "texture": _texture(rng, build, lung, cage, y, z, step_mm, look),
        "fissure": _fissures(build, x, y, z),
        "gas": _gas(build, x, y, z) if look.gas else np.full((1, 1, 1), 1e3),
    }
    full = (len(az), len(ay), len(ax))
    whole = {k: np.ascontiguousarray(np.broadcast_to(f, full), dtype=np.float32) for k, f in fields.items()}
    return Anatomy(build, (az, ay, ax), **whole, look=look)


def warp(
    rng: np.random.Generator, shape: tuple[int, int, int], step_mm: float, sd_mm: tuple[float, float]
) -> list[NDArray[np.float32]]:
    """Three smooth random fields (mm): cubic splines with knots 50 mm and 18 mm apart, each with its standard deviation."""
    fields = []
    for _ in range(3):
        total = np.zeros(shape, dtype=np.float32)
        for knot_mm, sd in zip((50.0, 18.0), sd_mm, strict=True):
            basis = [_splines(n, knot_mm / step_mm) for n in shape]
            knots = rng.standard_normal([b.shape[1] for b in basis]).astype(np.float32)
            for b in basis:  # each contraction turns the axes by one
                knots = np.tensordot(knots, b, axes=(0, 1))
            total += np.float32(sd / 0.33) * knots  # 0.33: the standard deviation of splines over random knots
        fields.append(total)
    return fields


def _splines(n: int, knot: float) -> NDArray[np.float32]:
    """Values ``[n, knots]`` of the cubic B-splines whose knots are ``knot`` points apart."""
    at = np.arange(n)[:, None] / knot + 1 - np.arange(int(np.ceil(n / knot)) + 4)
    u = np.abs(at)
    return np.where(u < 1, 2 / 3 - u**2 + 0.5 * u**3, np.maximum(2 - u, 0) ** 3 / 6).astype(np.float32)


def _upper(build: Build, z: Field) -> Field:
    """0 in the lower chest, 1 at the apex."""
    return np.clip((z - 0.38 * build.height) / (0.62 * build.height), 0, 1)


def _radial(x: Field, y: Field, a: Field, b: Field, power: float) -> Field:
    """Distance from a superellipse along rays from its centre."""
    f = np.maximum((np.abs(x / a) ** power + np.abs(y / b) ** power) ** (1 / power), 1e-2)
    return np.hypot(x, y) * (1 - 1 / f) - (f <= 1e-2) * np.minimum(a, b)


def _cage(build: Build, x: Field, y: Field, z: Field) -> Field:
    u = _upper(build, z)
    a = np.maximum(build.half_width * np.sqrt(np.maximum(1 - u**2.4, 0)), 4)
    b = np.maximum(build.half_depth * np.sqrt(np.maximum(1 - 0.9 * u**3, 0)), 4)
    side = _radial(x, y - 14 * u, a, b, 2.4)
    return meet(0.9 * side, (z - build.height) * 0.9, blend_mm=12)


def _mediastinum(build: Build, x: Field, y: Field, z: Field, waist_mm: float) -> tuple[Field, Field]:
    """Soft organs (heart, great vessels), and all that keeps the lungs apart."""
    s, h = build.scale, build.heart
    heart = ellipsoid(x, y + 0.25 * (x - 20), z, (20 * s, -30 * s, 78 * s), (60 * s * h, 44 * s * h, 52 * s * h))
    aorta = join(
        tube(x, y, z, (24 * s, 42 * s, -60), (24 * s, 40 * s, 172 * s), 12 * s),
        tube(x, y, z, (24 * s, 40 * s, 172 * s), (-8 * s, -18 * s, 178 * s), 13 * s),
        tube(x, y, z, (-8 * s, -18 * s, 178 * s), (-10 * s, -22 * s, 105 * s), 15 * s),
    )
    arteries = join(
        tube(x, y, z, (10 * s, -28 * s, 115 * s), (16 * s, -12 * s, 150 * s), 13 * s),
        tube(x, y, z, (14 * s, -12 * s, 148 * s), (44 * s, 12 * s, 142 * s), 11 * s, 8 * s),
        tube(x, y, z, (14 * s, -12 * s, 146 * s), (-44 * s, 8 * s, 138 * s), 10 * s, 8 * s),
        tube(x, y, z, (-25 * s, -16 * s, 240 * s), (-25 * s, -16 * s, 100 * s), 8 * s),
    )
    branches = join(
        tube(x, y, z, (-16 * s, 0, 185 * s), (-26 * s, 0, 290 * s), 8 * s),
        tube(x, y, z, (16 * s, 4 * s, 185 * s), (26 * s, 6 * s, 290 * s), 8 * s),
    )
    organs = join(heart, aorta, arteries, branches, blend_mm=5)
    spine = tube(x, y, z, (0, build.spine_y, -80), (0, build.spine_y + 10 * s, 320), 22 * s)
    waist = (waist_mm + 9 * _upper(build, z) ** 2) * s
    column = 0.8 * _radial(x, y - 2, waist, 80 * s + 0 * z, 2.0)
    return organs, join(organs, spine, column, blend_mm=14)


def _below_diaphragm(build: Build, x: Field, y: Field, z: Field) -> Field:
    """Positive under the domes."""
    s = build.scale

    def dome(center_x: float, top: float) -> Field:
        return top - 34 * s * (((x - center_x) / (66 * s)) ** 2 + ((y + 12 * s) / (74 * s)) ** 2)

    surface = -join(-dome(-68 * s, build.dome_right), -dome(68 * s, build.dome_left), blend_mm=10)
    return 0.75 * (np.maximum(surface, -18 * s) - z)


def _wall(build: Build, x: Field, y: Field, z: Field, breast_mm: float) -> tuple[Field, Field]:
    u = _upper(build, z)
    wall, fat = build.wall, build.fat
    a, b = build.half_width + wall + 6 * u, (build.half_depth + wall) * (1 - 0.10 * u)
    muscle = 0.9 * _radial(x, y - 4, a, b, 2.5)
    body = 0.9 * _radial(x, y - 4 + 0.5 * fat, a + fat, b + 1.4 * fat, 2.4)
    if breast_mm > 0:
        front = -(build.half_depth + wall + fat)
        breasts = [ellipsoid(x, y, z, (side * 68.0, front, 95.0), (54.0, breast_mm, 60.0)) for side in (-1, 1)]
        body = join(body, *breasts, blend_mm=14)
    return body, muscle


def _gas(build: Build, x: Field, y: Field, z: Field) -> Field:
    """The stomach's bubble under the left dome: air that is no lung."""
    s = build.scale
    return ellipsoid(x, y, z, (70 * s, -28 * s, build.dome_left - 38 * s), (34 * s, 26 * s, 18 * s))


def _bones(build: Build, cage: Field, x: Field, y: Field, z: Field) -> Field:
    s = build.scale
    around = np.abs(np.arctan2(x, y - 10)) / np.pi  # 0 at the spine, 1 at the sternum
    wave = np.mod(z + 75 * s * around + build.rib_phase, build.rib_spacing) - 0.5 * build.rib_spacing
    ribs = (np.hypot(wave / 6.0, (cage - 7.5) / 3.8) - 1) * 3.8
    ribs = np.maximum(ribs, (around - 0.86) * 200)
    sternum = np.maximum(np.maximum(np.abs(x) - 16 * s, np.abs(cage - 11) - 4.5), np.abs(z - 135 * s) - 75 * s)
    sternum = np.maximum(sternum, y)
    level = np.mod(z + build.rib_phase, build.rib_spacing) - 0.5 * build.rib_spacing
    lean = build.spine_y + 10 * s * (z + 80) / 400
    vertebra = np.maximum(np.hypot(x / 1.1, y - lean) - 15 * s, np.abs(level) - 0.42 * build.rib_spacing)
    arch = np.maximum(np.abs(np.hypot(x, y - lean - 24 * s) - 11 * s) - 2.5, np.abs(level) - 9)
    spinous = np.maximum(np.maximum(np.abs(x) - 3.5, np.abs(y - lean - 43 * s) - 10 * s), np.abs(level) - 8)
    scapula = np.maximum(np.maximum(np.abs(cage - 19) - 3, np.abs(around - 0.27) * 260 - 26), np.abs(z - 185 * s) - 48 * s)
    return np.minimum.reduce(np.broadcast_arrays(ribs, sternum, vertebra, arch, spinous, scapula))


def _texture(
    rng: np.random.Generator, build: Build, lung: Field, cage: Field, y: Field, z: Field, step_mm: float, look: Look
) -> Field:
    """Denser towards the back and just inside the dependent pleura, with a soft mottle, and what disease adds."""
    from scipy.ndimage import gaussian_filter

    noise = rng.standard_normal(lung.shape).astype(np.float32)
    coarse, fine = gaussian_filter(noise, 12 / step_mm), gaussian_filter(noise, 1.2)
    mottle = look.mottle_hu[0] * coarse / coarse.std() + look.mottle_hu[1] * fine / fine.std()
    dependent = np.clip(y / build.half_depth, 0, 1) ** 2 * look.dependent_hu * np.exp(-((cage / look.dependent_mm) ** 2))
    texture = mottle + look.gravity_hu * y / build.half_depth + dependent
    if look.emphysema:
        texture = texture + emphysema(rng, lung, z / build.height, step_mm, look)
    return texture + hazes(rng, lung, step_mm, look.hazes) if look.hazes else texture


def _fissures(build: Build, x: Field, y: Field, z: Field) -> Field:
    """Oblique in both lungs, horizontal in the right; bent a little."""
    s = build.scale
    bend = 6 * np.sin(x / (24 * s)) + 4 * np.cos(y / (20 * s))
    oblique = 0.72 * (z - 110 * s - 0.95 * y - bend)
    horizontal = np.where((x < 0) & (oblique > 0), np.abs(z - 118 * s - 0.5 * bend), 1e3)
    return np.minimum(np.abs(oblique), horizontal)
