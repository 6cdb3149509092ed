"""A preview as one self-contained HTML page: no script, no request, every value escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts import NOTICE
from artifacts.artifact import Preview

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class Gallery:
    """Pictures with their captions, of ``total`` that there are."""

    title: str
    shown: Sequence[tuple[str, bytes]]
    total: int


def page(title: str, preview: Preview, notes: Sequence[str] = (), galleries: Sequence[Gallery] = ()) -> str:
    """HTML of ``preview`` under ``title``; ``notes``: paragraphs on how to read it."""
    return _template().render(title=title, preview=preview, notes=notes, galleries=galleries, notice=NOTICE)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parents[1] / "templates"
    made = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"uri": _uri, "cell": _cell, "number": _number, "numbers": _numbers}
    return made.get_template("evaluation.html.j2")


def _uri(picture: bytes) -> str:
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    """Whether the column holds numbers, and perhaps gaps."""
    return any(_number(r.get(column)) for r in rows)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
