"""From anatomy to Hounsfield units: tissues laid over each other slice by slice, and the scanner's blur and noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.anatomy import Anatomy
from tasks.phantom.canvas import Axes, Canvas
from tasks.phantom.shapes import Field, inside

FAT, MUSCLE, MARROW, CORTEX, AIR = -95.0, 50.0, 180.0, 620.0, -1000.0


def lay_tissues(
    anatomy: Anatomy, axes: Axes, around: Field | None = None, grain: NDArray[np.float32] | None = None
) -> tuple[Canvas, NDArray[np.uint8]]:
    """A canvas with everything but vessels and nodules, and the lungs' labels (1 right, 2 left, the patient's).

    around: HU ``[y, x]`` of what surrounds the body, air where None. grain: HU ``[n, y, x]`` to add to the lungs, plane k of the
    canvas taking plane k modulo n.
    """
    shape = tuple(len(a) for a in axes)
    canvas = Canvas(np.empty(shape, dtype=np.float32), axes)
    labels = np.empty(shape, dtype=np.uint8)
    side = np.where(axes[2] < 0, 1, 2).astype(np.uint8)
    along_y, along_x = (_weights(coarse, fine) for coarse, fine in zip(anatomy.axes[1:], axes[1:], strict=True))
    edge = max(canvas.spacing[1], 0.5 * canvas.spacing[0], 0.8)
    for k, z in enumerate(axes[0]):
        at = (z - anatomy.axes[0][0]) / (anatomy.axes[0][1] - anatomy.axes[0][0])
        low = int(np.clip(at, 0, len(anatomy.axes[0]) - 2))

        def fine(field: Field, low: int = low, part: float = float(at - low)) -> Field:
            plane = field[low] * (1 - part) + field[low + 1] * part
            return along_y @ plane @ along_x.T

        lung = fine(anatomy.lung)
        canvas.hu[k] = _plane(anatomy, fine, lung, edge, around, None if grain is None else grain[k % len(grain)])
        labels[k] = (lung < 0) * side
    return canvas, labels


def _weights(coarse: Field, fine: Field) -> NDArray[np.float32]:
    """Matrix ``[fine, coarse]`` of linear interpolation; multiplying by it is far faster than a general resampler."""
    at = np.clip((fine - coarse[0]) / (coarse[1] - coarse[0]), 0, len(coarse) - 1.001)
    low = at.astype(int)
    matrix = np.zeros((len(fine), len(coarse)), dtype=np.float32)
    rows = np.arange(len(fine))
    matrix[rows, low], matrix[rows, low + 1] = 1 - (at - low), at - low
    return matrix


def _plane(
    anatomy: Anatomy, fine: Callable[[Field], Field], lung: Field, edge: float, around: Field | None, grain: Field | None
) -> Field:
    look = anatomy.look
    hu = np.full_like(lung, AIR) if around is None else around.astype(lung.dtype)

    def lay(distance: Field, value: float | Field) -> None:
        share = inside(distance, edge)
        hu[...] += share * (value - hu)

    mediastinum = fine(anatomy.mediastinum)
    lay(fine(anatomy.body), FAT)
    lay(fine(anatomy.muscle), MUSCLE)
    lay(mediastinum, FAT + 20)
    lay(np.maximum(mediastinum, fine(anatomy.cage)), FAT)
    lay(fine(anatomy.organs), look.organ_hu)
    if look.gas:
        lay(fine(anatomy.gas), AIR)
    bone = fine(anatomy.bone)
    lay(bone, CORTEX)
    lay(bone + 1.6, MARROW)
    fissure = look.fissure_hu * np.exp(-((fine(anatomy.fissure) / look.fissure_mm) ** 2))
    parenchyma = look.lung_hu + fine(anatomy.texture) + fissure
    lay(lung, parenchyma if grain is None else parenchyma + grain)
    return hu


def blur(hu: NDArray[np.float32], spacing: tuple[float, float, float], sigma_mm: float) -> NDArray[np.float32]:
    """The scanner's point spread in plane; along z a slice is already a mean over its thickness."""
    from scipy.ndimage import gaussian_filter1d

    for axis in (1, 2):
        hu = gaussian_filter1d(hu, sigma_mm / spacing[axis], axis=axis, truncate=3.0)
    return hu


def add_noise(
    rng: np.random.Generator, hu: NDArray[np.float32], spacing: tuple[float, float, float], sd_hu: float, sharpness: float
) -> None:
    """Noise as filtered back-projection leaves it: power rising with frequency, then cut off by the kernel; in place.

    sharpness: cut-off in cycles per mm, about 0.35 (soft) to 0.7 (sharp).
    """
    from scipy.fft import irfft2, rfft2

    fy, fx = np.fft.fftfreq(hu.shape[1], spacing[1]), np.fft.rfftfreq(hu.shape[2], spacing[2])
    f = np.hypot(fy[:, None], fx[None, :])
    gain = (np.sqrt(f + 0.01) * np.exp(-((f / sharpness) ** 2))).astype(np.float32)
    full = np.hypot(fy[:, None], np.fft.fftfreq(hu.shape[2], spacing[2])[None, :])
    power = (np.sqrt(full + 0.01) * np.exp(-((full / sharpness) ** 2))) ** 2
    gain *= np.float32(sd_hu / np.sqrt(power.mean()))
    for plane in hu:
        white = rng.standard_normal(plane.shape, dtype=np.float32)
        plane += irfft2(rfft2(white) * gain, s=plane.shape)
