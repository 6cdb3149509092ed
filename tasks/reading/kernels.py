"""Reconstruction kernels as makers name them: sharp (lung, bone) or soft (mediastinum).

Siemens: a letter or two and a number that grows with sharpness (B30f, B70f, Br40, Bl57, I70f). GE: words (STANDARD, LUNG,
BONEPLUS). Philips: A to F from smooth to sharp, L and Y* for lung. Canon/Toshiba: FC01-FC19 body, FC30-FC39 bone, FC50-FC59 and
FC80-FC89 lung.
"""

from __future__ import annotations

import re
from typing import Literal

Kernel = Literal["sharp", "soft"]

SHARP_WORDS = frozenset(("LUNG", "BONE", "BONEPLUS", "EDGE", "ULTRA", "SHARP", "DETAIL", "D", "E", "EB", "EC", "F", "L", "U"))
SOFT_WORDS = frozenset(("STANDARD", "SOFT", "STND", "CHST", "SMOOTH", "ROUTINE", "A", "B", "C", "CB", "SB"))
SIEMENS = re.compile(r"^[A-Z][A-Z]?(\d{2})[A-Z]?\d?$")
CANON = re.compile(r"^FC-?(\d{1,2})")


def kernel_class(kernel: str | None) -> Kernel | None:
    """``"B70f"`` -> sharp, ``"STANDARD"`` -> soft; None where the name tells nothing."""
    name = (kernel or "").strip().upper()
    if canon := CANON.match(name):
        return "sharp" if int(canon[1]) >= 30 else "soft"
    if siemens := SIEMENS.match(name):
        return "sharp" if int(siemens[1]) >= 50 else "soft"
    word = re.split(r"[ _/+-]", name)[0]
    if word in SHARP_WORDS or re.fullmatch(r"Y[A-Z]?", word):
        return "sharp"
    return "soft" if word in SOFT_WORDS else None
