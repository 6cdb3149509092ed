"""The report as one self-contained HTML page: no script, no request, every value escaped."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.pictures import probability
from artifacts.recipe import flat

if TYPE_CHECKING:
    from jinja2 import Template

    from tasks.report_pictures import ReportPictures

LONGEST = 300  # characters of one value in the page; report.json has all of it


def report_page(document: dict[str, Any], pictures: ReportPictures) -> str:
    """HTML of a report's plain values (``ReportDocument``) and its pictures."""
    stages = document["provenance"]["stages"]
    weights = {s["weights"]["digest"]: s["weights"] for s in stages if s["weights"]}
    return _template().render(d=document, pictures=pictures, weights=list(weights.values()))


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).with_name("templates")
    page = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters |= {"p": probability, "mm": _mm, "uri": _uri, "flat": flat, "short": _short}
    return page.get_template("report.html.j2")


def _mm(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        value = ", ".join(_short(v) for v in value)
    text = "–" if value in (None, "") else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
