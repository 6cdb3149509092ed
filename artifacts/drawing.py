"""Drawing: what pictures of a CT are made of. Only the planes that are drawn are touched; Pillow does the pixels."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from artifacts.planes import Cut

if TYPE_CHECKING:
    from PIL import Image as PIL
    from PIL.ImageFont import FreeTypeFont

Color = tuple[int, int, int]

LUNG_WINDOW = (-600.0, 1500.0)  # center, width in HU
# colours that people with any colour vision tell apart (Okabe and Ito, 2008)
RIGHT_LUNG, LEFT_LUNG, OUTLINE, SPOT = (86, 180, 233), (230, 159, 0), (255, 221, 51), (0, 220, 160)
INK, PAPER = (235, 238, 242), (14, 17, 22)
SCALE_BARS_MM = (100, 50, 20, 10, 5)


@dataclass(frozen=True)
class Frame:
    """Which part of a cut is drawn and how large. Rows and columns are edges: voxel i reaches from i to i + 1."""

    cut: Cut
    top: float
    left: float
    bottom: float
    right: float
    size: tuple[int, int]  # width, height in pixels

    @classmethod
    def whole(cls, cut: Cut, px_per_mm: float) -> Frame:
        return cls.part(cut, (0, 0, *cut.shape), px_per_mm)

    @classmethod
    def part(cls, cut: Cut, box: tuple[float, float, float, float], px_per_mm: float) -> Frame:
        """box: top, left, bottom, right."""
        top, left, bottom, right = box
        dr, dc = cut.spacing_mm
        size = (max(round((right - left) * dc * px_per_mm), 1), max(round((bottom - top) * dr * px_per_mm), 1))
        return cls(cut, top, left, bottom, right, size)

    @classmethod
    def around(cls, cut: Cut, zyx: ArrayLike, field_mm: float, pixels: int) -> Frame:
        """A square of ``field_mm`` a side with the position in its middle; it may reach beyond the grid."""
        (row, column), (dr, dc) = cut.place(zyx), cut.spacing_mm
        row, column, half = row + 0.5, column + 0.5, field_mm / 2
        return cls(cut, row - half / dr, column - half / dc, row + half / dr, column + half / dc, (pixels, pixels))

    @property
    def px_per_mm(self) -> float:
        return self.size[0] / ((self.right - self.left) * self.cut.spacing_mm[1])

    def pixel(self, zyx: ArrayLike) -> tuple[float, float]:
        """(x, y) in the picture of a voxel position."""
        row, column = self.cut.place(zyx)
        x = (column + 0.5 - self.left) / (self.right - self.left) * self.size[0]
        y = (row + 0.5 - self.top) / (self.bottom - self.top) * self.size[1]
        return x, y

    def sample(self, plane: NDArray[np.uint8]) -> PIL.Image:
        """A ``[row, column]`` plane of this cut, resampled to the frame; 0 beyond the grid."""
        return resample(plane, (self.top, self.left, self.bottom, self.right), self.size)


class Picture:
    """One cut drawn in a frame: grey values first, then what is laid over them."""

    def __init__(self, hu: NDArray[np.int16], frame: Frame, window: tuple[float, float] = LUNG_WINDOW):
        self.frame = frame
        self._ticked = False  # letters make room for ticks
        self.image = frame.sample(grey(self._needed(hu), window)).convert("RGB")

    def _needed(self, array: NDArray[Any]) -> NDArray[Any]:
        return self.frame.cut.of(array)

    def contour(self, array: NDArray[Any], label: int | None = None, color: Color = OUTLINE, width: float = 1.4) -> Picture:
        """The border of where ``array`` ``[z, y, x]`` equals ``label`` (of where it is not 0), ``width`` pixels wide."""
        plane = self._needed(array)
        inside = (plane == label) if label is not None else (plane != 0)
        if inside.any():
            level = np.asarray(self.frame.sample(inside.astype(np.uint8) * 255), dtype=np.float32)
            self._paint(color, border(level, width))
        return self

    def heat(self, probability: NDArray[np.uint8], strength: float = 0.65) -> Picture:
        """``round(255 p)`` as a translucent colour: none below 0.1, yellow, then red."""
        plane = self._needed(probability)
        if plane.any():
            level = self.frame.sample(np.ascontiguousarray(plane))
            lut = _heat_colors(strength)
            from PIL import Image

            color = Image.merge("RGB", [level.point(lut[c]) for c in range(3)])
            self.image.paste(color, mask=level.point(lut[3]))
        return self

    def _paint(self, color: Color, alpha: NDArray[np.float32]) -> None:
        from PIL import Image

        self.image.paste(color, (0, 0, *self.image.size), Image.fromarray((alpha * 255).astype(np.uint8)))

    def ticks(self, zyx: ArrayLike, color: Color = OUTLINE) -> Picture:
        """Short strokes at the four borders that point at a position and hide nothing of it."""
        (x, y), (w, h) = self.frame.pixel(zyx), self.image.size
        self._ticked = True
        n = max(min(w, h) // 14, 5)
        draw = _draw(self.image)
        for stroke in ((x, 0, x, n), (x, h - 1 - n, x, h - 1), (0, y, n, y), (w - 1 - n, y, w - 1, y)):
            draw.line(stroke, fill=color, width=2 if n > 14 else 1)
        return self

    def box(self, zyx: ArrayLike, side_mm: float, color: Color = OUTLINE, text: str = "") -> Picture:
        """A square around a position, with a text on a chip at its corner."""
        (x, y), r = self.frame.pixel(zyx), side_mm / 2 * self.frame.px_per_mm
        draw = _draw(self.image)
        draw.rectangle((x - r, y - r, x + r, y + r), outline=color, width=2)
        if text:
            wide = draw.textlength(text, font=font(14)) + 8
            left = x + r if x + r + wide < self.image.width else x - r - wide
            draw.rectangle((left, y - r, left + wide, y - r + 17), fill=color)
            draw.text((left + wide / 2, y - r + 9), text, fill=(0, 0, 0), font=font(14), anchor="mm")
        return self

    def ring(self, zyx: ArrayLike, radius_mm: float, color: Color, least_px: float = 2.5) -> Picture:
        (x, y), r = self.frame.pixel(zyx), max(radius_mm * self.frame.px_per_mm, least_px)
        _draw(self.image).ellipse((x - r, y - r, x + r, y + r), outline=color, width=1)
        return self

    def marks(self, text: str = "", *, letters: bool = True, scale: bool = True) -> Picture:
        """R and L (A and P) at the sides, a scale bar at the lower right, a text at the upper left."""
        w, h = self.image.size
        if letters:
            left, right = self.frame.cut.edges
            y = h / 2 - (16 if self._ticked else 0)
            write(self.image, (5, y), left, anchor="lm", size=self._letters)
            write(self.image, (w - 5, y), right, anchor="rm", size=self._letters)
        if scale:
            self._scale_bar()
        if text:
            write(self.image, (6, 4), text)
        return self

    @property
    def _letters(self) -> int:
        """A size that stays legible when the picture is shown a little smaller."""
        return min(max(min(self.image.size) // 20, 12), 15)

    def _scale_bar(self) -> None:
        w, h = self.image.size
        mm = next((m for m in SCALE_BARS_MM if m * self.frame.px_per_mm <= w * 0.3), SCALE_BARS_MM[-1])
        length, y = mm * self.frame.px_per_mm, h - 8
        left, right, draw = w - 8 - length, w - 8, _draw(self.image)
        draw.rectangle((left - 1, y - 1, right + 1, y + 2), fill=(0, 0, 0))  # a dark rim, to be seen on white
        for x in (left, right):
            draw.rectangle((x - 1, y - 4, x + 1, y + 4), fill=(0, 0, 0))
            draw.line((x, y - 3, x, y + 3), fill=INK)
        draw.line((left, y, right, y), fill=INK, width=2)
        write(self.image, (w - 8 - length / 2, y - 4), f"{mm} mm", anchor="mb", size=self._letters - 1)


def grey(hu: NDArray[Any], window: tuple[float, float] = LUNG_WINDOW) -> NDArray[np.uint8]:
    """Hounsfield units to 0..255 through a window of (center, width)."""
    center, width = window
    scaled = (hu.astype(np.float32) - np.float32(center - width / 2)) * np.float32(255 / width)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def resample(plane: NDArray[np.uint8], box: tuple[float, float, float, float], size: tuple[int, int]) -> PIL.Image:
    """The part ``box`` (top, left, bottom, right) of a plane at another size; beyond the plane it is 0."""
    from PIL import Image

    top, left, bottom, right = box
    rows, columns = plane.shape
    r0, c0, r1, c1 = math.floor(top) - 2, math.floor(left) - 2, math.ceil(bottom) + 2, math.ceil(right) + 2
    part = plane[max(r0, 0) : max(r1, 0), max(c0, 0) : max(c1, 0)]
    outside = ((max(-r0, 0), max(r1 - rows, 0)), (max(-c0, 0), max(c1 - columns, 0)))
    if top >= 0 and left >= 0 and bottom <= rows and right <= columns:
        r0, c0 = max(r0, 0), max(c0, 0)
    else:
        part = np.pad(part, outside)
    image = Image.fromarray(np.ascontiguousarray(part))
    return image.resize(size, Image.Resampling.BICUBIC, box=(left - c0, top - r0, right - c0, bottom - r0))


def border(level: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Coverage 0..1 of a line where ``level`` crosses 127.5: the distance to it is the height over the slope."""
    height = np.abs(level - 127.5)
    near = height < 127
    if level.shape[0] < 2 or level.shape[1] < 2 or not near.any():
        return np.zeros_like(level)
    down, along = np.gradient(level)
    slope = np.maximum(np.hypot(down, along), 1e-3)
    return np.clip(width / 2 + 0.5 - height / slope, 0, 1)


