"""One slice of a series, as its header tells it: place, pixel format, rescale; no pixels yet."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from artifacts.geometry import Vector
from tasks.reading.header import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, RawHeader

UNCOMPRESSED = frozenset((IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED))
UID = re.compile(r"[0-9.]{3,64}")
MOST_MM = 1e6  # from the origin of the patient's coordinates: what lies further is a damaged header
MOST_SLOPE, MOST_INTERCEPT = 1e3, 1e6
Six = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class PixelFormat:
    """How the stored values of a slice are packed, and what they mean."""

    rows: int
    columns: int
    spacing_yx: tuple[float, float] | None
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: int | None  # stored value, 16 bits as they stand
    padding_limit: int | None
    transfer_syntax: str

    @property
    def plain(self) -> bool:
        """16-bit words that lie in the file as they are."""
        return (
            self.transfer_syntax in UNCOMPRESSED
            and self.transfer_syntax != DEFLATED
            and self.bits_allocated == 16
            and self.samples == 1
        )

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.samples * self.bits_allocated // 8


@dataclass(frozen=True)
class About:
    """What a slice says of its series. Only what is kept or decides whether the series is fit."""

    modality: str
    sop_class: str
    image_type: tuple[str, ...]
    manufacturer: str | None
    kernel: str | None
    thickness_mm: float | None
    body_part: str
    tilt_deg: float | None


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One slice (of a multi-frame file: one frame)."""

    path: Path
    frame: int
    series_uid: str | None
    sop_uid: str | None
    instance: int | None
    acquisition: str
    temporal: str  # which point in time, where a place is seen at several
    position: Vector | None
    orientation: Six | None
    slope: float
    intercept: float
    format: PixelFormat
    about: About
    pixels_at: int | None  # of this frame; None: to be decoded
    cut_short: bool = False  # the file ends before its pixels do
    study_uid: str | None = None
    patient: tuple[str, str] = ("", "")  # marks of number and name, which tell patients apart and name nobody

    @property
    def readable(self) -> bool:
        """The pixels are all there, and slope and intercept make Hounsfield units of them (DICOM PS3.3 C.11.1.1.2)."""
        return not self.cut_short and 0 < self.slope <= MOST_SLOPE and abs(self.intercept) <= MOST_INTERCEPT


def slice_of(path: Path, header: RawHeader) -> SliceHeader:
    """The slice of a single-frame file."""
    form = _format(
        header.transfer_syntax,
        *(header.number(n) for n in ("rows", "columns", "samples", "bits_allocated", "bits_stored", "signed")),  # type: ignore[arg-type]
        header.number("padding"),
        header.number("padding_limit"),
        header.text("spacing"),
    )
    about = _about(
        *(
            header.text(n)
            for n in ("modality", "sop_class", "image_type", "manufacturer", "kernel", "thickness", "body_part", "tilt")
        )
    )
    end = (header.pixels_at or 0) + form.frame_bytes
    short = not header.has_pixels or (
        form.transfer_syntax in UNCOMPRESSED and header.pixels_at is not None and end > min(header.pixels_end, header.file_bytes)
    )
    return SliceHeader(
        path=path,
        frame=0,
        series_uid=uid_or_none(header.text("series_uid")),
        sop_uid=uid_or_none(header.text("sop_uid")),
        instance=whole_number(header.text("instance")),
        acquisition=header.text("acquisition"),
        temporal=header.text("temporal"),
        position=_three(header.text("position")),
        orientation=six(header.text("orientation")),
        slope=_decimal(header.text("slope"), 1.0),
        intercept=_decimal(header.text("intercept"), 0.0),
        format=form,
        about=about,
        pixels_at=header.pixels_at if form.plain else None,
        cut_short=short and bool(header.fields),
        study_uid=uid_or_none(header.text("study_uid")),
        patient=(header.text("patient"), header.text("patient_name")),
    )


def uid_or_none(text: str) -> str | None:
    """Digits and dots, as DICOM asks; anything else could be anything, and is not kept."""
    return text if UID.fullmatch(text) else None


def whole_number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def numbers(text: str) -> tuple[float, ...] | None:
    """Of a backslash-separated decimal string; None where there is none, or one is not finite."""
    try:
        values = tuple(float(v) for v in text.split("\\"))
    except ValueError:
        return None
    return values if all(abs(v) < 1e9 for v in values) else None


def _three(text: str) -> Vector | None:
    values = numbers(text)
    return values if values and len(values) == 3 and max(map(abs, values)) < MOST_MM else None  # type: ignore[return-value]


@lru_cache(maxsize=256)
def six(text: str) -> Six | None:
    values = numbers(text)
    return values if values and len(values) == 6 else None  # type: ignore[return-value]


@lru_cache(maxsize=1024)
def _decimal(text: str, missing: float) -> float:
    """NaN for what is there and no number."""
    values = numbers(text) if text else (missing,)
    return values[0] if values else math.nan


@lru_cache(maxsize=1024)
def _format(
    syntax: str,
    rows: int | None,
    columns: int | None,
    samples: int | None,
    allocated: int | None,
    stored: int | None,
    signed: int | None,
    padding: int | None,
    limit: int | None,
    spacing: str,
) -> PixelFormat:
    pair = numbers(spacing)
    return PixelFormat(
        rows=rows or 0,
        columns=columns or 0,
        spacing_yx=(pair[0], pair[1]) if pair and len(pair) == 2 else None,
        samples=samples or 1,
        bits_allocated=allocated or 16,
        bits_stored=stored or allocated or 16,
        signed=bool(signed),
        padding=padding,
        padding_limit=limit,
        transfer_syntax=syntax,
    )


@lru_cache(maxsize=1024)
def _about(
    modality: str, sop_class: str, image_type: str, maker: str, kernel: str, thickness: str, body_part: str, tilt: str
) -> About:
    return About(
        modality=modality.upper() if modality.isalnum() and len(modality) <= 16 else "",
        sop_class=sop_class,
        image_type=tuple(part.strip().upper() for part in image_type.split("\\")),
        manufacturer=_plain_words(maker),
        kernel=_plain_words(kernel.split("\\")[0]),
        thickness_mm=next(iter(t for t in (numbers(thickness) or ()) if t > 0), None),
        body_part=body_part.upper(),
        tilt_deg=next(iter(numbers(tilt) or ()), None),
    )


def _plain_words(text: str) -> str | None:
    """A maker's or a kernel's name; free text longer than such names are is not kept."""
    cleaned = re.sub(r"[^A-Za-z0-9 ._+/-]", "", text).strip()
    return cleaned if 0 < len(cleaned) <= 40 else None
