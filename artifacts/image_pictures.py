"""What image sets and their statistics look like: samples before and after normalising, class counts, histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from artifacts.artifact import Preview
from artifacts.channel_stats import CHANNELS, ChannelStats
from artifacts.drawing import jpeg, montage, write
from artifacts.lettering import legible

if TYPE_CHECKING:
    from PIL import Image as PIL

    from artifacts.image_scores import ImageScores
    from artifacts.images import Images, Labelled

A_CLASS, MOST_CLASSES, TILE, NAME_WIDTH = 10, 20, 48, 110
WORST = 146  # pixels of a mistake
SEEN, BARS, LINE, BAR = 160, 300, 22, (0, 90, 150)  # of an image recognised, and the bars beside it
CHANNEL_COLORS = ("#C8102E", "#2E8B57", "#0072B2")  # a line is of the colour that it counts


def images_preview(images: Images) -> Preview:
    """How many of each class there are, and the first few of each."""
    counts = images.counts()
    rows = [
        {"class": name, **{part: n[label] for part, n in counts.items() if sum(n)}} for label, name in enumerate(images.classes)
    ]
    tables = {"Classes": rows}
    if images.changed:
        tables["Changed"] = [{"how": how, "images": n} for how, n in images.changed.items()]
    if images.left_out:
        tables["Left out"] = [{"why": why, "files": n} for why, n in images.left_out.items()]
    _, h, w = images.shape
    noted = {"changed": images.changed, "left out": images.left_out}
    said = "".join(f"; {sum(of.values())} {what}" for what, of in noted.items() if of)
    headline = (
        f"{len(images.train)} training, {len(images.test)} test images of {h} x {w} pixels, {len(images.classes)} classes, from "
        f"{images.origin}{said}"
    )
    return Preview(headline, tables, {"Training images, one class a row": jpeg(class_rows(images.train, images.classes))})


def stats_preview(stats: ChannelStats, images: Images) -> Preview:
    """Mean and spread of each channel, its histogram, and the same samples before and after normalising."""
    names = channel_names(len(stats.counts))
    rows = [
        {
            "channel": name,
            "mean": f"{m:.4f}",
            "std": f"{s:.4f}",
            "mean, 0..255": round(255 * m, 2),
            "std, 0..255": round(255 * s, 2),
        }
        for name, m, s in zip(names, stats.mean.tolist(), stats.std.tolist(), strict=True)
    ]
    sample = samples(images.train, len(images.classes))
    return Preview(
        f"mean {' '.join(r['mean'] for r in rows)}, std {' '.join(r['std'] for r in rows)}, over {stats.images} training images",  # type: ignore[misc]
        {"Channels, 0 is black and 1 is level 255": rows},
        {
            "Grey levels of the training images": levels_chart(stats),
            "Before and after normalising; after: -2.5 is black, +2.5 is white": jpeg(
                montage([grid(sample), grid(shown_normalised(sample, stats))], 2, gap=16)
            ),
        },
    )


def scores_preview(scores: ImageScores, images: Images) -> Preview:
    """Accuracy by class, what was taken for what, how far its confidence can be trusted, and its surest mistakes."""
    from artifacts.charts import confusion_matrix, reliability
    from artifacts.charts import montage as captioned

    part, sure = images.parts[scores.part], scores.probability.max(axis=1)
    views = "" if scores.views == "none" else f", mean of the views {scores.views}"
    headline = (
        f"{scores.network}: {scores.accuracy:.2%} of {len(scores.truth)} {scores.part} images right{views}; calibration error "
        f"{scores.calibration_error:.3f}"
    )
    pictures = {"How far its confidence can be trusted": reliability(sure, scores.right)}
    if len(scores.classes) <= MOST_CLASSES:
        pictures["What was taken for what"] = confusion_matrix(scores.confusion, scores.classes)
    if len(worst := scores.mistakes()):
        shown = [np.asarray(picture(part.images[k], 100)) for k in worst]
        said = [f"{scores.classes[scores.called[k]]} {sure[k]:.0%}, is {scores.classes[scores.truth[k]]}" for k in worst]
        pictures["Its surest mistakes"] = captioned(shown, said, columns=6, tile_px=WORST)
    return Preview(headline, {"By class": scores.by_class()}, pictures)


def channel_names(channels: int) -> tuple[str, ...]:
    return CHANNELS if channels == 3 else tuple(f"channel {i}" for i in range(channels))


def levels_chart(stats: ChannelStats) -> bytes:
    """The histogram of each channel as a curve, in shares of its pixels."""
    from artifacts.charts import curves

    names = channel_names(len(stats.counts))
    shares = stats.counts / stats.counts.sum(axis=1, keepdims=True)
    rows = [{"grey level": v, **dict(zip(names, column, strict=True))} for v, column in enumerate(shares.T.tolist())]
    own = CHANNEL_COLORS if names == CHANNELS else ()
    return curves(rows, [names], "share of the pixels", x="grey level", colors=own)


def samples(part: Labelled, classes: int, count: int = 64) -> NDArray[np.uint8]:
    """The first images of every class, ``count`` in all at most, classes taking turns."""
    each = -(-count // max(classes, 1))
    firsts = [np.flatnonzero(part.labels == label)[:each] for label in range(classes)]
    turns = [int(f[k]) for k in range(each) for f in firsts if k < len(f)]
    return part.images[turns[:count]]


def shown_normalised(images: NDArray[np.uint8], stats: ChannelStats) -> NDArray[np.uint8]:
    """Normalised values as grey levels a person can look at: -2.5 to +2.5 spread over black to white."""
    z = (images / 255 - stats.mean.reshape(-1, 1, 1)) / stats.std.reshape(-1, 1, 1)
    return np.clip(np.rint((z + 2.5) / 5 * 255), 0, 255).astype(np.uint8)


def grid(images: NDArray[np.uint8], columns: int = 8) -> PIL.Image:
    """uint8 ``[n, channel, y, x]`` side by side."""
    return montage([picture(i) for i in images], columns, gap=2)


def picture(image: NDArray[np.uint8], side: int = TILE) -> PIL.Image:
    """uint8 ``[channel, y, x]`` with its longer side of ``side`` pixels; what is small stays made of squares."""
    from PIL import Image

    rgb = np.moveaxis(image if len(image) == 3 else image[:1].repeat(3, axis=0), 0, -1)
    drawn = Image.fromarray(np.ascontiguousarray(rgb))
    scale = side / max(drawn.size)
    size = (max(round(drawn.width * scale), 1), max(round(drawn.height * scale), 1))
    return drawn.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def class_rows(part: Labelled, classes: tuple[str, ...]) -> PIL.Image:
    """A row for each of the first classes: its name, then its first images."""
    rows = []
    for label, name in enumerate(classes[:MOST_CLASSES]):
        members = np.flatnonzero(part.labels == label)[:A_CLASS]
        rows.append(montage([named(name), *(picture(i) for i in part.images[members])], A_CLASS + 1, gap=2))
    return montage(rows, 1, gap=2)


def named(name: str) -> PIL.Image:
    from PIL import Image

    from artifacts.drawing import PAPER

    canvas = Image.new("RGB", (NAME_WIDTH, TILE), PAPER)
    write(canvas, (NAME_WIDTH - 6, TILE / 2), shortened(name, 16), anchor="rm")
    return canvas


def shortened(name: str, most: int) -> str:
    name = legible(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def recognised(found: Sequence[tuple[NDArray[np.uint8], Sequence[tuple[str, float]]]]) -> PIL.Image:
    """uint8 ``[y, x, 3]`` with its (class, probability): each image beside a bar for each class, two in a row."""
    return montage([beside(image, top) for image, top in found], 2, gap=12)


def beside(image: NDArray[np.uint8], top: Sequence[tuple[str, float]]) -> PIL.Image:
    from PIL import Image, ImageDraw

    from artifacts.drawing import PAPER

    high = max(SEEN, LINE * len(top))
    canvas = Image.new("RGB", (SEEN + BARS, high), PAPER)
    shown = picture(np.moveaxis(image, -1, 0), SEEN)
    canvas.paste(shown, ((SEEN - shown.width) // 2, (high - shown.height) // 2))
    for k, (name, p) in enumerate(top):
        y = (k + 0.5) * high / len(top)
        ImageDraw.Draw(canvas).rectangle((SEEN + 8, y - LINE / 2 + 2, SEEN + 8 + p * (BARS - 16), y + LINE / 2 - 2), fill=BAR)
        write(canvas, (SEEN + 12, y), f"{p:.1%}  {shortened(name, 31)}", anchor="lm", size=13)
    return canvas