@cache
def _heat_colors(strength: float) -> tuple[list[int], list[int], list[int], list[int]]:
    p = np.arange(256) / 255
    red = np.full(256, 255)
    green = np.interp(p, [0, 0.3, 1], [235, 200, 40])
    blue = np.interp(p, [0, 0.3, 1], [90, 40, 30])
    alpha = np.interp(p, [0, 0.1, 0.5, 1], [0, 0, 0.6, 1]) * strength * 255
    return tuple(np.round(c).astype(int).tolist() for c in (red, green, blue, alpha))  # type: ignore[return-value]


def write(
    image: PIL.Image, at: tuple[float, float], text: str, color: Color = INK, *, anchor: str = "la", size: int = 12
) -> None:
    """Text with a dark rim, legible on any grey."""
    from artifacts.lettering import legible

    text = legible(text)
    face = font_for(text, size)
    _draw(image).text(at, text, fill=color, font=face, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))


def tile(plane: NDArray[np.uint8], spacing_mm: tuple[float, float], pixels: int, text: str) -> PIL.Image:
    """A small plane in a square of ``pixels``, right in millimetres, with a line of text below."""
    from PIL import Image

    high, wide = plane.shape[0] * spacing_mm[0], plane.shape[1] * spacing_mm[1]
    scale = pixels / max(high, wide)
    size = (max(round(wide * scale), 1), max(round(high * scale), 1))
    canvas = Image.new("RGB", (pixels, pixels + 16), PAPER)
    drawn = resample(plane, (0, 0, *plane.shape), size).convert("RGB")
    canvas.paste(drawn, ((pixels - size[0]) // 2, (pixels - size[1]) // 2))
    write(canvas, (pixels / 2, pixels + 2), text, anchor="ma", size=11)
    return canvas


def montage(images: Sequence[PIL.Image], columns: int, gap: int = 4) -> PIL.Image:
    """Pictures side by side, row by row, each in the middle of its cell."""
    from PIL import Image

    columns = max(min(columns, len(images)), 1)
    lines = [images[i : i + columns] for i in range(0, len(images), columns)]
    widths = [max(line[c].width for line in lines if c < len(line)) for c in range(columns)]
    heights = [max(i.height for i in line) for line in lines]
    canvas = Image.new("RGB", (sum(widths) + gap * (columns - 1), sum(heights) + gap * (len(lines) - 1)), PAPER)
    for r, line in enumerate(lines):
        for c, image in enumerate(line):
            x, y = sum(widths[:c]) + c * gap, sum(heights[:r]) + r * gap
            canvas.paste(image, (x + (widths[c] - image.width) // 2, y + (heights[r] - image.height) // 2))
    return canvas


def jpeg(image: PIL.Image, quality: int = 85) -> bytes:
    """Full colour resolution, so that thin coloured lines stay thin."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def png(image: PIL.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _draw(image: PIL.Image) -> Any:
    from PIL import ImageDraw

    return ImageDraw.Draw(image)


@cache
def font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)  # type: ignore[return-value]


def font_for(text: str, size: int) -> FreeTypeFont:
    """Ours, or one that has the letters of ``text`` where it goes beyond ASCII."""
    if text.isascii():
        return font(size)
    from artifacts.lettering import font_of

    return font_at(font_of(text), size)


@cache
def font_at(file: str, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(file, size)
