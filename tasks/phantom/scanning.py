"""How a varied phantom is scanned: field of view, slices, kernel and dose, couch, pose; all of it drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry, Vector
from tasks.phantom.anatomy import Build
from tasks.phantom.canvas import Axes
from tasks.phantom.kernel import Acquisition, Kernel, draw_kernel
from tasks.phantom.shapes import Field, inside
from tasks.phantom.style import Look

INCREMENTS_MM = (0.6, 0.7, 0.8, 1.0, 1.0, 1.25, 1.25, 1.5, 2.0, 2.0, 2.5, 2.5, 3.0)
THICKEST_MM = 3.0
Directions = tuple[Vector, Vector, Vector]
STRAIGHT: Directions = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@dataclass(frozen=True)
class Scan:
    """shape_yx voxels of spacing_zyx mm, slices thickness_mm thick from below_mm under the lungs' base to above_mm over their
    apex; center_xy mm: the field's middle in the phantom's frame; round: nothing is reconstructed outside a circle.
    flips (z, y, x): array axes that run against the patient's; directions: LPS of the phantom's z, y, x before flips."""

    shape_yx: tuple[int, int]
    spacing_zyx: tuple[float, float, float]
    thickness_mm: float
    below_mm: float
    above_mm: float
    center_xy: tuple[float, float]
    round: bool
    kernel: Kernel
    noise_hu: float
    flips: tuple[bool, bool, bool] = (False, False, False)
    directions: Directions = STRAIGHT

    def axes(self, height_mm: float) -> Axes:
        """Voxel centres along z, y, x in the phantom's frame."""
        dz, dy, dx = self.spacing_zyx
        ny, nx = self.shape_yx
        z = np.arange(-self.below_mm, height_mm + self.above_mm, dz)
        y, x = ((np.arange(n) - 0.5 * (n - 1)) * d + c for n, d, c in ((ny, dy, self.center_xy[1]), (nx, dx, self.center_xy[0])))
        return z, y, x

    def acquisition(self, z: NDArray[np.floating], height_mm: float, shoulders: float) -> Acquisition:
        """``shoulders``: how much louder the apex's slices are, along x."""
        streaks = shoulders * np.clip((z - 0.72 * height_mm) / (0.2 * height_mm), 0, 1)
        return Acquisition(self.kernel, self.noise_hu, self.thickness_mm, streaks)


def draw_scan(rng: np.random.Generator, build: Build, *, small: bool = False) -> Scan:
    """A scan of everyday: noise 8-90 HU, fields of view from just around the lungs to the whole body and its couch."""
    dz = float(rng.choice(INCREMENTS_MM))
    thickness = dz if rng.random() < 0.6 else min(dz * float(rng.uniform(1.1, 2.0)), max(dz, THICKEST_MM))
    lungs, body = 2 * build.half_width + 22, 2 * (build.half_width + build.wall + build.fat) + 90
    field_mm = float(rng.uniform(lungs, max(body, lungs + 60)))
    kernel = draw_kernel(rng)
    dose = float(np.exp(rng.normal(0, 0.45)))
    noise = 15.0 / np.sqrt(dose) * kernel.loudness**0.7 * (1.5 / thickness) ** 0.4
    off = rng.uniform(-1, 1, 2) * np.array([min(10.0, 0.5 * (field_mm - 2 * build.half_width)), 14.0])
    scan = Scan(
        shape_yx=(512, 512),
        spacing_zyx=(dz, *(2 * (round(field_mm / 512, 4),))),  # type: ignore[arg-type]
        thickness_mm=round(thickness, 2),
        below_mm=float(rng.uniform(14, 60)),
        above_mm=float(rng.uniform(6, 30)),
        center_xy=(float(off[0]), float(off[1])),
        round=bool(rng.random() < 0.35),
        kernel=kernel,
        noise_hu=float(np.clip(noise, 8, 90)),
    )
    if small:
        pixel = round(field_mm / 128, 4)
        scan = replace(scan, shape_yx=(128, 128), spacing_zyx=(4.0, pixel, pixel), thickness_mm=4.0)
    return scan


