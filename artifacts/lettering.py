"""Letters: a font of this machine that has those of a text, and what is written where none has. Nothing is downloaded."""

from __future__ import annotations

from functools import cache

STANDS_IN = ("Last Resort", ".LastResort", "LastResort", "Adobe Blank")  # have a box, or nothing, for every letter
MOST_FONTS = 300  # looked through for letters that the first one lacks


@cache
def fonts() -> tuple[str, ...]:
    """Files of upright, regular fonts: DejaVu Sans, which comes with matplotlib, then those of this machine, sans serif first."""
    from matplotlib.font_manager import fontManager

    regular = (f for f in fontManager.ttflist if f.style == "normal" and f.weight in (400, "normal", "regular"))
    plain = {f.fname: f.name for f in regular if not f.name.startswith(STANDS_IN)}
    first = [dejavu(), *sorted(plain, key=lambda f: ("Sans" not in plain[f], "Mono" in plain[f], plain[f], f))]
    return tuple(dict.fromkeys(first))[:MOST_FONTS]


def dejavu() -> str:
    """Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian."""
    from matplotlib import get_data_path

    return f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"


@cache
def letters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that is broken, or has gone since matplotlib listed them
        return frozenset()


@cache
def font_of(text: str) -> str:
    """The file of the first font that has every letter of ``text``; else of the one that lacks fewest."""
    best, fewest = dejavu(), len(text) + 1
    for file in fonts():
        lacks = sum(c.isprintable() and ord(c) not in letters(file) for c in text)
        if lacks == 0:
            return file
        if lacks < fewest:
            best, fewest = file, lacks
    return best


def legible(text: str) -> str:
    """``text`` with what no single font has (and what cannot be seen, such as a line end) written as its number: ``\\u732b``."""
    if text.isascii() and text.isprintable():
        return text
    known = letters(font_of(text))
    return "".join(c if c.isprintable() and ord(c) in known else _number(ord(c)) for c in text)


def _number(letter: int) -> str:
    return f"\\u{letter:04x}" if letter < 0x10000 else f"\\U{letter:08x}"
