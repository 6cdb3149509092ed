"""Image files (MetaImage, NIfTI, NRRD) from their headers: what is said and what is wrong, before SimpleITK reads any voxel."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.errors import HounsfieldError, InputError
from artifacts.geometry import Geometry
from artifacts.volume import QCFinding
from tasks.reading.eligibility import LEAST_CHEST_MM, Unless
from tasks.reading.found import PSEUDONYM, FoundSeries
from tasks.reading.metaimage import check_metaimage
from tasks.reading.nifti import affines_of, check_nifti
from tasks.reading.nrrd import check_nrrd
from tasks.reading.raw import check_size
from tasks.reading.slices import MOST_MM

IMAGE_SUFFIXES = (".mhd", ".mha", ".nii", ".nii.gz", ".nrrd")
FORMATS = {".mhd": "mhd", ".mha": "mhd", ".nii": "nifti", ".nii.gz": "nifti", ".nrrd": "nrrd"}
ITK_IO = {"mhd": "MetaImageIO", "nifti": "NiftiImageIO", "nrrd": "NrrdImageIO"}
CHECKS = {"mhd": check_metaimage, "nifti": check_nifti, "nrrd": check_nrrd}
UID_STEM = re.compile(r"1\.[0-9](\.(0|[1-9][0-9]*)){5,}|2\.25\.[1-9][0-9]{19,38}")  # digits and dots alone may be dates
HEAD, SAMPLES, SAMPLE = 65536, 64, 4096
SAME_PLACE_MM = 0.5
NOT_UNIT, NOT_PERPENDICULAR = 0.01, 0.01  # headers round
FREE_BYTES, MOST_EXPANSION = 2**29, 200  # a CT of half a gigabyte may be all air; no larger one packs so well


def image_suffix(path: Path) -> str | None:
    """The suffix of an image file, ``.nii.gz`` included; None for other files."""
    name = path.name.lower()
    return next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.endswith(s)), None)


@dataclass(frozen=True)
class ImageHeader:
    geometry: Geometry
    signed: bool  # can hold air's -1000
    qc: tuple[QCFinding, ...] = ()


def image_series(path: Path) -> FoundSeries:
    """A file as a series of its own; what is wrong with it as ``why_not``."""
    suffix = image_suffix(path) or ""
    kind = FORMATS[suffix]
    try:
        header = image_header(path)
    except HounsfieldError as e:
        return _broken(path, kind, str(e))
    g = header.geometry
    (x, _), (y, _), (z, _) = g.patient_axes
    extent = g.shape_zyx[z] * g.spacing_zyx[z]
    why: str | None = None
    unless: Unless = "never"
    if not header.signed:
        why = "not Hounsfield units: no voxel can be negative; a label map, or a scan that is yet to be rescaled"
        unless = "rescaled"
    elif extent < LEAST_CHEST_MM:
        why, unless = f"covers {extent:.0f} mm, a part of a chest ({LEAST_CHEST_MM:.0f} mm at least)", "partial"
    return FoundSeries(
        uid=image_uid(path) or _pseudonym(path),
        files=image_files(path),
        source_format=kind,
        modality="CT",
        rows=g.shape_zyx[y],
        columns=g.shape_zyx[x],
        n_slices=g.shape_zyx[z],
        spacing=(g.spacing_zyx[z], g.spacing_zyx[y], g.spacing_zyx[x]),
        thickness_mm=None,
        kernel=None,
        extent_mm=extent,
        orientation="axial",
        why_not=why,
        unless=unless,
    )


def _broken(path: Path, kind: str, why: str) -> FoundSeries:
    return FoundSeries(
        uid=image_uid(path) or _pseudonym(path),
        files=(path,),
        source_format=kind,
        modality="CT",
        rows=0,
        columns=0,
        n_slices=0,
        spacing=None,
        thickness_mm=None,
        kernel=None,
        extent_mm=0.0,
        orientation="unknown",
        why_not=why,
    )


def image_uid(path: Path) -> str | None:
    """LUNA16 names its files by series UID; any other name could be a patient's and is not kept."""
    stem = path.name[: -len(image_suffix(path) or "")]
    return stem if 20 <= len(stem) <= 64 and UID_STEM.fullmatch(stem) else None


def image_files(path: Path) -> tuple[Path, ...]:
    """The file, and the one that holds its voxels."""
    if path.suffix.lower() != ".mhd":
        return (path,)
    from tasks.reading.metaimage import voxel_file

    return (path, voxel_file(path))


