"""Charts: numbers as pictures. Every function gives PNG bytes, 900 pixels wide, of at most 150 kB.

matplotlib is imported by the function that draws, and never through pyplot: no global state, no display, safe in threads.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from artifacts.drawing import font_for
from artifacts.lettering import font_of, legible
from artifacts.reliability import reliability_bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image as PIL

WIDTH_PX, DPI, MOST_BYTES = 900, 100, 150_000
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")  # Okabe and Ito, 2008
SOLID, LINES = ("-",), ("-", "--", "-.", ":")  # lines that lie on each other are both seen
FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def curves(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str | Sequence[str]],
    title: str = "",
    x: str = "epoch",
    colors: Sequence[str] = (),
) -> bytes:
    """One panel for each of ``columns`` (several names in one entry share a panel) over ``x``, or over the row's number.

    What a row lacks, or has as None or NaN, is a gap. ``colors``: of a panel's names, in order.
    """
    from matplotlib.ticker import MaxNLocator

    panels = [[c] if isinstance(c, str) else list(c) for c in columns]
    across = min(len(panels), 2) or 1
    down = max(math.ceil(len(panels) / across), 1)
    figure = _figure(300 * down)
    over = [_number(r.get(x, i)) for i, r in enumerate(rows)]
    for i, names in enumerate(panels):
        axes = figure.add_subplot(down, across, i + 1)
        marker, lines = "o" if len(rows) < 25 else None, SOLID if colors else LINES
        for k, (color, name) in enumerate(zip(colors or _colors(len(names)), names, strict=False)):
            values, line = [_number(r.get(name)) for r in rows], lines[k % len(lines)]
            axes.plot(over, values, line, color=color, label=_words(name), marker=marker, markersize=3, linewidth=1.6)
        axes.set_xlabel(x)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=all(v.is_integer() for v in over), steps=[1, 2, 2.5, 5, 10]))
        axes.legend(fontsize=9, frameon=False)
        _plain(axes)
    return _png(figure, title, [name for names in panels for name in names])


def confusion_matrix(
    matrix: ArrayLike, labels: Sequence[str], columns: Sequence[str] | None = None, title: str = "", truth: str = "truth"
) -> bytes:
    """Counts ``[truth, said]``; darker: a larger share of its row. ``columns``: what was said, where it is not ``labels``."""
    counts = np.asarray(matrix)
    names = [*labels, *(columns or ())]
    labels, said = [_words(n) for n in labels], [_words(n) for n in columns or labels]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(min(max(150 + 60 * len(labels), 330), 900))
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = 13 if counts.size <= 40 else 8
    for row, column in np.ndindex(*counts.shape):
        text = f"{counts[row, column]:g}"
        color = "white" if share[row, column] > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
    axes.set_xticks(range(len(said)), said, rotation=0 if max(map(len, said)) * len(said) < 80 else 40, ha="center")
    axes.set_yticks(range(len(labels)), list(labels))
    axes.set_xlabel("what was said")
    axes.set_ylabel(truth)
    return _png(figure, title, names)


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 15, title: str = "") -> bytes:
    """How often it was right, by how sure it was, beside how many there were; the diagonal is perfect calibration."""
    b = reliability_bins(confidence, correct, bins)
    figure = _figure(430)
    axes, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    some, width = b.count > 0, 1 / bins
    middle = (b.edges[:-1] + b.edges[1:]) / 2
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    axes.bar(middle[some], b.accuracy[some], width=width * 0.92, color=COLORS[0], alpha=0.75)
    axes.plot(b.confidence[some], b.accuracy[some], "o", color=COLORS[1], markersize=5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    below.bar(middle, b.count, width=width * 0.92, color="#999999")
    below.set(xlabel="confidence", ylabel="how many", yscale="symlog", ylim=(0, max(int(b.count.max(initial=0)) * 2, 2)))
    for one in (axes, below):
        _plain(one)
    return _png(figure, title or f"expected calibration error {b.ece:.3f}, n = {b.count.sum()}")


def roc(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], title: str = "") -> bytes:
    """Name -> (false positive rate, sensitivity). A name carries its area under the curve, where it has one."""
    figure = _figure(520)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    for color, (name, (fpr, tpr)) in zip(_colors(len(curves)), curves.items(), strict=True):
        axes.plot(np.asarray(fpr), np.asarray(tpr), color=color, linewidth=2, label=name)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel="1 - specificity", ylabel="sensitivity")
    if curves:
        axes.legend(loc="lower right", frameon=False)
    _plain(axes)
    return _png(figure, title)


def froc(curves: Mapping[str, Sequence[ArrayLike]], title: str = "") -> bytes:
    """Name -> (false positives a scan, sensitivity) and, where known, (…, low, high): the band. Rates 1/8 to 8 are marked."""
    figure = _figure(520)
    axes = figure.add_subplot()
    for color, (name, curve) in zip(_colors(len(curves)), curves.items(), strict=True):
        rate, sensitivity, *band = (np.asarray(v, dtype=float) for v in curve)
        axes.plot(rate, sensitivity, color=color, linewidth=2, label=name, drawstyle="default")
        if len(band) == 2:
            axes.fill_between(rate, band[0], band[1], color=color, alpha=0.18, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(FROC_RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.set(xlim=(0.11, 9), ylim=(0, 1.02), xlabel="false positives a scan", ylabel="sensitivity")
    if curves:
        axes.legend(loc="lower right", frameon=False)
    _plain(axes)
    return _png(figure, title)


def histogram(series: Mapping[str, ArrayLike], bins: int = 30, title: str = "", xlabel: str = "", log: bool = False) -> bytes:
    """Name -> values; all in the same bins. Values that are not finite are left out."""
    finite = {n: v[np.isfinite(v)] for n, v in ((n, np.asarray(v, dtype=float).ravel()) for n, v in series.items())}
    everything = np.concatenate([np.empty(0), *finite.values()])
    edges = np.histogram_bin_edges(everything if everything.size else np.zeros(1), bins)
    figure = _figure(380)
    axes = figure.add_subplot()
    for color, (name, values) in zip(_colors(len(finite)), finite.items(), strict=True):
        axes.hist(
            values, bins=list(edges), color=color, alpha=0.5 if len(finite) > 1 else 0.9, label=f"{name} (n = {values.size})"
        )
    axes.set(xlabel=xlabel, ylabel="how many", yscale="log" if log and everything.size else "linear")
    if finite:
        axes.legend(frameon=False)
    _plain(axes)
    return _png(figure, title)


def montage(images: Sequence[ArrayLike], captions: Sequence[str] = (), columns: int = 8, tile_px: int = 0) -> bytes:
    """Images (uint8, H x W or H x W x 3) in rows of ``columns``, each with its caption below; at most 900 pixels wide.

    Where the PNG would be above 150 kB it gets fewer shades, then fewer pixels.
    """
    from PIL import Image, ImageDraw

    tiles = [np.asarray(i, dtype=np.uint8) for i in images]
    columns = max(min(columns, len(tiles)), 1)
    side = min(tile_px or WIDTH_PX, WIDTH_PX // columns - 4)
    line = 15 if captions else 0
    down = math.ceil(len(tiles) / columns)
    paper = Image.new("RGB", (max(columns * (side + 4), 1), max(down * (side + line + 4), 1)), (14, 17, 22))
    pen = ImageDraw.Draw(paper)
    for i, image in enumerate(tiles):
        left, top = (i % columns) * (side + 4) + 2, (i // columns) * (side + line + 4) + 2
        fitted = _fitted(Image.fromarray(image), side)
        paper.paste(fitted.convert("RGB"), (left + (side - fitted.width) // 2, top + (side - fitted.height) // 2))
        if i < len(captions):
            _caption(pen, str(captions[i]), (left, top + side), side)
    return _small_png(paper)


# -- how they are made ------------------------------------------------------------------------------------------------------


def _figure(height_px: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colors(n: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(n)]


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25, linewidth=0.7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _words(text: str) -> str:
    """A name as matplotlib takes it: dollars are no mathematics."""
    return legible(text).replace("$", r"\$")


def _png(figure: Figure, title: str, names: Sequence[str] = ()) -> bytes:
    """names: what people called things, in letters that matplotlib's font may lack."""
    from PIL import Image

    if title:
        figure.suptitle(title, fontsize=12)
    _lettered(figure, [n for n in names if not n.isascii()])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return _small_png(Image.open(buffer).convert("RGB"))


