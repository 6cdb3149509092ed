"""Small chests as DICOM files, whole or with one fault each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
JPEG_LS, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.70"
SERIES = "1.2.826.0.1.3680043.8.498.77"

SECRETS = {
    "PatientName": "DOE^JANE",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19500607",
    "InstitutionName": "St. Elsewhere",
    "SeriesDescription": "Jane's chest",
    "StudyDescription": "Follow-up of Mrs Doe",
    "ReferringPhysicianName": "HOUSE^GREG",
    "AccessionNumber": "ACC0815",
}


def chest(n: int = 60, rows: int = 40, columns: int = 48, seed: int = 0) -> NDArray[np.int16]:
    """int16 HU ``[n, rows, columns]``: room, body, two lungs that end inside the scan, some noise."""
    z, y, x = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    hu = np.where((y / 0.8) ** 2 + (x / 0.9) ** 2 < 1, 40.0, -1000.0)
    for side in (-0.4, 0.4):
        hu[((z / 0.85) ** 2 + (y / 0.55) ** 2 + ((x - side) / 0.3) ** 2) < 1] = -850
    hu += np.random.default_rng(seed).normal(0, 12, hu.shape)
    return np.maximum(np.rint(hu), -1024).astype(np.int16)


@dataclass(frozen=True)
class Place:
    """Where the slices of a series lie."""

    origin: tuple[float, float, float] = (-100.0, -80.0, -300.0)
    row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    column: tuple[float, float, float] = (0.0, 1.0, 0.0)
    step: tuple[float, float, float] = (0.0, 0.0, 3.0)
    spacing_yx: tuple[float, float] = (7.0, 7.5)

    def of_slice(self, k: float) -> list[float]:
        return [o + k * s for o, s in zip(self.origin, self.step, strict=True)]


def dataset(
    hu: NDArray[np.int16],
    position: Sequence[float],
    number: int,
    *,
    place: Place = Place(),
    syntax: str = EXPLICIT,
    intercept: int = -1024,
    signed: bool = False,
    bits: int = 16,
    series: str = SERIES,
    **more: Any,
) -> Any:
    """One CT image; ``more`` overrides or adds attributes, None leaves one out."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    uid = f"{series}.{number}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(CT), UID(uid)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(EXPLICIT), UID("1.2.3.4")
    image = FileDataset(
        "", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=syntax == IMPLICIT, is_little_endian=syntax != BIG_ENDIAN
    )
    stored = hu.astype(np.int32) - intercept
    values = {
        "SOPClassUID": CT,
        "SOPInstanceUID": uid,
        "SeriesInstanceUID": series,
        "StudyInstanceUID": f"{SERIES}.0",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Modality": "CT",
        "Manufacturer": "SIEMENS",
        "ConvolutionKernel": "B70f",
        "SliceThickness": "3",
        "InstanceNumber": number,
        "ImagePositionPatient": [f"{v:.10f}"[:16] for v in position],
        "ImageOrientationPatient": [f"{v:.13f}"[:16] for v in (*place.row, *place.column)],
        "PixelSpacing": [f"{v:.10g}" for v in place.spacing_yx],
        "Rows": hu.shape[0],
        "Columns": hu.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
        "RescaleIntercept": str(intercept),
        "RescaleSlope": "1",
        **SECRETS,
        **more,
    }
    for name, value in values.items():
        if value is not None:
            setattr(image, name, value)
    image.PixelData = (stored & 0xFFFF).astype(">u2" if syntax == BIG_ENDIAN else "<u2").tobytes()
    image["PixelData"].VR = "OW"
    if syntax in (RLE, JPEG_2000):
        image.compress(syntax, generate_instance_uid=False)
    else:
        image.file_meta.TransferSyntaxUID = UID(syntax)
    return image


def save(image: Any, path: Path) -> Path:
    image.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    hu: NDArray[np.int16],
    *,
    place: Place = Place(),
    change: Callable[[int], dict[str, Any]] | None = None,
    **options: Any,
) -> list[Path]:
    """A file a slice, named in an order that is not theirs. ``change(k)``: attributes of slice k."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(5).permutation(len(hu))
    return [
        save(
            dataset(hu[k], place.of_slice(k), len(hu) - k, place=place, **{**options, **(change(k) if change else {})}),
            folder / f"im{names[k]:04d}",
        )
        for k in range(len(hu))
    ]


def repack(path: Path, syntax: str) -> None:
    """Encode a file anew with GDCM."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    kinds = {JPEG_LS: gdcm.TransferSyntax.JPEGLSLossless, JPEG_LOSSLESS: gdcm.TransferSyntax.JPEGLosslessProcess14_1}
    change.SetTransferSyntax(gdcm.TransferSyntax(kinds[syntax]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()


def write_enhanced(path: Path, hu: NDArray[np.int16], *, place: Place = Place(), order: Sequence[int] | None = None) -> Path:
    """All slices as frames of one enhanced CT file, in ``order``; intercept of frame k is -1024 - k."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    order = list(range(len(hu))) if order is None else list(order)
    image = dataset(hu[0], place.origin, 1, place=place)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope"):
        delattr(image, name)
    del image.RescaleIntercept
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = ENHANCED_CT
    image.NumberOfFrames = len(order)
    frames = []
    for n, k in enumerate(order):
        frames.append(
            _group(
                PlanePositionSequence={"ImagePositionPatient": place.of_slice(k)},
                PixelValueTransformationSequence={"RescaleIntercept": str(-1024 - n), "RescaleSlope": "1", "RescaleType": "HU"},
            )
        )
    shared = _group(
        PlaneOrientationSequence={"ImageOrientationPatient": [*place.row, *place.column]},
        PixelMeasuresSequence={"PixelSpacing": list(place.spacing_yx), "SliceThickness": "3"},
        CTReconstructionSequence={"ConvolutionKernel": "Br64"},
    )
    del image.ConvolutionKernel
    image.SharedFunctionalGroupsSequence = Items([shared])
    image.PerFrameFunctionalGroupsSequence = Items(frames)
    assert isinstance(shared, Dataset)
    image.PixelData = np.stack([hu[k].astype(np.int32) + 1024 + n for n, k in enumerate(order)]).astype("<u2").tobytes()
    image["PixelData"].VR = "OW"
    return save(image, path)


def _group(**groups: dict[str, Any]) -> Any:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    whole = Dataset()
    for name, values in groups.items():
        item = Dataset()
        for attribute, value in values.items():
            setattr(item, attribute, value)
        setattr(whole, name, Items([item]))
    return whole
