"""Any orientation, oblique and flipped included, round-trips to < 1e-3 mm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.geometry import Geometry

finite = st.floats(-2000, 2000)
spacings = st.tuples(*[st.floats(0.1, 12)] * 3)
shapes = st.tuples(*[st.integers(1, 700)] * 3)
rotations = st.tuples(*[st.floats(-np.pi, np.pi)] * 3)
signs = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)


def oblique(angles, flips) -> tuple:
    """Three orthonormal directions: a rotation about each axis, then flips (so that left-handed grids occur too)."""
    a, b, c = angles
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return tuple(map(tuple, np.diag(flips) @ rx @ ry @ rz))


@given(shapes, spacings, st.tuples(finite, finite, finite), rotations, signs)
def test_any_orientation_round_trips(shape, spacing, origin, angles, flips):
    g = Geometry(shape, spacing, origin, oblique(angles, flips))
    corners = np.array([[0, 0, 0], shape, [shape[0], 0, shape[2]], [0.25, shape[1] / 3, 1.5]], dtype=float)
    back = g.zyx_from_lps_mm(g.lps_mm_from_zyx(corners))
    assert np.abs(g.lps_mm_from_zyx(back) - g.lps_mm_from_zyx(corners)).max() < 1e-3
    assert np.isclose(g.voxel_mm3, np.prod(spacing))
    assert Geometry.from_dict(g.to_dict()) == g


@given(spacings, rotations, signs)
def test_steps_along_the_axes_have_the_length_of_the_spacing(spacing, angles, flips):
    g = Geometry((5, 5, 5), spacing, (1.0, 2.0, 3.0), oblique(angles, flips))
    steps = g.lps_mm_from_zyx(np.eye(3)) - g.lps_mm_from_zyx(np.zeros(3))
    assert np.allclose(np.linalg.norm(steps, axis=1), spacing)


@given(st.permutations([0, 1, 2]), signs)
def test_patient_axes_find_permuted_and_flipped_axes(order, flips):
    directions = np.eye(3)[list(order)] * np.array(flips)[:, None]  # array axis k runs along patient axis order[k]
    g = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), tuple(map(tuple, directions)))
    for patient_axis, (array_axis, sign) in enumerate(g.patient_axes):
        assert order[array_axis] == patient_axis
        assert sign == flips[array_axis]


def test_dicom_axial_is_the_default():
    g = Geometry((10, 20, 30), (3.0, 0.7, 0.6), (-100.0, -150.0, 40.0))
    assert g.lps_mm_from_zyx([2, 5, 10]).tolist() == pytest.approx([-94.0, -146.5, 46.0])
    assert g.patient_axes == ((2, 1), (1, 1), (0, 1))


@pytest.mark.parametrize(
    "bad",
    [
        dict(spacing_zyx=(0.0, 1, 1)),
        dict(spacing_zyx=(-1.0, 1, 1)),
        dict(spacing_zyx=(np.nan, 1, 1)),
        dict(shape_zyx=(0, 1, 1)),
        dict(directions_zyx=((1, 0, 0), (1, 0, 0), (0, 0, 1))),
    ],
)
def test_impossible_grids_are_refused(bad):
    good = dict(shape_zyx=(2, 2, 2), spacing_zyx=(1.0, 1.0, 1.0), origin_lps_mm=(0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="a grid needs"):
        Geometry(**(good | bad))