def _pseudonym(path: Path) -> str:
    """Of the head of each file, its size, and what lies here and there in it: scans of one machine begin alike, with air."""
    h = hashlib.blake2b(digest_size=6)
    with suppress(OSError, InputError):  # said by whoever reads it
        for file in dict.fromkeys((path, *image_files(path))):
            size = file.stat().st_size
            h.update(str(size).encode())
            with file.open("rb") as f:
                h.update(f.read(HEAD))
                for k in range(1, SAMPLES + 1):
                    f.seek(max(0, k * size // SAMPLES - SAMPLE))
                    h.update(f.read(SAMPLE))
    return PSEUDONYM + h.hexdigest()


def image_header(path: Path) -> ImageHeader:
    """Raises InputError: broken, more than three dimensions, no affine, zero or negative spacing, too large."""
    suffix = image_suffix(path) or ""
    try:
        signed = CHECKS[FORMATS[suffix]](path)
    except (OSError, EOFError, ValueError, KeyError, UnicodeError):
        raise InputError(f"the {FORMATS[suffix]} file is damaged or cut short: its header cannot be read") from None
    reader = itk_reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise InputError(f"the {FORMATS[suffix]} file cannot be read: damaged, or its axes are not perpendicular") from None
    geometry = geometry_of(reader)
    _check_expansion(path, 2 * int(np.prod(geometry.shape_zyx, dtype=np.int64)))
    return ImageHeader(geometry, signed, _affine_used(geometry, path) if FORMATS[suffix] == "nifti" else ())


def _affine_used(g: Geometry, path: Path) -> tuple[QCFinding, ...]:
    """Where a NIfTI's two affines disagree, which one SimpleITK (and so 3D Slicer) took. InputError where it took neither."""
    corners = np.array([(z, y, x) for z in (0, g.shape_zyx[0]) for y in (0, g.shape_zyx[1]) for x in (0, g.shape_zyx[2])])
    places = g.lps_mm_from_zyx(corners)
    off = {
        name: float(np.abs(corners[:, ::-1] @ affine[:, :3].T + affine[:, 3] - places).max())
        for name, affine in affines_of(path).items()
    }
    used = next((name for name, mm in off.items() if mm < SAME_PLACE_MM), None)
    if used is None:
        raise InputError(
            "the NIfTI's affine (sform, qform) is no rotation with perpendicular axes: resample it, or repair its header"
        )
    other = [f"{name} of the NIfTI puts voxels elsewhere" for name, mm in off.items() if not mm < SAME_PLACE_MM]
    return tuple(QCFinding("two-affines", "warning", f"the {text}: its {used} is used") for text in other)


def itk_reader(path: Path) -> Any:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings print paths
    reader = sitk.ImageFileReader()
    reader.SetImageIO(ITK_IO[FORMATS[image_suffix(path) or ""]])  # it would not know an .MHD
    reader.SetFileName(str(path))
    return reader


def geometry_of(image: Any) -> Geometry:
    """The grid of a SimpleITK image or of a reader that has read the header. Raises InputError."""
    n = image.GetDimension()
    size, spacing, origin = image.GetSize(), image.GetSpacing(), image.GetOrigin()
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(n, n)
    if n < 3 or any(s != 1 for s in size[3:]):
        raise InputError(f"the image has {n} dimensions ({' x '.join(map(str, size))}): give one volume, three dimensions")
    components = image.GetNumberOfComponents if hasattr(image, "GetNumberOfComponents") else image.GetNumberOfComponentsPerPixel
    if components() != 1:
        raise InputError("the image has several values a voxel (colour, vectors): give one volume of Hounsfield units")
    shape = (int(size[2]), int(size[1]), int(size[0]))
    check_size(shape)
    if not np.abs(origin).max() < MOST_MM:  # false for NaN too
        raise InputError(
            f"the image lies more than {MOST_MM / 1e6:g} km from where patients are: repair the origin in its header"
        )
    directions = tuple(tuple(float(v) for v in direction[:3, k]) for k in (2, 1, 0))
    try:
        geometry = Geometry(shape, (spacing[2], spacing[1], spacing[0]), origin[:3], directions)  # type: ignore[arg-type]
    except ValueError:
        raise InputError("the image has zero or negative spacing, or axes that do not span space: repair its header") from None
    _check_axes(geometry)
    return geometry


def _check_axes(g: Geometry) -> None:
    """Slices may lean; what lies in their plane may not."""
    (x, _), (y, _), _ = g.patient_axes
    axes = np.array(g.directions_zyx)
    if np.abs(np.linalg.norm(axes, axis=1) - 1).max() > NOT_UNIT or abs(axes[x] @ axes[y]) > NOT_PERPENDICULAR:
        raise InputError(
            "the image's axes are no perpendicular unit vectors (sheared or scaled): resample it, or repair its header"
        )


def _check_expansion(path: Path, claimed_bytes: int) -> None:
    """A small file that claims to hold a huge volume is refused before memory is asked for, as a zip would be."""
    stored = sum(f.stat().st_size for f in image_files(path))
    if claimed_bytes > FREE_BYTES and claimed_bytes > MOST_EXPANSION * stored:
        raise InputError(
            f"the file claims to hold {claimed_bytes:.1e} bytes in {stored}: at most {MOST_EXPANSION} times are read"
        )
