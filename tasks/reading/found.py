"""A series as it was found: what its headers say, and whether it is one to screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.volume import QCFinding
from tasks.reading.eligibility import (
    Orientation,
    Unless,
    is_scout,
    normal_of,
    orientation_of,
    patients_in,
    shows_elsewhere,
    why_not,
    why_not_image,
)
from tasks.reading.slices import SliceHeader

MOST_REPEATED = 0.2  # of the slices: fewer in the place of another are copies or mistakes, more are passes
LEAST_COVER = 0.5  # of all places, by a pass that is to stand for the series


@dataclass(frozen=True)
class FoundSeries:
    """One series of a folder, from its headers alone.

    uid         series instance UID; a pseudonym made of content where there is none
    files       of the main stack; slices: their headers, in order along the normal (empty for image files)
    spacing     (z, y, x) in mm, z the median distance between slices; extent_mm: coverage along the normal
    why_not     why it is not to be screened, for people; None: eligible
    unless      what lifts ``why_not``: nothing, ``partial``, that a person asks for this very series, that it is rescaled to HU
    broken      files of this series (or of nobody, in its folder) that cannot be read; lost: places of those that are known
    """

    uid: str
    files: tuple[Path, ...]
    source_format: str  # dicom, mhd, nifti, nrrd
    modality: str
    rows: int
    columns: int
    n_slices: int
    spacing: tuple[float, float, float] | None
    thickness_mm: float | None
    kernel: str | None
    extent_mm: float
    orientation: Orientation
    image_type: tuple[str, ...] = ()
    manufacturer: str | None = None
    elsewhere: bool = False  # the header says it shows another part of the body
    why_not: str | None = None
    unless: Unless = "never"
    slices: tuple[SliceHeader, ...] = ()
    broken: int = 0
    lost: tuple[SliceHeader, ...] = ()
    qc: tuple[QCFinding, ...] = ()

    def eligible(self, partial: bool = False, asked: bool = False) -> bool:
        lifted = (partial and self.unless == "partial") or (asked and self.unless == "asked")
        return self.why_not is None or lifted


def one_of_each(found: Iterable[FoundSeries]) -> list[FoundSeries]:
    """Of several that go by one UID (a scan and its label map, DICOM and what was made of it) the one to screen, in order of UID.

    An eligible one before others, DICOM before image files, then the most slices, then the most bytes: labels pack well.
    """

    def rank(f: FoundSeries) -> tuple:
        return (f.why_not is None, bool(f.slices), f.n_slices, sum(p.stat().st_size for p in f.files if p.is_file()))

    kept: dict[str, FoundSeries] = {}
    for f in found:
        kept[f.uid] = max(kept[f.uid], f, key=rank) if f.uid in kept else f
    return [kept[uid] for uid in sorted(kept)]


def series_from_slices(uid: str, slices: list[SliceHeader], broken: int) -> FoundSeries:
    """Sort out which slices are the series' main stack, and whether that is an axial CT that may cover lungs."""
    whole = [s for s in slices if s.readable and s.position and s.orientation and s.format.spacing_yx]
    lost = [s for s in slices if not s.readable]
    if not whole:
        return _without_stack(uid, slices, broken + len(lost))
    main, qc = _main_stack(whole)
    nowhere = sum(s.readable and why_not_image(s) is None for s in slices) - sum(why_not_image(s) is None for s in whole)
    if nowhere:
        message = f"{nowhere} of {len(slices)} slices carry no position, orientation or spacing: left out"
        qc = [*qc, QCFinding("slices-without-place", "warning", message)]
    main, apart = _one_pass(main)
    first, normal = main[0], normal_of(main[0].orientation)  # type: ignore[arg-type]
    along = np.array([np.dot(normal, s.position) for s in main])  # type: ignore[arg-type]
    order = sorted(range(len(main)), key=lambda k: (along[k], main[k].instance or 0, main[k].sop_uid or ""))
    steps = np.diff(np.unique(along.round(3)))
    step = float(np.median(steps)) if len(steps) else first.about.thickness_mm or 0.0
    y, x = first.format.spacing_yx  # type: ignore[misc]
    thickness = Counter(s.about.thickness_mm for s in main).most_common(1)[0][0]
    extent = float(np.ptp(along)) + step
    orientation = orientation_of(first.orientation)
    why, unless = why_not(first, main, patients_in(slices), orientation, extent, (y, x))
    if uid_is_pseudonym(uid):
        qc.append(QCFinding("no-uid", "info", "the series has no valid UID; it goes by a pseudonym made of its content"))
    if unless == "asked":
        qc.append(QCFinding("derived", "warning", f"the series is {why}; screened because it was asked for by UID"))
    return FoundSeries(
        uid=uid,
        files=tuple(dict.fromkeys(main[k].path for k in order)),
        source_format="dicom",
        modality=first.about.modality,
        rows=first.format.rows,
        columns=first.format.columns,
        n_slices=len(main),
        spacing=(step, y, x),
        thickness_mm=thickness,
        kernel=Counter(s.about.kernel for s in main).most_common(1)[0][0],
        extent_mm=extent,
        orientation=orientation,
        image_type=first.about.image_type,
        manufacturer=first.about.manufacturer,
        elsewhere=shows_elsewhere(first),
        why_not=why,
        unless=unless,
        slices=tuple(main[k] for k in order),
        broken=broken + len(lost),
        lost=tuple(lost),
        qc=(*qc, *apart),
    )


