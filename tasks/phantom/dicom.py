"""A phantom as a scanner would hand it over: a DICOM CT series; and its truth as a table."""

from __future__ import annotations

import csv
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from artifacts.volume import Volume
    from tasks.phantom.phantom import Phantom

NAMESPACE = uuid.UUID("6e2f3c1c-7f3a-5a44-9f55-6b8f2c5d1e00")
CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


def uid_of(*parts: object) -> str:
    """A UID that depends on ``parts`` alone (the 2.25 root: a UUID as a number, DICOM PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(map(str, parts))).int}"


def instance_uid(series: str, number: int) -> str:
    return uid_of("instance", series, number)


def write_dicom_series(volume: Volume, folder: Path, *, patient_name: str = "PHANTOM", kernel: str | None = None) -> list[Path]:
    """One uncompressed CT image a slice, named by instance number, into ``folder`` (made where missing).

    Intercept -1024, slope 1, so stored values are HU + 1024. The volume's planes must be parallel to the image plane that its
    y and x directions span. Returns the files in the order of z.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(len(volume.hu)):
        image = _image(volume, k, patient_name, kernel or volume.series.kernel or "PHANTOM")
        paths.append(folder / f"IM{k + 1:05d}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def _image(volume: Volume, k: int, patient_name: str, kernel: str) -> FileDataset:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    instance = UID(instance_uid(volume.series.uid, k + 1))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(CT_IMAGE_STORAGE), instance
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(EXPLICIT_VR_LITTLE_ENDIAN), UID(uid_of("implementation"))
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for name, value in {**_about(volume, patient_name, kernel), **_place(volume, k)}.items():
        setattr(image, name, value)
    image.SOPInstanceUID, image.InstanceNumber = instance, k + 1
    image.PixelData = (volume.hu[k].astype(np.int32) + 1024).astype("<u2").tobytes()
    image["PixelData"].VR = "OW"
    return image


def _about(volume: Volume, patient_name: str, kernel: str) -> dict[str, Any]:
    """What all images share."""
    rows, columns = volume.hu.shape[1:]
    uid = volume.series.uid
    return {
        "SOPClassUID": CT_IMAGE_STORAGE,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "StudyDate": "20000101",
        "StudyTime": "000000",
        "AccessionNumber": "",
        "Modality": "CT",
        "Manufacturer": "Hounsfield phantom",
        "ReferringPhysicianName": "",
        "SeriesDescription": "Synthetic chest CT",
        "PatientName": patient_name,
        "PatientID": patient_name,
        "PatientBirthDate": "",
        "PatientSex": "O",
        "BodyPartExamined": "CHEST",
        "KVP": "120",
        "ConvolutionKernel": kernel,
        "PatientPosition": "HFS",
        "StudyInstanceUID": uid_of("study", uid),
        "SeriesInstanceUID": uid,
        "StudyID": "1",
        "SeriesNumber": 1,
        "FrameOfReferenceUID": uid_of("frame", uid),
        "PositionReferenceIndicator": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "WindowCenter": "-600",
        "WindowWidth": "1500",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
    }


def _place(volume: Volume, k: int) -> dict[str, Any]:
    g = volume.geometry
    position = g.lps_mm_from_zyx((k, 0, 0))
    return {
        "SliceThickness": _number(volume.series.slice_thickness_mm or g.spacing_zyx[0]),
        "SpacingBetweenSlices": _number(g.spacing_zyx[0]),
        "SliceLocation": _number(position[2]),
        "ImagePositionPatient": [_number(v) for v in position],
        "ImageOrientationPatient": [_number(v) for v in (*g.directions_zyx[2], *g.directions_zyx[1])],
        "PixelSpacing": [_number(g.spacing_zyx[1]), _number(g.spacing_zyx[2])],
    }


def _number(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value:.8g}"


def write_truth_csv(phantom: Phantom, path: Path) -> None:
    """LUNA16's columns (LPS, mm), then what LUNA16 does not tell."""
    with path.open("w", newline="") as f:
        rows = csv.writer(f, lineterminator="\n")
        rows.writerow(
            [
                "seriesuid",
                "coordX",
                "coordY",
                "coordZ",
                "diameter_mm",
                "volume_mm3",
                "kind",
                "margin",
                "place",
                "malignant",
                "p_malignant",
            ]
        )
        for n in phantom.nodules:
            numbers = [f"{v:.3f}" for v in (*n.center_lps_mm, n.diameter_mm, n.volume_mm3)]
            rows.writerow(
                [phantom.volume.series.uid, *numbers, n.kind, n.margin, n.place, int(n.malignant), f"{n.p_malignant:.4f}"]
            )
