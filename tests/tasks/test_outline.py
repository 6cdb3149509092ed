"""The outline is both lungs, on their sides, with what sits on the pleura; a scan without lungs is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import ScanRefused
from artifacts.geometry import Geometry
from artifacts.volume import Series, Volume
from tasks.balls import close, dilate, erode
from tasks.outline import outline
from tasks.phantom import Phantom, make_phantom
from tests.tasks.scans import geometry_of, read_scan, slab, stored_otherwise, volume_otherwise


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(3, small=True)


def test_both_lungs_of_a_phantom_on_their_sides(phantom: Phantom) -> None:
    labels = outline(phantom.volume).labels
    for side in (1, 2):
        assert dice(labels == side, phantom.lung_labels == side) > 0.96


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        ((0, 1, 2), (True, False, False)),
        ((0, 1, 2), (False, True, True)),
        ((2, 0, 1), (True, False, True)),
        ((1, 2, 0), (False,) * 3),
    ],
)
def test_the_way_the_grid_is_stored_changes_nothing(phantom: Phantom, order, flips) -> None:
    volume = phantom.volume
    expected, _ = stored_otherwise(outline(volume).labels, volume.geometry, order, flips)
    assert np.array_equal(outline(volume_otherwise(volume, order, flips)).labels, expected)


@pytest.mark.parametrize("lost", [1, 2])
def test_one_lung_is_enough_and_keeps_its_side(phantom: Phantom, lost: int) -> None:
    hu = np.where(phantom.lung_labels == lost, np.int16(30), phantom.volume.hu)
    labels = outline(replace(phantom.volume, hu=hu)).labels
    assert dice(labels == 3 - lost, phantom.lung_labels == 3 - lost) > 0.96
    assert not (labels == lost).any()


@pytest.mark.parametrize(("side", "name"), [(1, "right"), (2, "left")])
def test_a_mass_in_place_of_lung_is_said(phantom: Phantom, side: int, name: str) -> None:
    """Soft tissue as wide as half a lung, open to the chest wall: the outline goes around it."""
    assert outline(phantom.volume).qc == []
    low, high = (np.argwhere(phantom.lung_labels == side).min(axis=0), np.argwhere(phantom.lung_labels == side).max(axis=0))
    (z0, y0, _), (height, depth, _) = low, high - low
    hu = phantom.volume.hu.copy()
    box = (slice(z0 + int(0.35 * height), z0 + int(0.75 * height)), slice(y0 + int(0.3 * depth), None))
    hu[box] = np.where(phantom.lung_labels[box] == side, 40, hu[box])
    (said,) = outline(replace(phantom.volume, hu=hu)).qc
    assert (said.code, said.severity) == ("uneven-lungs", "warning")
    assert f"the {name} lung has only" in said.message
    level = float(said.message.split(" z ")[1].split()[0])
    z = phantom.volume.geometry.lps_mm_from_zyx((z0 + 0.55 * height, 0, 0))[2]
    assert abs(level - z) < 0.25 * height * phantom.volume.geometry.spacing_zyx[0]


def test_lungs_that_touch_are_told_apart() -> None:
    z, y, x = np.ogrid[:60, :100, :120]
    body = ((y - 50) / 45) ** 2 + ((x - 60) / 55) ** 2 < 1
    lungs = [((z - 30) / 25) ** 2 + ((y - 50) / 28) ** 2 + ((x - c) / 22) ** 2 < 1 for c in (39, 81)]
    bridge = (abs(y - 35) < 2) & (abs(x - 60) < 12) & (abs(z - 30) < 6)
    hu = np.where(body & np.ones((60, 1, 1), bool), 40, -1000)
    hu[lungs[0] | lungs[1] | bridge] = -850
    geometry = Geometry(hu.shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    labels = outline(Volume(hu.astype(np.int16), geometry, Series("x"))).labels
    assert (labels[lungs[0]] == 1).mean() > 0.99
    assert (labels[lungs[1]] == 2).mean() > 0.99


def _filled(value: float, noise: float = 0.0, shape: tuple[int, int, int] = (60, 90, 90)) -> Volume:
    hu = np.random.default_rng(0).normal(value, noise, shape).astype(np.int16)
    return Volume(hu, Geometry(shape, (4.0, 4.0, 4.0), (0.0, 0.0, 0.0)), Series("x"))


@pytest.mark.parametrize(
    "volume",
    [
        _filled(-1000),
        _filled(-1024),
        _filled(0),
        _filled(-850),
        _filled(-1000, 30),
        _filled(-400, 400),
        _filled(40, 0, (1, 1, 1)),
    ],
    ids=["air", "padding", "zeros", "lung-like", "noisy air", "noise", "one voxel"],
)
def test_no_lungs_is_one_clear_refusal(volume: Volume) -> None:
    with pytest.raises(ScanRefused, match=r"^no (lungs|body) in this scan: .*give a CT of the chest$"):
        outline(volume)


def test_a_bowel_full_of_gas_is_no_lung() -> None:
    z, y, x = np.ogrid[:60, :100, :120]
    hu = np.where((((y - 50) / 45) ** 2 + ((x - 60) / 55) ** 2 < 1) & np.ones((60, 1, 1), bool), 40, -1000)
    hu[((z - 30) / 20) ** 2 + ((y - 50) / 16) ** 2 + ((x - 60) / 25) ** 2 < 1] = -1000
    with pytest.raises(ScanRefused):
        outline(Volume(hu.astype(np.int16), Geometry(hu.shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0)), Series("x")))


@pytest.mark.data
def test_cip_labels_are_met(data_dir: Path) -> None:
    import SimpleITK as sitk

    volume = read_scan(data_dir / "ct/cip-64/ct-64.nrrd")
    labels = outline(volume).labels
    thirds = sitk.ReadImage(str(data_dir / "ct/cip-64/lm-64.nrrd"))
    assert geometry_of(thirds).shape_zyx == labels.shape
    region = sitk.GetArrayFromImage(thirds) & 255  # 9..11 the left lung's thirds, 12..14 the right's; airways have none
    whole = sitk.GetArrayFromImage(sitk.ReadImage(str(data_dir / "ct/cip-64/wholeLung-64.nrrd"))) == 1
    assert dice(labels > 0, region > 0) > 0.97
    assert dice(labels > 0, whole) > 0.97
    assert dice(labels == 1, region >= 12) > 0.96
    assert dice(labels == 2, (region >= 9) & (region < 12)) > 0.96


GOLDEN_ML = {  # right, left; looked at slice by slice when they were taken
    "cptac-c3n-00247": (2676, 1908),
    "4d-lung-113": (1417, 858),
    "acrin-nsclc-042": (3025, 2886),
    "lidc-partial/LIDC-IDRI-0001": (489, 456),
    "lidc-partial/LIDC-IDRI-0003": (385, 426),
}


@pytest.mark.data
@pytest.mark.parametrize("name", GOLDEN_ML)
def test_real_lungs_come_out_whole(data_dir: Path, name: str) -> None:
    mask = outline(read_scan(data_dir / "ct" / name))
    assert (mask.volume_ml(1), mask.volume_ml(2)) == pytest.approx(GOLDEN_ML[name], rel=0.02)
    assert [q.code for q in mask.qc] == (["uneven-lungs"] if name == "4d-lung-113" else [])  # its mass takes half of one side


@pytest.mark.data
def test_the_lesion_on_the_diaphragm_lies_inside(data_dir: Path) -> None:
    volume = read_scan(data_dir / "ct/cptac-c3n-00247")
    labels = outline(volume).labels
    center = volume.geometry.zyx_from_lps_mm((-83.4, -192.4, -195.0))
    away = np.indices(labels.shape, sparse=True)
    squared = sum(((a - c) * d) ** 2 for a, c, d in zip(away, center, volume.geometry.spacing_zyx, strict=True))
    assert (labels[squared < 5**2] == 1).all()
    assert (labels[squared < 10**2] == 1).mean() > 0.9


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "low", "high"), [("acrin-nsclc-042", 0, 28), ("acrin-nsclc-042", 117, 135), ("4d-lung-113", 0, 28)]
)
def test_abdomen_and_neck_are_refused(data_dir: Path, name: str, low: int, high: int) -> None:
    with pytest.raises(ScanRefused, match="no lungs"):
        outline(slab(read_scan(data_dir / "ct" / name), low, high))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 9.0), st.tuples(*[st.floats(0.6, 4.0)] * 3))
def test_balls_are_euclidean(seed: int, radius: float, spacing: tuple[float, float, float]) -> None:
    from scipy.ndimage import distance_transform_edt

    mask = np.random.default_rng(seed).random((9, 12, 11)) < 0.02
    mask[4, 5, 5] = True
    away = distance_transform_edt(~mask, sampling=spacing)
    clear = abs(away - radius) > 0.01 * radius  # squared distances are counted in ten-thousandths of the squared radius
    assert np.array_equal(dilate(mask, spacing, radius)[clear], (away <= radius)[clear])
    assert np.array_equal(erode(~mask, spacing, radius), ~dilate(mask, spacing, radius))
    assert (close(mask, spacing, radius) >= mask).all()