PSEUDONYM = "unnamed-"


def uid_is_pseudonym(uid: str) -> bool:
    return uid.startswith(PSEUDONYM)


def _without_stack(uid: str, slices: list[SliceHeader], broken: int) -> FoundSeries:
    first = slices[0]
    why = why_not_image(first) or _why_no_stack(slices)
    return FoundSeries(
        uid=uid,
        files=tuple(dict.fromkeys(s.path for s in slices)),
        source_format="dicom",
        modality=first.about.modality,
        rows=first.format.rows,
        columns=first.format.columns,
        n_slices=len(slices),
        spacing=None,
        thickness_mm=first.about.thickness_mm,
        kernel=first.about.kernel,
        extent_mm=0.0,
        orientation=orientation_of(first.orientation),
        image_type=first.about.image_type,
        manufacturer=first.about.manufacturer,
        why_not=why,
        broken=broken,
    )


def _why_no_stack(slices: list[SliceHeader]) -> str:
    if all(s.cut_short for s in slices):
        return "its files are cut short, or hold no pixels that can be read"
    if not any(s.readable for s in slices):
        return "its rescale slope and intercept are zero, negative, absurd or no numbers: repair the headers"
    return "its slices carry no position, orientation or spacing"


def _main_stack(slices: list[SliceHeader]) -> tuple[list[SliceHeader], list[QCFinding]]:
    """The slices that share plane, size and spacing: axial before others, then the most. What is left out is said."""
    stacks: dict[tuple, list[SliceHeader]] = {}
    for s in slices:
        stacks.setdefault(_plane(s), []).append(s)
    if len(stacks) == 1:
        return slices, []

    def rank(stack: list[SliceHeader]) -> tuple:
        usable = why_not_image(stack[0]) is None and orientation_of(stack[0].orientation) == "axial"
        return (usable, len(stack), stack[0].format.rows, repr(_plane(stack[0])))

    main = max(stacks.values(), key=rank)
    scouts = sum(is_scout(s) for s in slices)
    other = [s for s in slices if _plane(s) != _plane(main[0]) and not is_scout(s)]
    turned = sum(s.orientation != main[0].orientation for s in other)
    sized = len(other) - turned
    qc = []
    if scouts and not is_scout(main[0]):
        qc.append(QCFinding("scout-in-series", "info", f"{scouts} scout image{'s' * (scouts > 1)} in the series left out"))
    if turned:
        qc.append(QCFinding("mixed-orientations", "warning", f"{turned} of {len(slices)} slices lie in another plane: left out"))
    if sized:
        size = f"{main[0].format.rows} x {main[0].format.columns}"
        message = f"{sized} of {len(slices)} slices have another size, spacing or type than the {size} of the rest: left out"
        qc.append(QCFinding("mixed-sizes", "warning", message))
    return main, qc


def _plane(s: SliceHeader) -> tuple:
    f = s.format
    turned = tuple(round(v, 3) + 0.0 for v in s.orientation or ())
    spacing = tuple(round(v, 4) for v in f.spacing_yx or ())
    return (turned, f.rows, f.columns, spacing, f.samples, s.about.modality, is_scout(s))


def _one_pass(slices: list[SliceHeader]) -> tuple[list[SliceHeader], list[QCFinding]]:
    """Where several passes over the same places share a UID (repeats, phases of a breath), one of them.

    They are told apart by acquisition, time, kernel: the longest, then first, is kept. Where none of these tells, each place
    keeps the slice with the lowest number, whether the numbers run place by place or pass by pass.
    """
    main = slices
    for telling in (lambda s: s.acquisition, lambda s: s.temporal, lambda s: s.about.kernel):
        if not _repeats(main):
            break
        passes: dict[str, list[SliceHeader]] = {}
        for s in main:
            passes.setdefault(telling(s) or "", []).append(s)
        _, longest = min(passes.items(), key=lambda p: (-len(_places(p[1])), min(s.instance or 0 for s in p[1]), p[0]))
        if len(_places(longest)) >= LEAST_COVER * len(_places(main)):
            main = longest
    if _repeats(main):
        main = _lowest_numbered(main) or main
    if len(main) == len(slices):
        return slices, []
    message = f"several passes over the same places share the series: one of {len(main)} slices is screened"
    return main, [QCFinding("several-acquisitions", "warning", f"{message}, {len(slices) - len(main)} slices are left out")]


def _places(slices: list[SliceHeader]) -> set:
    return {s.position for s in slices}


def _repeats(slices: list[SliceHeader]) -> bool:
    return len(slices) - len(_places(slices)) >= MOST_REPEATED * len(slices)


def _lowest_numbered(slices: list[SliceHeader]) -> list[SliceHeader] | None:
    """None where slices in one place share a number: then it says nothing."""
    numbers = {(s.position, s.instance) for s in slices}
    if len(numbers) < len(slices) or any(s.instance is None for s in slices):
        return None
    lowest: dict[Any, SliceHeader] = {}
    for s in sorted(slices, key=lambda s: s.instance or 0):
        lowest.setdefault(s.position, s)
    return list(lowest.values())
