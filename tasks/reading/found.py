"""A series as it was found: what its headers say, and whether it is one to screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from artifacts.volume import QCFinding
from tasks.reading.slices import SliceHeader

Orientation = Literal["axial", "coronal", "sagittal", "oblique", "unknown"]
Unless = Literal["never", "partial", "asked"]

AXIAL_COSINE = 0.8  # an axial plane tilted by up to 37 degrees; gantries tilt by 30
LEAST_CHEST_MM = 150.0
LEAST_SLICES = 3


@dataclass(frozen=True)
class FoundSeries:
    """One series of a folder, from its headers alone.

    uid         series instance UID; a pseudonym made of content where there is none
    files       of the main stack; slices: their headers, in order along the normal (empty for image files)
    spacing     (z, y, x) in mm, z the median distance between slices; extent_mm: coverage along the normal
    why_not     why it is not to be screened, for people; None: eligible
    unless      what lifts ``why_not``: nothing, ``partial``, or that a person asks for this very series
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


def orientation_of(six: Sequence[float] | None) -> Orientation:
    """The plane of a slice, from its direction cosines."""
    if six is None:
        return "unknown"
    normal = np.abs(normal_of(six))
    if not np.isfinite(normal).all():
        return "unknown"
    axis = int(normal.argmax())
    return ("sagittal", "coronal", "axial")[axis] if normal[axis] >= AXIAL_COSINE else "oblique"  # type: ignore[return-value]


def normal_of(six: Sequence[float]) -> NDArray[np.float64]:
    """Unit normal (LPS) of the image plane: along a row x down a column (DICOM PS3.3 C.7.6.2.1.1)."""
    normal = np.cross(six[:3], six[3:])
    length = np.linalg.norm(normal)
    return normal / length if length > 0.1 else np.full(3, np.nan)


# -- one series out of its slices --------------------------------------------------------------------------------------------


def series_from_slices(uid: str, slices: list[SliceHeader], broken: int) -> FoundSeries:
    """Sort out which slices are the series' main stack, and whether that is an axial CT that may cover lungs."""
    whole = [s for s in slices if not s.cut_short and s.position and s.orientation and s.format.spacing_yx]
    lost = [s for s in slices if s.cut_short]
    if not whole:
        return _without_stack(uid, slices, broken + len(lost))
    main, qc = _main_stack(whole)
    main, apart = _one_acquisition(main)
    first, normal = main[0], normal_of(main[0].orientation)  # type: ignore[arg-type]
    along = np.array([np.dot(normal, s.position) for s in main])  # type: ignore[arg-type]
    order = sorted(range(len(main)), key=lambda k: (along[k], main[k].instance or 0, main[k].sop_uid or ""))
    steps = np.diff(np.unique(along.round(3)))
    step = float(np.median(steps)) if len(steps) else first.about.thickness_mm or 0.0
    y, x = first.format.spacing_yx  # type: ignore[misc]
    thickness = Counter(s.about.thickness_mm for s in main).most_common(1)[0][0]
    extent = float(np.ptp(along)) + step
    orientation = orientation_of(first.orientation)
    why, unless = _why_not(first, main, orientation, extent, (y, x))
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
        elsewhere=_elsewhere(first),
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
    why = _why_not_image(first) or (
        "its files are cut short" if all(s.cut_short for s in slices) else "its slices carry no position, orientation or spacing"
    )
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


def _main_stack(slices: list[SliceHeader]) -> tuple[list[SliceHeader], list[QCFinding]]:
    """The slices that share plane, size and spacing: axial before others, then the most. What is left out is said."""
    stacks: dict[tuple, list[SliceHeader]] = {}
    for s in slices:
        stacks.setdefault(_plane(s), []).append(s)
    if len(stacks) == 1:
        return slices, []

    def rank(stack: list[SliceHeader]) -> tuple:
        usable = _why_not_image(stack[0]) is None and orientation_of(stack[0].orientation) == "axial"
        return (usable, len(stack), stack[0].format.rows, repr(_plane(stack[0])))

    main = max(stacks.values(), key=rank)
    scouts = sum(_is_scout(s) for s in slices)
    other = [s for s in slices if _plane(s) != _plane(main[0]) and not _is_scout(s)]
    turned = sum(s.orientation != main[0].orientation for s in other)
    sized = len(other) - turned
    qc = []
    if scouts and not _is_scout(main[0]):
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
    return (turned, f.rows, f.columns, spacing, f.samples, s.about.modality, _is_scout(s))


def _one_acquisition(slices: list[SliceHeader]) -> tuple[list[SliceHeader], list[QCFinding]]:
    """Where several passes over the same places share a UID, and are numbered as such, keep the longest, first pass."""
    passes: dict[str, list[SliceHeader]] = {}
    for s in slices:
        passes.setdefault(s.acquisition, []).append(s)
    if len(passes) == 1:
        return slices, []
    repeated = len(slices) - len({s.position for s in slices})
    if repeated < 0.2 * len(slices):
        return slices, []
    main = max(passes.values(), key=lambda p: (len({s.position for s in p}), -(p[0].instance or 0)))
    message = f"the series holds {len(passes)} acquisitions of the same places: the longest, of {len(main)} slices, is screened"
    return main, [QCFinding("several-acquisitions", "warning", message)]


# -- why not -----------------------------------------------------------------------------------------------------------------

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PICTURE_WORDS = frozenset(("MIP", "MINIP", "PROJECTION", "VRT", "3D", "SSD", "SCREEN SAVE", "DOSE", "DOSE_INFO", "BATCHRESULT"))
NOT_CHEST = frozenset(("HEAD", "BRAIN", "SKULL", "ABDOMEN", "PELVIS", "KNEE", "HIP", "ANKLE", "FOOT", "HAND", "WRIST", "SINUS"))


def _why_not(
    first: SliceHeader, main: list[SliceHeader], orientation: Orientation, extent: float, spacing: tuple[float, float]
) -> tuple[str | None, Unless]:
    if why := _why_not_image(first):
        return why, "never"
    if orientation != "axial":
        return f"{orientation} reformat, not axial", "never"
    if min(spacing) <= 0:
        return "its pixel spacing is zero or negative", "never"
    if len(main) < LEAST_SLICES:
        return f"{len(main)} slice{'s' * (len(main) > 1)} only", "never"
    if first.about.image_type[0] == "DERIVED":
        return "derived from other images, not original", "asked"
    if extent < LEAST_CHEST_MM:
        return f"covers {extent:.0f} mm, a part of a chest ({LEAST_CHEST_MM:.0f} mm at least)", "partial"
    return None, "never"


def _why_not_image(s: SliceHeader) -> str | None:
    about, words = s.about, set(s.about.image_type)
    if about.modality != "CT":
        return f"{about.modality or 'of unknown modality'}, not CT"
    if about.sop_class.startswith(SECONDARY_CAPTURE) or s.format.samples != 1 or words & PICTURE_WORDS:
        return "a picture made from a scan, no scan"
    if _is_scout(s):
        return "a scout (localizer)"
    if words & {"MPR", "REFORMATTED", "CURVED"}:
        return "a reformat, not the original slices"
    if not (s.format.rows and s.format.columns):
        return "it has no images"
    return None


def _is_scout(s: SliceHeader) -> bool:
    return bool({"LOCALIZER", "SCOUT", "TOPOGRAM"} & set(s.about.image_type))


def _elsewhere(s: SliceHeader) -> bool:
    return s.about.body_part in NOT_CHEST
