"""Sizes and durations as people write them: 50GB, 30d."""

from __future__ import annotations

import re

from artifacts.errors import UsageError

SIZES = {"": 1, "b": 1, **{f"{p}{b}": k**n for n, p in enumerate("kmgt", 1) for b, k in (("", 1000), ("b", 1000), ("ib", 1024))}}
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


def bytes_of(text: str) -> int:
    """``50GB``, ``1.5 TiB``, ``200M``; UsageError says what is allowed."""
    return round(_quantity(text, SIZES, "a size: write 500MB, 50GB or 1.5TiB"))


def seconds_of(text: str) -> float:
    """``30d``, ``12h``, ``2w``."""
    return _quantity(text, SECONDS, "a duration: write 12h, 30d or 2w")


def size_text(count: float) -> str:
    """``1.2 GB``"""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 99.5 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def _quantity(text: str, units: dict[str, int], allowed: str) -> float:
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if not found or found[2].lower() not in units:
        raise UsageError(f"'{text}' is not {allowed}")
    return float(found[1]) * units[found[2].lower()]
