"""The scanner's way from tissue to picture: kernel, slice profile, and the noise that goes through both.

One transfer function H(f) serves signal and noise: edges get its blur or its overshoot, and noise, white in the projections, the
power spectrum ~ f |H(f)|^2 of filtered back-projection (Riederer, Pelc and Chesler, Phys. Med. Biol. 1978). Soft kernels fall off
early; sharp ones rise above one first, which is what rims edges and makes their noise fine-grained.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.shapes import Field

REFERENCE_MM = 0.7


@dataclass(frozen=True)
class Kernel:
    """H(f) = (1 + boost u) exp(-u), u = (f / cutoff)^2; cutoff in cycles per mm. ``name`` as the series tells it."""

    name: str
    cutoff: float
    boost: float

    def transfer(self, f: Field) -> Field:
        u = (f / self.cutoff) ** 2
        return (1 + self.boost * u) * np.exp(-u)

    @property
    def loudness(self) -> float:
        """Noise of this kernel relative to the softest, at the same dose and slice and a pixel of 0.7 mm."""
        f = np.linspace(0, 0.5 / REFERENCE_MM, 400)
        own, soft = (((f * k.transfer(f)) ** 2).sum() for k in (self, KERNELS[0]))
        return float(np.sqrt(own / soft))


KERNELS = (  # soft to sharp; 50 % of the contrast is left at about 3, 4, 5, 6, 8 and 10 line pairs per cm
    Kernel("B20f", 0.37, 0.0),
    Kernel("B30f", 0.46, 0.1),
    Kernel("B40f", 0.50, 0.5),
    Kernel("B50f", 0.46, 1.3),
    Kernel("B60f", 0.48, 2.0),
    Kernel("B70f", 0.56, 2.6),
)


@dataclass(frozen=True)
class Acquisition:
    """noise_hu: standard deviation in the slice, in the middle of the body; thickness_mm: of the slice, at least the distance
    between slices; streaks: extra noise along x where shoulders are, relative, for each slice."""

    kernel: Kernel
    noise_hu: float
    thickness_mm: float
    streaks: NDArray[np.float64] | None = None


def slice_profile(thickness_mm: float, step_mm: float) -> NDArray[np.float64]:
    """Weights over neighbouring planes, each already a mean over ``step_mm``, that make slices ``thickness_mm`` thick."""
    extra = np.sqrt(max(thickness_mm**2 - step_mm**2, 0.0)) / step_mm  # variances of boxes add
    reach = int(np.ceil(extra / 2 - 0.5)) if extra > 0 else 0
    at = np.arange(-reach, reach + 1)
    weights = np.clip(0.5 * extra + 0.5 - np.abs(at), 0, 1) if reach else np.ones(1)
    return weights / weights.sum()


def reconstruct(rng: np.random.Generator, hu: NDArray[np.float32], spacing: tuple[float, float, float], how: Acquisition) -> None:
    """Tissue to picture, in place, plane by plane: hu float32 ``[z, y, x]``, spacing (z, y, x) mm."""
    from scipy.fft import irfft2, rfft2

    signal, noise, ratio = _gains(hu.shape[1:], spacing, how)
    louder = _louder(hu.shape[1:], spacing)
    weights = slice_profile(how.thickness_mm, spacing[0])
    reach = len(weights) // 2
    planes: deque[NDArray[np.float32]] = deque((hu[0].copy() for _ in range(reach)), maxlen=len(weights))
    grains: deque[NDArray[np.float32]] = deque(maxlen=len(weights))
    for _ in range(2 * reach):
        grains.append(rng.standard_normal(hu.shape[1:], dtype=np.float32))
    for k in range(min(reach, len(hu))):
        planes.append(hu[k].copy())
    for k in range(len(hu)):
        planes.append(hu[min(k + reach, len(hu) - 1)].copy())
        grains.append(rng.standard_normal(hu.shape[1:], dtype=np.float32))
        tissue = irfft2(rfft2(_mixed(planes, weights)) * signal, s=hu.shape[1:])
        grain = _mixed(grains, weights / np.linalg.norm(weights))
        gain = noise if how.streaks is None else noise * (1 + np.float32(how.streaks[k]) * ratio)
        hu[k] = tissue + louder * irfft2(rfft2(grain) * gain, s=hu.shape[1:])


def _louder(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Noise is loudest in the middle of the body, where fewest photons come from."""
    y, x = (((np.arange(n) - 0.5 * n) * s) ** 2 for n, s in zip(shape, spacing[1:], strict=True))
    return (0.55 + 0.45 * np.exp(-(y[:, None] + x) / 130**2)).astype(np.float32)


def _mixed(planes: deque[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    if len(weights) == 1:
        return planes[0]
    out = np.zeros_like(planes[0])
    for plane, weight in zip(planes, weights, strict=True):
        out += np.float32(weight) * plane
    return out


def _gains(
    shape: tuple[int, ...], spacing: tuple[float, float, float], how: Acquisition
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Factors of signal and noise in the half plane of frequencies, and where in it horizontal streaks live."""
    fy, fx = np.fft.fftfreq(shape[0], spacing[1])[:, None], np.fft.rfftfreq(shape[1], spacing[2])[None]
    full = np.fft.fftfreq(shape[1], spacing[2])[None]
    nyquist = 0.5 / max(spacing[1:])

    def rolled(f: Field) -> Field:  # pixels end what the kernel would still show: a soft end instead of ringing
        return how.kernel.transfer(f) * np.cos(0.5 * np.pi * np.clip((f / nyquist - 0.75) / 0.5, 0, 1)) ** 2

    signal = rolled(np.hypot(fy, fx))
    noise, whole = (np.sqrt(f + 0.004) * rolled(f) for f in (np.hypot(fy, fx), np.hypot(fy, full)))
    noise = noise * how.noise_hu / np.sqrt((whole**2).mean())
    streak = np.exp(-((fx / 0.02) ** 2)) * np.ones_like(fy)
    return signal.astype(np.float32), noise.astype(np.float32), streak.astype(np.float32)


def draw_kernel(rng: np.random.Generator) -> Kernel:
    return KERNELS[rng.choice(len(KERNELS), p=[0.1, 0.24, 0.2, 0.18, 0.16, 0.12])]


def grain_tile(
    rng: np.random.Generator, shape_yx: tuple[int, int], spacing: tuple[float, float, float], sd_hu: float, size_mm: float
) -> NDArray[np.float32]:
    """Texture of a lung ``[n, y, x]`` that repeats without a seam: many dark, few bright, as where small vessels are."""
    from scipy.fft import irfftn, rfftn

    shape = (max(8, round(60 / spacing[0])), 256, 256)
    white = rng.standard_normal(shape, dtype=np.float32)
    frequencies = (np.fft.fftfreq(shape[0], spacing[0]), np.fft.fftfreq(256, spacing[1]), np.fft.rfftfreq(256, spacing[2]))
    fz, fy, fx = np.meshgrid(*frequencies, indexing="ij", sparse=True)
    f2 = fz**2 + fy**2 + fx**2
    soft = irfftn(rfftn(white) * np.exp(-2 * (np.pi * size_mm) ** 2 * f2).astype(np.float32), s=shape)
    soft /= soft.std()
    skewed = soft + 0.4 * (soft**2 - 1)
    skewed *= sd_hu / skewed.std()
    times = [-(-n // 256) for n in shape_yx]
    return np.tile(skewed, (1, *times))[:, : shape_yx[0], : shape_yx[1]].astype(np.float32)
