"""A phantom is reproducible, looks like a chest in numbers, and its truth is what its voxels show."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tasks.phantom import NoduleSpec, Phantom, make_phantom
from tasks.phantom.dicom import write_dicom_series, write_truth_csv
from tasks.phantom.nodules import complete, draw_shape, measure, risk, sample


@pytest.fixture(scope="module")
def small() -> Phantom:
    return make_phantom(3, small=True)


@pytest.fixture(scope="module")
def fine() -> Phantom:
    """Half-size in plane around the middle of the chest, but with thin voxels: nodules of known size."""
    sizes = (4.0, 6.0, 8.0, 12.0, 16.0, 20.0)
    specs = [NoduleSpec(d, "solid", "smooth", "alone", (1, 1, 1)) for d in sizes]
    specs += [NoduleSpec(10.0, "solid", "smooth", "alone", (0.7, 1.0, 1.3)), NoduleSpec(9.0, "solid", "smooth", "pleural")]
    return make_phantom(5, nodules=specs, shape_yx=(360, 360), spacing_zyx=(1.5, 1.0, 1.0), noise_hu=5)


def test_same_seed_same_phantom_other_seed_another(small: Phantom) -> None:
    again, other = make_phantom(3, small=True), make_phantom(4, small=True)
    assert np.array_equal(small.volume.hu, again.volume.hu)
    assert small.nodules == again.nodules
    assert small.volume.series.uid == again.volume.series.uid
    assert small.volume.series.uid != other.volume.series.uid
    assert not np.array_equal(small.volume.hu.shape, other.volume.hu.shape) or not np.array_equal(
        small.volume.hu, other.volume.hu
    )


def test_the_chest_does_not_depend_on_its_nodules(small: Phantom) -> None:
    empty = make_phantom(3, small=True, nodules=[])
    assert empty.nodules == []
    changed = np.abs(empty.volume.hu.astype(int) - small.volume.hu) > 100
    assert 0 < changed.mean() < 0.01
    assert empty.volume.series.uid != small.volume.series.uid


@pytest.mark.parametrize("seed", range(1, 5))
def test_lungs_are_of_human_size_and_density_and_wholly_scanned(seed: int) -> None:
    phantom = make_phantom(seed, small=True)
    lungs = phantom.lung_labels
    right, left = (np.count_nonzero(lungs == k) * phantom.volume.geometry.voxel_mm3 / 1e6 for k in (1, 2))
    assert 1.8 < left < 3.6
    assert 1.8 < right < 3.6
    assert 4.0 < left + right < 7.0
    assert -885 < phantom.volume.hu[lungs > 0].mean() < -820
    edges = [lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1], lungs[:, :, 0], lungs[:, :, -1]]
    assert not any(edge.any() for edge in edges)
    x = np.nonzero(lungs == 1)[2].mean(), np.nonzero(lungs == 2)[2].mean()
    assert x[0] < x[1], "the patient's right lung lies at smaller LPS x"


@pytest.mark.parametrize("seed", range(10, 16))
def test_by_default_three_to_six_nodules_and_two_worth_finding(seed: int) -> None:
    phantom = make_phantom(seed, small=True)
    assert 3 <= len(phantom.nodules) <= 6
    assert sum(n.diameter_mm >= 6 for n in phantom.nodules) >= 2
    assert all(3 <= n.diameter_mm <= 26 for n in phantom.nodules)


def test_nodules_are_in_the_lungs_and_apart(small: Phantom) -> None:
    centers = np.array([n.center_lps_mm for n in small.nodules])
    index = tuple(np.rint(small.volume.geometry.zyx_from_lps_mm(centers)).astype(int).T)
    assert (small.lung_labels[index] > 0).all()
    gaps = np.linalg.norm(centers[:, None] - centers[None], axis=-1) + 1e3 * np.eye(len(centers))
    radii = np.array([n.diameter_mm / 2 for n in small.nodules])
    assert (gaps > radii[:, None] + radii[None]).all()


def test_truth_is_what_the_voxels_show(fine: Phantom) -> None:
    geometry = fine.volume.geometry
    for k, nodule in enumerate(fine.nodules, start=1):
        mask = fine.nodule_labels == k
        assert mask.sum() * geometry.voxel_mm3 == pytest.approx(nodule.volume_mm3, rel=0.12, abs=15)
        center = geometry.lps_mm_from_zyx(np.argwhere(mask).mean(axis=0))
        assert np.linalg.norm(center - nodule.center_lps_mm) < 0.7
        widths = [np.argwhere(plane) for plane in mask if plane.any()]
        across = max(np.ptp(yx, axis=0).mean() + 1 for yx in widths)
        assert across == pytest.approx(nodule.diameter_mm, abs=1.6)
        assert fine.volume.hu[mask].mean() > -400


def test_balls_have_the_diameter_that_was_asked_for(fine: Phantom) -> None:
    balls = fine.nodules[:6]
    assert [n.diameter_mm for n in balls] == pytest.approx([4, 6, 8, 12, 16, 20], abs=0.25)
    for n in balls:
        assert n.volume_mm3 == pytest.approx(np.pi / 6 * n.diameter_mm**3, rel=0.06)
    assert fine.nodules[6].diameter_mm == pytest.approx(10, abs=0.3)


def test_a_nodule_on_the_pleura_is_measured_inside_the_lung(fine: Phantom) -> None:
    pleural = fine.nodules[7]
    assert pleural.place == "pleural"
    assert 4 < pleural.diameter_mm <= 9.3
    touching = fine.lung_labels[_around(fine, pleural.center_lps_mm, 6)]
    assert (touching == 0).any()


def _around(phantom: Phantom, lps_mm: tuple[float, float, float], mm: float) -> tuple[slice, ...]:
    geometry = phantom.volume.geometry
    at = geometry.zyx_from_lps_mm(lps_mm)
    return tuple(slice(int(c - mm / s), int(c + mm / s) + 1) for c, s in zip(at, geometry.spacing_zyx, strict=True))


@pytest.mark.parametrize("margin", ["smooth", "lobulated", "spiculated"])
def test_drawn_forms_are_as_wide_as_wished(margin: str) -> None:
    rng = np.random.default_rng(0)
    shape = draw_shape(rng, complete(rng, NoduleSpec(12.0, "solid", margin, "alone")))  # type: ignore[arg-type]
    diameter, _ = measure(*sample(shape, lambda x, y, z: np.full_like(x, -1e3)))
    assert diameter == pytest.approx(12, abs=0.4)


def test_measure_knows_a_box() -> None:
    mask = np.zeros((5, 30, 30), dtype=bool)
    mask[2, 5:25, 10:14] = True
    diameter, volume = measure(mask, 0.5)
    assert diameter == pytest.approx((np.hypot(20, 4) + 6) / 4, abs=1.2)
    assert volume == 80 * 0.125


def test_risk_rises_with_size_and_spicules_and_falls_with_calcium() -> None:
    spec = NoduleSpec(10.0, "solid", "smooth", "alone")
    assert risk(spec, 20, False) > risk(spec, 10, False) > risk(spec, 5, False)
    assert risk(NoduleSpec(10.0, "solid", "spiculated", "alone"), 10, False) > risk(spec, 10, False)
    assert risk(NoduleSpec(10.0, "calcified", "smooth", "alone"), 10, False) < 0.1


def test_dicom_round_trip_through_simpleitk(small: Phantom, tmp_path: Path) -> None:
    import SimpleITK as sitk

    files = write_dicom_series(small.volume, tmp_path / "series", patient_name="PHANTOM^SEED-3", kernel="B31")
    assert len(files) == len(small.volume.hu)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series"), small.volume.series.uid))
    image = reader.Execute()
    assert np.array_equal(sitk.GetArrayFromImage(image), small.volume.hu)
    assert image.GetSpacing()[::-1] == pytest.approx(small.volume.geometry.spacing_zyx, abs=1e-6)
    assert image.GetOrigin() == pytest.approx(small.volume.geometry.origin_lps_mm, abs=1e-3)


def test_dicom_is_a_valid_ct_image_with_the_uids_of_the_volume(small: Phantom, tmp_path: Path) -> None:
    import pydicom

    files = write_dicom_series(small.volume, tmp_path, patient_name="PHANTOM^SEED-3")
    first = pydicom.dcmread(files[0])
    assert first.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert first.SOPClassUID == pydicom.uid.CTImageStorage
    assert first.SeriesInstanceUID == small.volume.series.uid
    assert first.SOPInstanceUID == small.volume.series.slices[0].sop_instance_uid
    assert (first.InstanceNumber, first.RescaleIntercept, first.PatientName) == (1, -1024, "PHANTOM^SEED-3")
    assert len({pydicom.dcmread(f, specific_tags=["SOPInstanceUID"]).SOPInstanceUID for f in files}) == len(files)


def test_truth_table_has_the_columns_of_luna16(small: Phantom, tmp_path: Path) -> None:
    write_truth_csv(small, tmp_path / "truth.csv")
    rows = list(csv.DictReader((tmp_path / "truth.csv").open()))
    assert list(rows[0])[:5] == ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    assert len(rows) == len(small.nodules)
    for row, nodule in zip(rows, small.nodules, strict=True):
        assert [float(row[c]) for c in ("coordX", "coordY", "coordZ")] == pytest.approx(nodule.center_lps_mm, abs=1e-3)
        assert row["malignant"] == str(int(nodule.malignant))
