"""The label map lies on the scan: another reader finds every voxel at the same place in the patient."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.geometry import Geometry
from artifacts.nifti import label_map
from tests.artifacts.small_scans import grid

angles = st.floats(-3.1, 3.1)


def rotation(a: float, b: float, c: float) -> np.ndarray:
    def about(axis: int, angle: float) -> np.ndarray:
        matrix, (i, j) = np.eye(3), [k for k in range(3) if k != axis]
        matrix[i, i] = matrix[j, j] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        return matrix

    return about(0, a) @ about(1, b) @ about(2, c)


def read_back(folder: Path, body: bytes):
    import SimpleITK as sitk

    path = folder / "labels.nii.gz"
    path.write_bytes(body)
    return sitk.ReadImage(str(path))


def check(folder: Path, labels: np.ndarray, geometry: Geometry) -> None:
    import SimpleITK as sitk

    image = read_back(folder, label_map(labels, geometry))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    assert image.GetSpacing() == pytest.approx(geometry.spacing_zyx[::-1], rel=1e-6)
    for zyx in product(*((0, n - 1) for n in geometry.shape_zyx)):
        there = image.TransformIndexToPhysicalPoint([int(i) for i in zyx[::-1]])
        np.testing.assert_allclose(there, geometry.lps_mm_from_zyx(zyx), atol=1e-3)


@pytest.mark.parametrize("order", list(permutations((0, 1, 2))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_flipped_and_turned_grids_come_back(tmp_path, order, signs):
    geometry = grid((7, 6, 5), (0.7, 0.8, 2.5), order, signs)
    labels = np.random.default_rng(0).integers(0, 4, geometry.shape_zyx).astype(np.uint16)
    check(tmp_path, labels, geometry)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(angles, angles, angles, st.booleans())
def test_oblique_grids_come_back(tmp_path, a, b, c, mirrored):
    directions = rotation(a, b, c) * ([[-1.0], [1.0], [1.0]] if mirrored else [[1.0], [1.0], [1.0]])
    geometry = Geometry((5, 6, 7), (2.5, 0.6836, 0.6836), (-171.3, 84.25, -312.8), tuple(map(tuple, directions.tolist())))
    check(tmp_path, np.arange(210).reshape(5, 6, 7).astype(np.uint16), geometry)


def test_more_than_255_findings_are_told_apart(tmp_path):
    geometry = Geometry((2, 3, 300), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    check(tmp_path, np.arange(1800).reshape(2, 3, 300).astype(np.uint16), geometry)


def test_the_same_labels_give_the_same_bytes():
    geometry = Geometry((3, 4, 5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    labels = np.ones((3, 4, 5), dtype=np.uint16)
    assert label_map(labels, geometry) == label_map(labels, geometry)
