"""Whether a series is one to screen, by what its headers say: an original axial CT that may cover lungs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.reading.slices import SliceHeader

Orientation = Literal["axial", "coronal", "sagittal", "oblique", "unknown"]
Unless = Literal["never", "partial", "asked", "rescaled"]

AXIAL_COSINE = 0.8  # an axial plane tilted by up to 37 degrees; gantries tilt by 30
LEAST_CHEST_MM = 150.0
LEAST_SLICES = 3
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PICTURE_WORDS = frozenset(("MIP", "MINIP", "PROJECTION", "VRT", "3D", "SSD", "SCREEN SAVE", "DOSE", "DOSE_INFO", "BATCHRESULT"))
NOT_CHEST = frozenset(("HEAD", "BRAIN", "SKULL", "ABDOMEN", "PELVIS", "KNEE", "HIP", "ANKLE", "FOOT", "HAND", "WRIST", "SINUS"))


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
    """Unit normal (LPS) of the image plane: along a row x down a column (DICOM PS3.3 C.7.6.2.1.1), or against it, so that it
    points to the head (to the back, to the left where the plane is not axial), however the patient lay."""
    normal = np.cross(six[:3], six[3:])
    length = np.linalg.norm(normal)
    if not length > 0.1:
        return np.full(3, np.nan)
    return normal / (length * np.sign(normal[np.abs(normal).argmax()]))


def patients_in(slices: Sequence[SliceHeader]) -> int:
    """How many patients the slices of a scan are of, by number, or where none has one by name; 0 where nothing tells."""
    marks = [s.patient for s in slices if why_not_image(s) is None]
    numbers, names = ({m[k] for m in marks} - {""} for k in (0, 1))
    return len(numbers or names)


def why_not(
    first: SliceHeader,
    main: list[SliceHeader],
    patients: int,
    orientation: Orientation,
    extent: float,
    spacing: tuple[float, float],
) -> tuple[str | None, Unless]:
    """Why a stack is not screened (None: it is), and what lifts that.

    patients  in the whole series; extent: along the normal, spacing: (y, x), in mm
    """
    if why := why_not_image(first):
        return why, "never"
    if patients > 1:
        return f"its slices are of {patients} patients under one series UID: separate them", "never"
    if (studies := len({s.study_uid for s in main if s.study_uid})) > 1:
        return f"its slices come from {studies} studies under one series UID: separate them", "never"
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


def why_not_image(s: SliceHeader) -> str | None:
    """Why one slice is no slice of a CT; None where it is."""
    about, words = s.about, set(s.about.image_type)
    if about.modality != "CT":
        return f"{about.modality or 'of unknown modality'}, not CT"
    if about.sop_class.startswith(SECONDARY_CAPTURE) or s.format.samples != 1 or words & PICTURE_WORDS:
        return "a picture made from a scan, no scan"
    if is_scout(s):
        return "a scout (localizer)"
    if words & {"MPR", "REFORMATTED", "CURVED"}:
        return "a reformat, not the original slices"
    if not (s.format.rows and s.format.columns):
        return "it has no images"
    return None


def is_scout(s: SliceHeader) -> bool:
    return bool({"LOCALIZER", "SCOUT", "TOPOGRAM"} & set(s.about.image_type))


def shows_elsewhere(s: SliceHeader) -> bool:
    return s.about.body_part in NOT_CHEST
