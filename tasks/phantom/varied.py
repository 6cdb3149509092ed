"""The varied phantom: patient, disease, scanner and pose all drawn, so that what learns from it meets more than one hospital."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from artifacts.volume import Series, SourceSlice, Volume
from tasks.phantom.anatomy import draw_varied_build, make_anatomy
from tasks.phantom.canvas import Canvas, draw_threads, draw_tubes
from tasks.phantom.compose import lay_tissues
from tasks.phantom.dicom import instance_uid, uid_of
from tasks.phantom.hardware import draw_hardware
from tasks.phantom.kernel import grain_tile, reconstruct
from tasks.phantom.mimics import draw_mimics
from tasks.phantom.motion import shake
from tasks.phantom.nodules import NoduleSpec, draw_varied_specs
from tasks.phantom.placing import insert_all
from tasks.phantom.scanning import Scan, draw_pose, draw_scan, field_mask, settle, surroundings
from tasks.phantom.style import Look, draw_look
from tasks.phantom.vessels import Tubes, grow_vessels

if TYPE_CHECKING:
    from tasks.phantom.phantom import Phantom

VERSION = "varied-2"  # what a seed gives changes with this name alone
COARSE_MM = 3.0
THREAD_MM = 0.8  # vessels thinner than this are drawn as threads


def make_varied(
    seed: int,
    nodules: int | Sequence[NoduleSpec] | None,
    shape_yx: tuple[int, int] | None,
    spacing_zyx: tuple[float, float, float] | None,
    noise_hu: float | None,
    mimics: float,
    small: bool,
    posed: bool,
) -> Phantom:
    """As ``make_phantom`` says; shape and spacing that are not given are drawn."""
    from tasks.phantom.phantom import Phantom

    build_rng, look_rng, scan_rng, anatomy_rng, vessel_rng, mimic_rng, nodule_rng, noise_rng = _chances(seed)
    build, look = draw_varied_build(build_rng), draw_look(look_rng)
    scan = draw_scan(scan_rng, build, small=small)
    shoulders, table = float(scan_rng.uniform(0, 2.5)), scan_rng.uniform([-30, -220, -500], [30, 60, 200])
    scan = draw_pose(scan_rng, scan)
    scan = _as_wished(scan, shape_yx, spacing_zyx, noise_hu, posed)
    axes = scan.axes(build.height)
    half = [max(abs(a[0]), abs(a[-1])) for a in axes[1:]]
    coarse = 1.5 * COARSE_MM if small else COARSE_MM
    anatomy = make_anatomy(anatomy_rng, build, coarse, (half[0], half[1]), (axes[0][0], axes[0][-1]), look)
    grain = grain_tile(anatomy_rng, scan.shape_yx, scan.spacing_zyx, look.grain_hu, look.grain_mm)
    canvas, lungs = lay_tissues(anatomy, axes, surroundings(scan_rng, build, look, axes), grain)
    vessels, walls, lumina = grow_vessels(vessel_rng, anatomy, look.twigs // 4 if small else look.twigs)
    _draw_trees(canvas, look, vessels, walls, lumina)
    spots = draw_mimics(mimic_rng, canvas, anatomy, mimics, varied=True)
    draw_hardware(mimic_rng, canvas, anatomy)
    specs = _specs(nodule_rng, nodules, scan.thickness_mm)
    labels = np.zeros(canvas.hu.shape, dtype=np.uint8)
    taken = [(s.center, s.radius_mm) for s in spots]
    truth = insert_all(nodule_rng, canvas, anatomy, vessels, specs, labels, taken)
    shake(noise_rng, canvas, anatomy)
    reconstruct(noise_rng, canvas.hu, canvas.spacing, scan.acquisition(axes[0], build.height, shoulders))
    if scan.round:
        canvas.hu[:, ~field_mask(scan)] = -1024
    geometry, pose = settle(scan, axes, table)
    order = tuple(slice(None, None, -1 if flip else 1) for flip in scan.flips)
    uid = uid_of("series", VERSION, seed, nodules, mimics, scan)
    hu = np.ascontiguousarray(_stored(canvas)[order])
    volume = Volume(hu, geometry, _series(uid, scan, len(axes[0])), nearest_slice=tuple(range(len(axes[0]))))
    return Phantom(
        seed,
        volume,
        [replace(n, center_lps_mm=pose(n.center_lps_mm)) for n in truth],
        np.ascontiguousarray(labels[order]),
        np.ascontiguousarray(lungs[order]),
        [replace(s, center=np.array(pose(s.center))) for s in spots],
        _facts(scan, look),
    )


def look_of(seed: int) -> Look:
    """What the varied phantom of a seed looks like, before any of it is made."""
    return draw_look(_chances(seed)[1])


def _chances(seed: int) -> list[np.random.Generator]:
    """Of build, look, scan, anatomy, vessels, mimics, nodules and noise."""
    return [np.random.default_rng(s) for s in np.random.SeedSequence([0x4E0E, seed]).spawn(8)]


def _as_wished(
    scan: Scan,
    shape_yx: tuple[int, int] | None,
    spacing_zyx: tuple[float, float, float] | None,
    noise_hu: float | None,
    posed: bool,
) -> Scan:
    """What was asked for instead of what was drawn. A shape alone keeps the field of view, a spacing alone the shape."""
    if shape_yx is not None and spacing_zyx is None:
        dz, dy, dx = scan.spacing_zyx
        spacing_zyx = (dz, dy * scan.shape_yx[0] / shape_yx[0], dx * scan.shape_yx[1] / shape_yx[1])
    if spacing_zyx is not None:
        scan = replace(scan, spacing_zyx=spacing_zyx, thickness_mm=max(scan.thickness_mm, spacing_zyx[0]))
    if shape_yx is not None:
        scan = replace(scan, shape_yx=shape_yx)
    if noise_hu is not None:
        scan = replace(scan, noise_hu=noise_hu)
    return scan if posed else replace(scan, flips=(False, False, False), directions=Scan.directions)


def _specs(rng: np.random.Generator, nodules: int | Sequence[NoduleSpec] | None, thickness_mm: float) -> list[NoduleSpec]:
    """What was asked for, or one to five; sizes nobody named are never too small for the slices."""
    if not isinstance(nodules, Sequence):
        return draw_varied_specs(rng, int(rng.integers(1, 6)) if nodules is None else nodules, thickness_mm)
    drawn = draw_varied_specs(rng, len(nodules), thickness_mm)
    return [replace(n, diameter_mm=d.diameter_mm) if n.diameter_mm is None else n for n, d in zip(nodules, drawn, strict=True)]


def _draw_trees(canvas: Canvas, look: Look, vessels: Tubes, walls: Tubes, lumina: Tubes) -> None:
    blood, thin = min(look.blood_hu, 180.0), np.maximum(vessels.start_radius, vessels.end_radius) < THREAD_MM
    draw_tubes(canvas, vessels.keep(~thin), blood)
    draw_threads(canvas, vessels.keep(thin), blood)
    draw_tubes(canvas, walls, -60)
    draw_tubes(canvas, lumina, -1000, brighten=False)


def _stored(canvas: Canvas) -> np.ndarray:
    np.rint(canvas.hu, out=canvas.hu)
    return np.clip(canvas.hu, -1024, 3071).astype(np.int16)


def _series(uid: str, scan: Scan, slices: int) -> Series:
    step = scan.spacing_zyx[0]
    return Series(
        uid=uid,
        manufacturer="Hounsfield phantom",
        kernel=scan.kernel.name,
        slice_thickness_mm=scan.thickness_mm,
        slices=tuple(SourceSlice(instance_uid(uid, k + 1), k + 1, k * step) for k in range(slices)),
    )


def _facts(scan: Scan, look: Look) -> dict[str, float | str]:
    """What results are broken down by."""
    return {
        "kernel": scan.kernel.name,
        "noise_hu": round(scan.noise_hu, 1),
        "thickness_mm": scan.thickness_mm,
        "emphysema": round(look.emphysema, 2),
        "contrast": int(look.blood_hu > 100),
    }
