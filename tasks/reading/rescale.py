"""Stored values to Hounsfield units, in place: unused bits off, rescale, padding and out-of-field values to air."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from artifacts.volume import AIR_HU
from tasks.reading.slices import PixelFormat

HIGHEST_HU = 32767
TISSUE_HU = (-900, 1500)  # a padding value in this range is trusted only where it reaches the border of the image


def to_hu(words: NDArray[np.int16], form: PixelFormat, slope: float, intercept: float) -> None:
    """``words``: int16 ``[rows, columns]``, the 16-bit words as stored (whatever their sign); becomes HU.

    HU = slope x stored + intercept (DICOM PS3.3 C.11.1.1.2), rounded where fractional, kept within -1024..32767. Padding
    (C.7.5.1.1.2) becomes -1024.
    """
    stored = _without_unused_bits(words, form)
    padding = _padding(stored, form, slope, intercept)
    if not _whole_shift(words, stored, form, slope, intercept):
        np.clip(np.rint(stored * slope + intercept), AIR_HU, HIGHEST_HU, out=words, casting="unsafe")
    if padding is not None:
        words[padding] = AIR_HU


def other_to_hu(values: NDArray, slope: float, intercept: float) -> NDArray[np.int16]:
    """The same for stored values that are no 16-bit words."""
    return np.clip(np.rint(values.astype(np.float64) * slope + intercept), AIR_HU, HIGHEST_HU).astype(np.int16)


def _without_unused_bits(words: NDArray[np.int16], form: PixelFormat) -> NDArray:
    """A view with the right sign; the bits above ``bits_stored`` (old files keep overlays there) are cleared."""
    unused = 16 - form.bits_stored
    if form.signed:
        if unused > 0:
            words <<= unused
            words >>= unused
        return words
    stored = words.view(np.uint16)
    if unused > 0:
        stored &= np.uint16((1 << form.bits_stored) - 1)
    return stored


def _range(form: PixelFormat) -> tuple[int, int]:
    bits = min(form.bits_stored, 16)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if form.signed else (0, (1 << bits) - 1)


def _whole_shift(words: NDArray[np.int16], stored: NDArray, form: PixelFormat, slope: float, intercept: float) -> bool:
    """Slope 1 and a whole intercept, as nearly all CT: clip the stored values, then add modulo 2^16. False: not such a case."""
    if slope != 1 or intercept != int(intercept):
        return False
    shift = int(intercept)
    least, most = _range(form)
    low, high = AIR_HU - shift, HIGHEST_HU - shift
    if low > most or high < least:
        return False
    if low > least:
        np.maximum(stored, stored.dtype.type(low), out=stored)
    if high < most:
        np.minimum(stored, stored.dtype.type(high), out=stored)
    if shift:
        modulo = words.view(np.uint16)
        modulo += np.uint16(shift & 0xFFFF)
    return True


def _padding(stored: NDArray, form: PixelFormat, slope: float, intercept: float) -> NDArray[np.bool_] | None:
    """Where the header's padding is, as far as the rescale does not make air of it anyway."""
    if form.padding is None:
        return None
    ends = [_as_stored(v, form) for v in (form.padding, form.padding if form.padding_limit is None else form.padding_limit)]
    hu = sorted(slope * v + intercept for v in ends)
    least, most = _range(form)
    if hu[1] <= AIR_HU or max(ends) < least or min(ends) > most:
        return None
    mask = (stored >= min(ends)) & (stored <= max(ends))
    if hu[1] > TISSUE_HU[0] and hu[0] < TISSUE_HU[1]:
        return _reaching_border(mask)
    return mask


def _as_stored(word: int, form: PixelFormat) -> int:
    """Some writers store a signed image's padding as unsigned: 63536 is -2000."""
    return word - 65536 if form.signed and word >= 32768 else word


def _reaching_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Padding surrounds the field of view; the same value inside the body is tissue."""
    from scipy.ndimage import label

    labels, _ = label(mask)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, border[border > 0])