def _lettered(figure: Figure, names: Sequence[str]) -> None:
    """Text in fonts that have the letters of ``names``."""
    if not names:
        return
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    families = dict.fromkeys(["DejaVu Sans", *(FontProperties(fname=font_of(n)).get_name() for n in names)])
    for text in figure.findobj(Text):
        text.set_fontfamily(list(families))  # type: ignore[attr-defined]


def _fitted(image: PIL.Image, side: int) -> PIL.Image:
    """Scaled to touch a square of ``side``; small pictures stay made of squares."""
    from PIL import Image

    scale = side / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _caption(pen: Any, text: str, at: tuple[int, int], width: int) -> None:
    text = legible(text)
    face = font_for(text, 11)
    while text and pen.textlength(text, font=face) > width:
        text = text[:-2] + "…" if len(text) > 2 else ""
    pen.text(at, text, fill=(235, 238, 242), font=face)


def _small_png(image: PIL.Image) -> bytes:
    """A PNG of at most 150 kB: 256 shades, then fewer, then fewer pixels."""
    from PIL import Image

    while True:
        for shades in (256, 64, 24):
            buffer = io.BytesIO()
            image.quantize(shades, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
            if buffer.tell() <= MOST_BYTES:
                return buffer.getvalue()
        image = image.resize((max(image.width * 3 // 4, 1), max(image.height * 3 // 4, 1)))


def shades(values: ArrayLike, low: float, high: float) -> NDArray[np.uint8]:
    """Numbers as grey: ``low`` and below black, ``high`` and above white."""
    share = (np.asarray(values, dtype=np.float32) - low) / max(high - low, 1e-9)
    return np.asarray(np.clip(share * 255, 0, 255).astype(np.uint8))
