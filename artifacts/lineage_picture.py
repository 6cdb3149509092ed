"""Lineage as a picture: one box an artifact, rows from what came in down to what came out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifacts.drawing import font

if TYPE_CHECKING:
    from PIL import Image as PIL

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 200, 54, 20, 34, 16
MOST_A_ROW = 5
SCALE = 2  # drawn larger, then made smaller: smooth lines
PAPER, INK, SOFT, LINE = (255, 255, 255), (23, 32, 43), (90, 102, 117), (120, 138, 158)
FILL, CHOSEN, GONE = (238, 244, 250), (255, 236, 179), (240, 240, 240)


@dataclass(frozen=True)
class Box:
    """One artifact: a bold line, two small ones. chosen: what was asked for; gone: its folder is not there any more."""

    key: str
    title: str
    lines: tuple[str, str]
    needs: tuple[str, ...]
    chosen: bool = False
    gone: bool = False


def lineage_picture(boxes: Sequence[Box]) -> bytes:
    """PNG. A box stands below all that it needs; rows of more than five boxes go on below, and none is left out.

    An arrow that others imply (volume to report, past all stages between) is not drawn.
    """
    from PIL import Image, ImageDraw

    if not boxes:
        return b""
    places = _places(boxes)
    arrows = _direct({b.key: [n for n in b.needs if n in places] for b in boxes})
    far = any(places[b][1] - places[a][1] > HEIGHT + GAP_Y for a, b in arrows)
    across = max(x for x, _ in places.values()) + WIDTH + MARGIN + (14 * 5 if far else 0)
    down = max(y for _, y in places.values()) + HEIGHT + MARGIN
    image = Image.new("RGB", (across * SCALE, down * SCALE), PAPER)
    draw = ImageDraw.Draw(image)
    for start, end in arrows:
        _arrow(draw, places[start], places[end])
    for box in boxes:
        _box(draw, box, *places[box.key])
    stream = io.BytesIO()
    _smaller(image).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _smaller(image: PIL.Image) -> PIL.Image:
    from PIL import Image

    small = image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS)
    return small.quantize(64)


def _places(boxes: Sequence[Box]) -> dict[str, tuple[int, int]]:
    """Key -> upper left corner."""
    depths = _depths({b.key: b.needs for b in boxes})
    rows: dict[int, list[str]] = {}
    for box in boxes:
        rows.setdefault(depths[box.key], []).append(box.key)
    places: dict[str, tuple[int, int]] = {}
    y = MARGIN
    for depth in sorted(rows):
        for start in range(0, len(rows[depth]), MOST_A_ROW):
            for column, key in enumerate(rows[depth][start : start + MOST_A_ROW]):
                places[key] = (MARGIN + column * (WIDTH + GAP_X), y)
            y += HEIGHT + GAP_Y
    return places


def _depths(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many steps each is from what it came from, the longest way."""
    depths: dict[str, int] = {}

    def depth(key: str) -> int:
        if key not in depths:
            depths[key] = 0  # a ring, which no store holds, would end here
            depths[key] = max((depth(n) + 1 for n in needs[key] if n in needs), default=0)
        return depths[key]

    return {key: depth(key) for key in needs}


def _direct(needs: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """(from, to) of every need that does not follow from another need of the same box."""
    above: dict[str, set[str]] = {}

    def ancestors(key: str) -> set[str]:
        if key not in above:
            above[key] = set()
            above[key] = {a for n in needs[key] for a in (n, *ancestors(n))}
        return above[key]

    return [(n, k) for k in needs for n in dict.fromkeys(needs[k]) if not any(n in ancestors(m) for m in needs[k])]


def _arrow(draw: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Straight down to the next row; past other rows in a curve at the right."""
    (x0, y0), (x1, y1) = start, end
    rows = (y1 - y0) // (HEIGHT + GAP_Y)
    if rows <= 1:
        points = [(x0 + WIDTH / 2, y0 + HEIGHT), (x1 + WIDTH / 2, y1)]
    else:
        right = max(x0, x1) + WIDTH + 8 + 14 * min(rows - 1, 7)
        a, b = (x0 + WIDTH, y0 + HEIGHT / 2 + 6), (x1 + WIDTH, y1 + HEIGHT / 2 - 6)
        points = [_bezier(a, (right, a[1]), (right, b[1]), b, t / 24) for t in range(25)]
    scaled = [(x * SCALE, y * SCALE) for x, y in points]
    draw.line(scaled, fill=LINE, width=SCALE, joint="curve")
    _head(draw, scaled[-2], scaled[-1])


def _bezier(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float], t: float) -> Any:
    u = 1 - t
    return tuple(u**3 * p + 3 * u * u * t * q + 3 * u * t * t * r + t**3 * s for p, q, r, s in zip(a, b, c, d, strict=True))


def _head(draw: Any, before: tuple[float, float], tip: tuple[float, float]) -> None:
    dx, dy = tip[0] - before[0], tip[1] - before[1]
    length = max((dx * dx + dy * dy) ** 0.5, 1e-6)
    dx, dy = dx / length * 6 * SCALE, dy / length * 6 * SCALE
    draw.polygon([tip, (tip[0] - dx - dy / 2, tip[1] - dy + dx / 2), (tip[0] - dx + dy / 2, tip[1] - dy - dx / 2)], fill=LINE)


def _box(draw: Any, box: Box, x: int, y: int) -> None:
    corners = tuple(v * SCALE for v in (x, y, x + WIDTH, y + HEIGHT))
    fill = CHOSEN if box.chosen else GONE if box.gone else FILL
    draw.rounded_rectangle(corners, 6 * SCALE, fill=fill, outline=LINE, width=SCALE)
    texts = ((box.title + (" (gone)" if box.gone else ""), 14, INK), (box.lines[0], 11, SOFT), (box.lines[1], 11, SOFT))
    for (text, size, color), top in zip(texts, (4, 22, 37), strict=True):
        used = font(size * SCALE)
        while text and draw.textlength(text, font=used) > (WIDTH - 12) * SCALE:
            text = text[:-2] + "…"
        draw.text(((x + 6) * SCALE, (y + top) * SCALE), text, fill=color, font=used)
