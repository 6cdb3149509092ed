"""What series a folder holds, from headers alone: nested folders, mixed series, files without extension, image files."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from artifacts.errors import InputError
from tasks.reading.choose import choose_series
from tasks.reading.found import PSEUDONYM, FoundSeries, one_of_each, series_from_slices
from tasks.reading.frames import frames_of, is_multi_frame
from tasks.reading.header import HEAD, BrokenHeader, RawHeader, is_directory, read_header
from tasks.reading.images import IMAGE_SUFFIXES, image_series, image_suffix
from tasks.reading.slices import SliceHeader, slice_of

__all__ = ["FoundSeries", "choose_series", "find_series"]

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
APART = (".nhdr", ".hdr")  # headers of NRRD and Analyze whose voxels lie in another file
OUR_REPORT = {"report.json", "nodules.nii.gz"}  # written into a scan's folder, not to be taken for a scan


def find_series(source: Path) -> list[FoundSeries]:
    """Every series in a folder, however deep, or in one file; eligible or not, one each UID, in their order.

    Files that are neither DICOM nor images are passed over; files that claim to be DICOM and cannot be read are counted with
    the series that they lie beside. Raises InputError where nothing can be read.
    """
    files = sorted(files_in(source))
    images = [f for f in files if image_suffix(f)]
    slices, broken, closed = _headers([f for f in files if not image_suffix(f)])
    found = grouped(slices, broken) + [image_series(f) for f in images]
    if not found:
        if closed:
            raise InputError(f"{closed} of {len(files)} files cannot be read, and no CT is among the rest: see their permissions")
        total = sum(broken.values())
        if total:
            claim = "1 file claims" if total == 1 else f"{total} files claim"
            raise InputError(f"{claim} to be DICOM, but none can be read: cut short or damaged")
        raise InputError(_why_no_ct(source, files))
    return one_of_each(found)


def _why_no_ct(source: Path, files: list[Path]) -> str:
    """Of files among which there is neither DICOM nor an image."""
    packed = sum(f.suffix.lower() in ARCHIVES for f in files)
    if packed and source.is_file():
        return "an archive of this kind stays packed: unpack it and give the folder, or pack it as .zip"
    if packed:
        return f"no file in it is a CT, and what is packed in it ({packed}) stays packed: unpack it first"
    if any(f.suffix.lower() in APART for f in files):
        return "an image whose voxels lie in another file than its header (.nhdr, .hdr) is not read: save it as one .nrrd or .nii"
    if any(is_directory(_head(f)) for f in files if f.name.upper() == "DICOMDIR"):
        return "a DICOMDIR is here without the images that it lists: copy the whole disc"
    what = "no file in it is a CT" if files else _why_no_file(source)
    return f"{what}: give a folder of DICOM, a zip, or one of {', '.join(IMAGE_SUFFIXES)}"


def _head(path: Path) -> bytes:
    with path.open("rb") as f:
        return f.read(HEAD)


def _why_no_file(source: Path) -> str:
    """Of a folder in which ``files_in`` finds nothing."""
    held = list(source.iterdir())
    if any(entry.is_symlink() and entry.is_dir() for entry in held):
        return "the folder holds links to other folders, which are not followed"
    return "the folder holds hidden files alone" if any(entry.name.startswith(".") for entry in held) else "the folder is empty"


def files_in(source: Path) -> list[Path]:
    """Every regular file, links to files included; no pipes, no dangling links, no label map of a report of ours."""
    if source.is_file():
        return [source]
    closed: list[OSError] = []
    files = []
    for folder, _, names in os.walk(source, onerror=closed.append):
        if "__MACOSX" in folder:
            continue
        ours = set(names) >= OUR_REPORT
        files += [Path(folder, n) for n in names if not n.startswith(".") and not (ours and n in OUR_REPORT)]
    files = [f for f in files if os.path.isfile(f)]
    if closed and not files:
        if isinstance(closed[0], PermissionError):
            raise InputError("the folder cannot be read: its permissions do not let you in")
        raise InputError(f"the folder cannot be read ({closed[0].strerror}): copy the scan to another place")
    return files


def _headers(files: list[Path]) -> tuple[list[SliceHeader], Counter[Path], int]:
    """Slices of all DICOM files with an image or a series, how many broken files each folder holds, how many are closed to us."""
    slices: list[SliceHeader] = []
    broken: Counter[Path] = Counter()
    closed = 0
    for path in files:
        try:
            slices.extend(slices_in(path))
        except (BrokenHeader, OSError) as e:
            broken[path.parent] += 1
            closed += isinstance(e, PermissionError)
    return slices, broken, closed


def slices_in(path: Path) -> list[SliceHeader]:
    """The slices of one file: one, of a multi-frame file many, none where it is no DICOM. Raises BrokenHeader, OSError."""
    header = _header(path)
    if header is None:
        return []
    return frames_of(path, header) if is_multi_frame(header) else [slice_of(path, header)]


def _header(path: Path) -> RawHeader | None:
    """None for what is no DICOM, or a DICOM that belongs to no series."""
    with path.open("rb", buffering=0) as f:
        size = os.fstat(f.fileno()).st_size
        header = read_header(f, path, size)
    if header is None:
        if path.suffix.lower() in DICOM_SUFFIXES:
            raise BrokenHeader
        return None
    if not header.text("series_uid") and not header.text("modality"):
        raise BrokenHeader
    return header


def grouped(slices: list[SliceHeader], broken: Counter[Path]) -> list[FoundSeries]:
    """Series made of ``slices``; broken files (how many in which folder) count for the series that they lie beside."""
    return [
        series_from_slices(uid, group, sum(broken[f] for f in {s.path.parent for s in group}))
        for uid, group in by_series(slices).items()
    ]


def by_series(slices: Iterable[SliceHeader]) -> dict[str, list[SliceHeader]]:
    """Series UID -> its slices; those without a UID by folder, under a pseudonym."""
    groups: dict[str, list[SliceHeader]] = defaultdict(list)
    nameless: dict[Path, list[SliceHeader]] = defaultdict(list)
    for s in slices:
        if s.series_uid:
            groups[s.series_uid].append(s)
        else:
            nameless[s.path.parent].append(s)
    for group in nameless.values():
        groups[_pseudonym(group)].extend(group)
    return groups


def _pseudonym(slices: list[SliceHeader]) -> str:
    """Of content, never of a path."""
    h = hashlib.blake2b(digest_size=6)
    for s in sorted(slices, key=lambda s: (s.position or (), s.sop_uid or "")):
        h.update(repr((s.position, s.sop_uid, s.format)).encode())
    return PSEUDONYM + h.hexdigest()
