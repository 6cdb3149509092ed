"""A preview as markdown for the Prefect UI: tables, pictures as data URIs, everything else plain text."""

from __future__ import annotations

import base64
import html
import io
import re
from typing import Any

from artifacts.artifact import Preview

CELL_CHARACTERS = 300
NOTHING = "–"
SMALLER = ((1.0, 70), (0.7, 70), (0.5, 60))  # (scale, JPEG quality) to try before a picture is left out


def preview_markdown(preview: Preview, max_bytes: int = 900_000) -> str:
    """Markdown of at most ``max_bytes`` UTF-8 bytes. Values stay text: no value becomes markup, a link or another column.

    Pictures that do not fit are made smaller, then left out from the last one on; tables lose their last rows; both are said.
    """
    text = _text(preview, rows=200)
    rows = 100
    while len(text.encode()) > max_bytes * 0.9 and rows:
        text, rows = _text(preview, rows), rows // 2
    room = max_bytes - len(text.encode()) - 200
    images, left_out = _fitting(preview.pictures, room)
    if left_out:
        images.append(f"*{left_out} more {'picture' if left_out == 1 else 'pictures'} would not fit on this page.*")
    return "\n\n".join([text, *images]) + "\n"


def escaped(value: Any) -> str:
    """One line of markdown that shows ``value`` as it is."""
    text = " ".join(_plain(value).split())[:CELL_CHARACTERS] or NOTHING
    text = html.escape(text, quote=False).replace("|", "&#124;")
    text = re.sub(r"([\\`*\[\]~$])", r"\\\1", text)
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    return text.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")


def _plain(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def _text(preview: Preview, rows: int) -> str:
    parts = [f"**{escaped(preview.headline)}**"]
    for title, table in preview.tables.items():
        if table:
            parts.append(f"### {escaped(title)}")
            parts.append(_table(table[:rows]))
            if len(table) > rows:
                parts.append(f"*… and {len(table) - rows} more rows*")
    return "\n\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return ""
    numeric = [all(isinstance(row.get(n), int | float) or hasattr(row.get(n), "item") for row in rows) for n in names]
    lines = [[escaped(n) for n in names], ["--:" if right else ":--" for right in numeric]]
    lines += [[escaped(row.get(n)) for n in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fitting(pictures: dict[str, bytes], room: int) -> tuple[list[str], int]:
    """Markdown of the pictures within ``room`` bytes, and how many were left out."""
    for count in range(len(pictures), 0, -1):
        some = dict(list(pictures.items())[:count])
        for attempt in (None, *SMALLER):
            images = [_image(c, b if attempt is None else _smaller(b, *attempt)) for c, b in some.items()]
            if sum(len(i.encode()) + 2 for i in images) <= room:
                return images, len(pictures) - count
    return [], len(pictures)


def _image(caption: str, body: bytes) -> str:
    kind = "png" if body.startswith(b"\x89PNG") else "jpeg"
    return f"![{escaped(caption)}](data:image/{kind};base64,{base64.b64encode(body).decode()})\n\n*{escaped(caption)}*"


def _smaller(body: bytes, scale: float, quality: int) -> bytes:
    from PIL import Image

    image = Image.open(io.BytesIO(body)).convert("RGB")
    if scale < 1:
        image = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return min(stream.getvalue(), body, key=len)
