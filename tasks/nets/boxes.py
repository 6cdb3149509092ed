"""Boxes of an image, and how to cover a mask with few of them and little beside it."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Image = TypeVar("Image")  # numpy array or torch tensor whose last two axes are y, x


class Box(NamedTuple):
    """Rows y0..y1 and columns x0..x1 of an image, ends excluded."""

    y0: int
    y1: int
    x0: int
    x1: int

    def grown(self, margin: int, field: tuple[int, int]) -> Box:
        """The box with ``margin`` more on each side, cut at the borders of an image of ``field`` (height, width)."""
        h, w = field
        return Box(max(self.y0 - margin, 0), min(self.y1 + margin, h), max(self.x0 - margin, 0), min(self.x1 + margin, w))

    def mirrored(self, axes: tuple[int, ...], field: tuple[int, int]) -> Box:
        """Where the box lies once an image of ``field`` is flipped along ``axes`` (-2: y, -1: x)."""
        y = (field[0] - self.y1, field[0] - self.y0) if -2 in axes else (self.y0, self.y1)
        x = (field[1] - self.x1, field[1] - self.x0) if -1 in axes else (self.x0, self.x1)
        return Box(*y, *x)

    def times(self, factor: int) -> Box:
        return Box(*(n * factor for n in self))

    def over(self, factor: int) -> Box:
        """The same box on a grid ``factor`` times coarser."""
        return Box(*(n // factor for n in self))

    def of(self, image: Image, origin_y: int = 0, origin_x: int = 0) -> Image:
        """This box of ``image`` (``... x H x W``), whose first pixel is at (origin_y, origin_x)."""
        rows, columns = slice(self.y0 - origin_y, self.y1 - origin_y), slice(self.x0 - origin_x, self.x1 - origin_x)
        return image[..., rows, columns]  # type: ignore[index]


def cover(mask: NDArray[np.bool_], cell: int, margin: int, overhead: int) -> list[Box]:
    """Boxes that hold every voxel of ``mask`` ``[y, x]`` and do not overlap; they begin and end at multiples of ``cell``.

    A box costs its area with ``margin`` pixels around it, and ``overhead`` pixels for being one more. It is cut in two, where
    that is cheapest, for as long as the two cost less than the one.
    """
    h, w = (-(-n // cell) for n in mask.shape)
    padded = np.zeros((h * cell, w * cell), dtype=bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    cells = np.asarray(padded.reshape(h, cell, w, cell).any(axis=(1, 3)))
    grown = 2 * margin / cell
    return [box.times(cell) for box in _cut(cells, 0, 0, grown, overhead / cell**2)]


def _cut(cells: NDArray[np.bool_], y: int, x: int, grown: float, overhead: float) -> list[Box]:
    """Boxes, in cells, over what is set of ``cells``, whose first is at (y, x)."""
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    cells = cells[top : rows[-1] + 1, left : columns[-1] + 1]
    y, x, (h, w) = y + top, x + left, cells.shape
    whole = (h + grown) * (w + grown) + overhead
    across, row = _best_cut(cells, grown, overhead)
    along, column = _best_cut(cells.T, grown, overhead)
    if min(across, along) >= whole:
        return [Box(y, y + h, x, x + w)]
    if across <= along:
        return _cut(cells[:row], y, x, grown, overhead) + _cut(cells[row:], y + row, x, grown, overhead)
    return _cut(cells[:, :column], y, x, grown, overhead) + _cut(cells[:, column:], y, x + column, grown, overhead)


def _best_cut(cells: NDArray[np.bool_], grown: float, overhead: float) -> tuple[float, int]:
    """The cost of the two tight boxes above and below the best row to cut before, and that row."""
    if len(cells) < 2:
        return np.inf, 0
    below = _costs(cells[::-1], grown, overhead)[::-1]
    both = _costs(cells, grown, overhead)[:-1] + below[1:]
    best = int(np.argmin(both))
    return float(both[best]), best + 1


def _costs(cells: NDArray[np.bool_], grown: float, overhead: float) -> NDArray[np.float64]:
    """For each row: what the tight box around that row and all before it costs. The first row is not empty."""
    w = cells.shape[1]
    filled, number = cells.any(axis=1), np.arange(len(cells))
    first = np.minimum.accumulate(np.where(filled, cells.argmax(axis=1), w))
    last = np.maximum.accumulate(np.where(filled, w - cells[:, ::-1].argmax(axis=1), 0))
    height = np.maximum.accumulate(np.where(filled, number + 1, 0))
    return (height + grown) * (last - first + grown) + overhead
