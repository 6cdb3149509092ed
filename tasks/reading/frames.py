"""Enhanced multi-frame CT: the frames of one file as slices (DICOM PS3.3 A.38 and C.7.6.16, functional groups)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.reading.header import TAGS, BrokenHeader, RawHeader
from tasks.reading.quiet import quiet_pydicom
from tasks.reading.slices import SliceHeader, slice_of

MAX_FRAMES = 20_000
ENHANCED_CT = frozenset(("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"))

# name of our field -> (functional group, attribute in it)
GROUPS = {
    "position": ("PlanePositionSequence", "ImagePositionPatient"),
    "orientation": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "spacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "thickness": ("PixelMeasuresSequence", "SliceThickness"),
    "slope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "intercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "kernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "image_type": ("CTImageFrameTypeSequence", "FrameType"),
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "temporal": ("FrameContentSequence", "TemporalPositionIndex"),
    "tilt": ("CTAcquisitionDetailsSequence", "GantryDetectorTilt"),
}


def is_multi_frame(header: RawHeader) -> bool:
    frames = header.text("frames")
    return header.text("sop_class") in ENHANCED_CT or (frames.isdigit() and int(frames) > 1)


def frames_of(path: Path, header: RawHeader) -> list[SliceHeader]:
    """One slice a frame, with its own place and rescale. Raises BrokenHeader."""
    try:
        data = quiet_pydicom().dcmread(path, stop_before_pixels=True, force=True)
        count = int(data.get("NumberOfFrames") or 1)
        if not 0 < count <= MAX_FRAMES:
            raise BrokenHeader
        shared = (data.get("SharedFunctionalGroupsSequence") or [{}])[0]
        own = data.get("PerFrameFunctionalGroupsSequence") or [{}] * count
        return [_frame(path, header, k, shared, own[k]) for k in range(count)]
    except Exception as e:  # pydicom raises whatever it likes on garbage
        raise BrokenHeader from e


def _frame(path: Path, header: RawHeader, k: int, shared: Any, own: Any) -> SliceHeader:
    fields = dict(header.fields)
    for name, (group, attribute) in GROUPS.items():
        value = _value(own, group, attribute) or _value(shared, group, attribute)
        if value is not None:
            fields[TAGS[name]] = value
    fields[TAGS["instance"]] = str(k + 1).encode()
    one = RawHeader(header.transfer_syntax, fields, header.has_pixels, header.pixels_at, header.pixels_end, header.file_bytes)
    found = slice_of(path, one)
    if header.pixels_at is not None:
        one.pixels_at = header.pixels_at + k * found.format.frame_bytes
        found = slice_of(path, one)
    return replace(found, frame=k)


def _value(groups: Any, group: str, attribute: str) -> bytes | None:
    sequence = groups.get(group)
    value = sequence[0].get(attribute) if sequence else None
    if value is None:
        return None
    parts = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]
    return "\\".join(str(p) for p in parts).encode("latin-1", "replace")