def draw_pose(rng: np.random.Generator, scan: Scan) -> Scan:
    """Array axes against the patient's, and the patient or the stack oblique: a third by up to 15, a few by up to 40 degrees."""
    from scipy.spatial.transform import Rotation

    flips = (bool(rng.random() < 0.3), bool(rng.random() < 0.12), bool(rng.random() < 0.12))
    kind, degrees = rng.random(), rng.uniform(-1, 1, 3)
    if kind > 0.4:
        return replace(scan, flips=flips)
    turn = Rotation.from_rotvec(degrees * (40 if kind < 0.06 else 15) / np.sqrt(3), degrees=True).as_matrix()
    return replace(scan, flips=flips, directions=tuple(tuple(float(v) for v in turn[:, k]) for k in (2, 1, 0)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pose:
    """From the phantom's frame (x, y, z mm) to the patient's LPS: turned, then moved."""

    turn: NDArray[np.float64]
    shift: NDArray[np.float64]

    def __call__(self, point: NDArray[np.float64] | Vector) -> Vector:
        x, y, z = (float(v) for v in self.turn @ np.asarray(point) + self.shift)
        return x, y, z


def settle(scan: Scan, axes: Axes, table_mm: NDArray[np.float64]) -> tuple[Geometry, Pose]:
    """The grid of the array after its flips, and the way there from the phantom's frame; ``table_mm``: where the table stood."""
    turn = np.array(scan.directions).T[:, ::-1]  # columns x, y, z
    first = np.array([axis[-1] if flip else axis[0] for axis, flip in zip(axes, scan.flips, strict=True)])[::-1]
    pose = Pose(turn, np.round(table_mm, 1))
    signs = [-1.0 if flip else 1.0 for flip in scan.flips]
    directions = tuple(tuple(s * v for v in d) for s, d in zip(signs, scan.directions, strict=True))
    shape = tuple(len(a) for a in axes)
    return Geometry(shape, scan.spacing_zyx, pose(first), directions), pose  # type: ignore[arg-type]


def surroundings(rng: np.random.Generator, build: Build, look: Look, axes: Axes) -> Field:
    """HU ``[y, x]`` around the body: air, and where there is one a couch with a dense shell, a light core and a mat."""
    y, x = axes[1][:, None].astype(np.float32), axes[2][None].astype(np.float32)
    hu = np.full((len(axes[1]), len(axes[2])), -1000, dtype=np.float32)
    if not look.couch:
        return hu
    back = build.half_depth + build.wall + 1.2 * build.fat + rng.uniform(-2, 14)
    bend, width, deep = rng.uniform(0, 0.0016), rng.uniform(190, 260), rng.uniform(18, 60)
    top = y - back + bend * x**2  # 0 at the couch's upper surface: it curves up at the sides
    slab = np.maximum(np.maximum(-top, top - deep), np.abs(x) - width)
    edge = max(abs(float(axes[1][1] - axes[1][0])), 0.8)
    hu += inside(slab, edge) * rng.uniform(10, 70)
    shell = np.abs(slab) - rng.uniform(0.5, 1.6)
    hu += inside(shell, edge) * (rng.uniform(-700, 100) - hu)
    mat = np.maximum(np.maximum(top, -top - rng.uniform(4, 16)), np.abs(x) - 0.9 * width)
    return hu + inside(mat, edge) * rng.uniform(20, 110)


def field_mask(scan: Scan) -> NDArray[np.bool_]:
    """Pixels ``[y, x]`` inside the circle of reconstruction."""
    ny, nx = scan.shape_yx
    y, x = ((np.arange(n) - 0.5 * (n - 1)) / (0.5 * n) for n in (ny, nx))
    return np.asarray(y[:, None] ** 2 + x**2 <= 1.0)
