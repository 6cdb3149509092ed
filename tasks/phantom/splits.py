"""Which seeds are for what, frozen: the held-out phantoms were fixed before anything was trained on varied phantoms.

A split's seeds never overlap another's, whatever the style; phantoms that people ask for have seeds below a million. The
generator is frozen too: VERSION in tasks/phantom/varied.py names it, and a test watches that what a seed gives stays the same.
"""

from __future__ import annotations

from tasks.phantom.phantom import Phantom, make_phantom
from tasks.phantom.style import Style
from tasks.phantom.varied import VERSION

GENERATOR = VERSION
SEEDS = {"train": range(1_000_000, 2_000_000), "validation": range(2_000_000, 3_000_000), "test": range(3_000_000, 4_000_000)}
HELD_OUT = range(3_500_000, 3_500_080)  # 80 of the test seeds, style "varied": what published numbers are measured on
NODULE_FREE = 0.5
GOLDEN = 0.6180339887498949


def is_nodule_free(seed: int, share: float = NODULE_FREE) -> bool:
    """Whether the phantom of this seed goes without nodules: ``share`` of any run of seeds, to within one or two."""
    return (seed * GOLDEN) % 1.0 < share  # the golden ratio spreads evenly


def data_phantom(seed: int, *, style: Style = "varied", nodule_free: float = NODULE_FREE, small: bool = False) -> Phantom:
    """The phantom of ``seed`` as data sets of phantoms have it: nodule-free, or with as many nodules as its style draws."""
    return make_phantom(seed, nodules=0 if is_nodule_free(seed, nodule_free) else None, style=style, small=small)


def split_of(seed: int) -> str | None:
    """ "train", "validation" or "test"; None for seeds of nobody's split."""
    return next((name for name, seeds in SEEDS.items() if seed in seeds), None)
