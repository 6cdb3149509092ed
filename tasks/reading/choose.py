"""Which of the series found are screened, and why: for people, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from artifacts.errors import InputError, ScanRefused
from tasks.reading.eligibility import patients_in
from tasks.reading.found import FoundSeries
from tasks.reading.kernels import kernel_class

KernelWish = Literal["sharp", "soft", "any"]
LISTED = 6


def choose_series(
    found: Sequence[FoundSeries], policy: str = "best", *, kernel: KernelWish = "any", partial: bool = False
) -> list[tuple[FoundSeries, str]]:
    """The series to screen, each with the reason.

    policy   ``best``: of the eligible the one with the thinnest slices, then the kernel wished for, then the most slices, then
             the lowest UID; ``all`` eligible ones; or a series instance UID
    kernel   what the network's card asks for
    partial  take a part of a chest too

    Raises InputError where there is no such or no eligible series, ScanRefused where all there is is a part of a chest, or one
    image that holds no Hounsfield units.
    """
    if policy not in ("best", "all"):
        return [(_asked_for(found, policy, partial), "asked for by UID")]
    eligible = [f for f in found if f.eligible()] or [f for f in found if f.eligible(partial)]
    if not eligible:
        _refuse(found)
    ranked = sorted(eligible, key=lambda f: _rank(f, kernel))
    rest = _left_out([f for f in found if f not in eligible])
    if policy == "all":
        return [(f, f"one of {len(ranked)} eligible series{rest}") for f in sorted(ranked, key=lambda f: f.uid)]
    return [(ranked[0], _because(ranked, kernel) + rest)]


def next_best(
    found: Sequence[FoundSeries], refused: Sequence[FoundSeries], kernel: str, partial: bool
) -> list[tuple[FoundSeries, str]]:
    """As ``choose_series`` chooses the best where some have turned out unfit; empty where no eligible one is left."""
    left = [f for f in found if f not in refused]
    if not any(f.eligible(partial) for f in left):
        return []
    return choose_series(left, kernel=kernel, partial=partial)  # type: ignore[arg-type]


def _rank(f: FoundSeries, kernel: KernelWish) -> tuple:
    return (f.elsewhere, _thickness(f), _mismatch(f, kernel), -f.n_slices, f.uid)


def _thickness(f: FoundSeries) -> float:
    """Millimetres, to a tenth: makers round differently."""
    return round(max(f.thickness_mm or 0.0, f.spacing[0] if f.spacing else 0.0) or 99.0, 1)


def _mismatch(f: FoundSeries, kernel: KernelWish) -> int:
    if kernel == "any":
        return 0
    known = kernel_class(f.kernel)
    return 1 if known is None else 0 if known == kernel else 2


def _because(ranked: list[FoundSeries], kernel: KernelWish) -> str:
    best = ranked[0]
    if len(ranked) == 1:
        return "the only eligible series"
    second = ranked[1]
    studies = {f.slices[0].study_uid for f in ranked if f.slices}
    patients = patients_in([f.slices[0] for f in ranked if f.slices])
    among = f"of {len(ranked)} eligible series" + (f" in {len(studies)} studies" if len(studies) > 1 else "")
    among += f" of {patients} patients" if patients > 1 else ""
    if best.elsewhere != second.elsewhere:
        return f"the only one {among} that is not marked as another part of the body"
    if _thickness(best) != _thickness(second):
        return f"thinnest slices ({_thickness(best):g} mm) {among}"
    if _mismatch(best, kernel) != _mismatch(second, kernel):
        wish = (
            f"kernel {best.kernel} is {kernel}, as the network asks" if kernel_class(best.kernel) == kernel else "kernel unknown"
        )
        return f"thinnest slices ({_thickness(best):g} mm) {among}; {wish}"
    if best.n_slices != second.n_slices:
        return f"thinnest slices ({_thickness(best):g} mm) and most of them ({best.n_slices}) {among}"
    return f"lowest UID among equals {among}"


def _left_out(found: Sequence[FoundSeries]) -> str:
    out = [f.why_not for f in found if f.why_not]
    if not out:
        return ""
    return f"; left out: {'; '.join(sorted(set(out))[:LISTED])}"


def _asked_for(found: Sequence[FoundSeries], uid: str, partial: bool) -> FoundSeries:
    match = next((f for f in found if f.uid == uid), None)
    if match is None:
        raise InputError(f"no series with the UID asked for; there are {listing(found)}")
    if match.eligible(partial, asked=True):
        return match
    if match.unless == "partial":
        raise ScanRefused(f"the series asked for {match.why_not}: screen it with --partial")
    raise InputError(f"the series asked for cannot be screened: {match.why_not}")


def _refuse(found: Sequence[FoundSeries]) -> None:
    if not found:
        raise InputError("no series found: give a folder of DICOM, a zip, .mhd, .mha, .nii, .nii.gz or .nrrd")
    parts = [f for f in found if f.unless == "partial"]
    if parts:
        longest = max(parts, key=lambda f: f.extent_mm)
        raise ScanRefused(f"the series {longest.why_not}: screen it with --partial")
    if len(found) == 1:
        kind_of_error = ScanRefused if found[0].unless == "rescaled" else InputError
        raise kind_of_error(f"this cannot be screened: {found[0].why_not}")
    kind = "no CT" if not any(f.modality == "CT" for f in found) else "no eligible CT series"
    raise InputError(f"{kind} among {len(found)} series: {listing(found)}")


def listing(found: Sequence[FoundSeries]) -> str:
    """``1.2.3 (a scout (localizer)), 1.2.4 (120 slices of 1 mm)``"""
    shown = [f"{f.uid} ({f.why_not or f'{f.n_slices} slices of {_thickness(f):g} mm'})" for f in found[:LISTED]]
    more = [f"and {len(found) - LISTED} more"] if len(found) > LISTED else []
    return ", ".join(shown + more)
