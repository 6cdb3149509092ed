"""A whole phantom: a Volume that looks like a chest CT, and the truth about its nodules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Geometry, Vector
from artifacts.volume import Series, SourceSlice, Volume
from tasks.phantom.anatomy import draw_build, make_anatomy
from tasks.phantom.canvas import Axes, draw_tubes
from tasks.phantom.compose import add_noise, blur, lay_tissues
from tasks.phantom.dicom import instance_uid, uid_of
from tasks.phantom.mimics import Mimic, draw_mimics
from tasks.phantom.nodules import NoduleSpec, PhantomNodule, draw_specs
from tasks.phantom.placing import insert_all
from tasks.phantom.style import Style
from tasks.phantom.varied import make_varied
from tasks.phantom.vessels import grow_vessels

BELOW_MM, ABOVE_MM = 28.0, 12.0  # what is scanned below and above the lungs


@dataclass
class Phantom:
    """volume; nodules: the truth; nodule_labels: uint8 ``[z, y, x]``, 0 or 1 + index into ``nodules``;
    lung_labels: uint8 ``[z, y, x]``, 1 right and 2 left, nodules and vessels inside them included; mimics: what is no nodule but
    looks like one, centres LPS mm; facts: how it was scanned (varied phantoms: kernel, noise_hu, thickness_mm …); doubtful:
    centres (LPS mm) and radii (mm) of what was in a real scan before nodules were planted, and may be one."""

    seed: int
    volume: Volume
    nodules: list[PhantomNodule]
    nodule_labels: NDArray[np.uint8]
    lung_labels: NDArray[np.uint8]
    mimics: list[Mimic] = field(default_factory=list)
    facts: dict[str, float | str] = field(default_factory=dict)
    doubtful: list[tuple[Vector, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Scanner:
    """How the phantom is scanned. Noise is the standard deviation in HU; sharpness the noise's cut-off in cycles/mm."""

    shape_yx: tuple[int, int] = (512, 512)
    spacing_zyx: tuple[float, float, float] = (2.0, 0.72, 0.72)
    noise_hu: float = 22.0
    blur_mm: float = 0.55
    sharpness: float = 0.5
    coarse_mm: float = 3.0
    twigs: int = 600


def make_phantom(
    seed: int,
    *,
    nodules: int | Sequence[NoduleSpec] | None = None,
    shape_yx: tuple[int, int] | None = None,
    spacing_zyx: tuple[float, float, float] | None = None,
    noise_hu: float | None = None,
    mimics: float = 1.0,
    small: bool = False,
    style: Style = "classic",
    posed: bool = True,
) -> Phantom:
    """The phantom of ``seed``: the same arguments give the same phantom, and the chest does not depend on its nodules.

    nodules      how many, or which; default three to six, at least two of them >= 7 mm (varied: one to five)
    shape_yx     voxels in plane (512, 512); as many slices as cover the lungs
    spacing_zyx  millimetres, default (2, 0.72, 0.72) (varied: drawn)
    noise_hu     standard deviation of the noise; default drawn, 14-30 HU (varied: 8-90, by kernel, slice and dose)
    mimics       multiplies the numbers of scars, plaques and lymph nodes
    small        128 x 128 voxels of 2.6 mm, slices of 4 mm: a rough phantom for fast tests
    style        "classic": one healthy kind of chest, one kind of scanner; "varied": patient, disease and scanner drawn
    posed        varied: array axes may be flipped or oblique in the patient; without, they run along x, y and z
    """
    if style == "varied":
        return make_varied(seed, nodules, shape_yx, spacing_zyx, noise_hu, mimics, small, posed)
    anatomy_rng, vessel_rng, mimic_rng, nodule_rng, scan_rng = (
        np.random.default_rng(s) for s in np.random.SeedSequence([0x4E0D, seed]).spawn(5)
    )
    scanner = _scanner(scan_rng, shape_yx, spacing_zyx, noise_hu, small)
    build = draw_build(anatomy_rng)
    axes = _axes(scanner, build.height)
    anatomy = make_anatomy(anatomy_rng, build, scanner.coarse_mm, (-axes[1][0], -axes[2][0]), (axes[0][0], axes[0][-1]))
    canvas, lung_labels = lay_tissues(anatomy, axes)
    vessels, walls, lumina = grow_vessels(vessel_rng, anatomy, scanner.twigs)
    draw_tubes(canvas, vessels, 35)
    draw_tubes(canvas, walls, -60)
    draw_tubes(canvas, lumina, -1000, brighten=False)
    spots = draw_mimics(mimic_rng, canvas, anatomy, mimics)
    labels = np.zeros(canvas.hu.shape, dtype=np.uint8)
    specs = (
        nodules
        if isinstance(nodules, Sequence)
        else draw_specs(nodule_rng, int(nodule_rng.integers(3, 7)) if nodules is None else nodules)
    )
    truth = insert_all(nodule_rng, canvas, anatomy, vessels, specs, labels, [(s.center, s.radius_mm) for s in spots])
    hu = blur(canvas.hu, canvas.spacing, scanner.blur_mm)
    add_noise(scan_rng, hu, canvas.spacing, scanner.noise_hu, scanner.sharpness)
    table = np.round(scan_rng.uniform([-15, -40, -420], [15, 10, -150]), 1)  # where the scanner's origin is
    origin = np.round(np.array([axes[2][0], axes[1][0], axes[0][0]]) + table, 3)
    uid = uid_of("series", seed, nodules, scanner, mimics)
    volume = _volume(uid, hu, scanner, origin)
    moved = [replace(n, center_lps_mm=_moved(n.center_lps_mm, table)) for n in truth]
    seen = [replace(s, center=s.center + table) for s in spots]
    return Phantom(seed, volume, moved, labels, lung_labels, seen)


def _moved(point: Vector, by: NDArray[np.float64]) -> Vector:
    x, y, z = (float(v) for v in np.array(point) + by)
    return x, y, z


def _scanner(
    rng: np.random.Generator,
    shape_yx: tuple[int, int] | None,
    spacing_zyx: tuple[float, float, float] | None,
    noise_hu: float | None,
    small: bool,
) -> Scanner:
    drawn, sharpness, blur_mm = rng.uniform(14, 30), rng.uniform(0.35, 0.65), rng.uniform(0.45, 0.7)
    base = Scanner(noise_hu=drawn if noise_hu is None else noise_hu, sharpness=sharpness, blur_mm=blur_mm)
    if small:
        base = replace(base, shape_yx=(128, 128), spacing_zyx=(4.0, 2.6, 2.6), coarse_mm=4.0, twigs=120, blur_mm=0.8)
    return replace(base, shape_yx=shape_yx or base.shape_yx, spacing_zyx=spacing_zyx or base.spacing_zyx)


def _axes(scanner: Scanner, height_mm: float) -> Axes:
    """Voxel centres along z, y, x in the phantom's frame, the chest in the middle."""
    dz, dy, dx = scanner.spacing_zyx
    ny, nx = scanner.shape_yx
    z = np.arange(-BELOW_MM, height_mm + ABOVE_MM, dz)
    return z, (np.arange(ny) - 0.5 * (ny - 1)) * dy, (np.arange(nx) - 0.5 * (nx - 1)) * dx


def _volume(uid: str, hu: NDArray[np.float32], scanner: Scanner, origin: NDArray[np.float64]) -> Volume:
    thickness = scanner.spacing_zyx[0]
    series = Series(
        uid=uid,
        manufacturer="Hounsfield phantom",
        kernel="PHANTOM",
        slice_thickness_mm=thickness,
        slices=tuple(SourceSlice(instance_uid(uid, k + 1), k + 1, k * thickness) for k in range(len(hu))),
    )
    geometry = Geometry(hu.shape, scanner.spacing_zyx, tuple(float(v) for v in origin))  # type: ignore[arg-type]
    return Volume(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), geometry, series, nearest_slice=tuple(range(len(hu))))
