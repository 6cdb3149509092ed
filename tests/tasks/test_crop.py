"""Crops hold the voxels around their candidates, whatever the border rule, spacing and layout."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.checkpoint import CropSpec
from artifacts.crops import Crops
from artifacts.lumps import Candidate, Lumps
from artifacts.volume import AIR_HU
from tasks.crop import CropParams, crop
from tests.tasks.nets.made import made_volume, noise

SHAPE = (40, 60, 70)


def lumps_at(volume, centers_zyx):
    lps = volume.geometry.lps_mm_from_zyx(np.reshape(centers_zyx, (-1, 3)))
    rows = zip(centers_zyx, lps, strict=True)
    return Lumps([], [Candidate(1, "center", tuple(c), tuple(p), 3.0, 0.9) for c, p in rows], volume.geometry)


def crops_of(volume, centers_zyx, layout="hdf5", **spec):
    return crop(volume, lumps_at(volume, centers_zyx), params=CropParams(spec=CropSpec(**spec), layout=layout))


def book_s_slices(center, size, extent):
    """The rule of *Deep Learning with PyTorch*, an axis at a time."""
    start = round(center - size / 2)
    end = start + size
    if start < 0:
        start, end = 0, size
    if end > extent:
        start, end = extent - size, extent
    return slice(start, end)


@given(st.tuples(st.floats(0, 39), st.floats(0, 59), st.floats(0, 69)), st.sampled_from([(8, 12, 12), (7, 9, 31), (40, 60, 70)]))
@settings(deadline=None)
def test_shifted_crops_are_the_book_s(center, size):
    volume = made_volume(noise(SHAPE))
    got = crops_of(volume, [center], shape_zyx=size)
    where = tuple(book_s_slices(*axis) for axis in zip(center, size, SHAPE, strict=True))
    assert np.array_equal(got.hu[0], volume.hu[where])
    inside = tuple(int(o) for o in got.offset_zyx[0])
    assert got.hu[0][inside] == volume.hu[tuple(round(c) for c in center)]


def test_padded_crops_are_air_outside_the_volume():
    volume = made_volume(noise(SHAPE))
    got = crops_of(volume, [(0, 30, 69)], shape_zyx=(8, 8, 8), border="pad")
    assert (got.hu[0, :4] == AIR_HU).all()
    assert (got.hu[0, :, :, 5:] == AIR_HU).all()
    assert np.array_equal(got.hu[0, 4:, :, :5], volume.hu[0:4, 26:34, 65:70])
    assert got.offset_zyx.tolist() == [[4, 4, 4]]


@pytest.mark.parametrize("border", ["shift", "pad"])
def test_a_volume_smaller_than_the_crop_is_filled_up_with_air(border):
    volume = made_volume(noise((5, 60, 70)))
    got = crops_of(volume, [(2, 30, 30)], shape_zyx=(16, 16, 16), border=border)
    held = (got.hu[0] != AIR_HU).any(axis=(1, 2))
    assert held.sum() == 5
    assert np.array_equal(got.hu[0][held], volume.hu[:, 22:38, 22:38])
    assert held[got.offset_zyx[0, 0]]


def test_a_candidate_outside_the_volume_gives_air():
    got = crops_of(made_volume(noise(SHAPE)), [(-50, 30, 30), (30, 200, 30)], shape_zyx=(8, 8, 8), border="pad")
    assert (got.hu == AIR_HU).all()


@pytest.mark.parametrize("border", ["shift", "pad"])
def test_at_the_scan_s_own_spacing_resampling_changes_nothing(border):
    volume = made_volume(noise(SHAPE), spacing_zyx=(2.5, 0.7, 0.7))
    centers = [(20, 30, 30), (0, 59, 69), (39, 0, 35)]
    plain = crops_of(volume, centers, shape_zyx=(8, 12, 12), border=border)
    again = crops_of(volume, centers, shape_zyx=(8, 12, 12), border=border, spacing_zyx_mm=(2.5, 0.7, 0.7))
    assert np.array_equal(plain.hu, again.hu)
    assert np.array_equal(plain.offset_zyx, again.offset_zyx)


@given(
    st.tuples(st.floats(8, 30), st.floats(20, 40), st.floats(20, 50)),
    st.tuples(*[st.floats(0.4, 2.0)] * 3),
)
@settings(deadline=None)
def test_resampling_keeps_a_gradient(center, spacing):
    """Linear interpolation of a linear field is that field: HU tell the position, to rounding."""
    z, y, x = np.indices(SHAPE)
    volume = made_volume((10 * z + 4 * y - 3 * x).astype(np.int16), spacing_zyx=(1.5, 0.8, 0.8))
    got = crops_of(volume, [center], shape_zyx=(8, 8, 8), spacing_zyx_mm=spacing)
    assert got.spacing_zyx_mm == spacing
    index = np.indices((8, 8, 8)).reshape(3, -1).T - got.offset_zyx[0]
    at = np.array(center) + index * np.array(spacing) / np.array((1.5, 0.8, 0.8))
    slack = np.abs(at - np.clip(at, 0, np.array(SHAPE) - 1)).max(axis=1) > 0
    off = np.abs(got.hu[0].ravel() - at @ (10, 4, -3))
    half_a_voxel = np.array(spacing) / np.array((1.5, 0.8, 0.8)) / 2 @ (10, 4, 3)
    assert off[~slack].max(initial=0) <= 0.51 + half_a_voxel


def test_resampled_crops_agree_with_scipy():
    from scipy.ndimage import map_coordinates

    volume = made_volume(noise(SHAPE), spacing_zyx=(2.5, 0.7, 0.8))
    center, size, spacing = (20.3, 30.7, 33.1), (12, 16, 16), (1.0, 1.0, 1.1)
    got = crops_of(volume, [center], shape_zyx=size, spacing_zyx_mm=spacing)
    zoom = np.array(spacing) / (2.5, 0.7, 0.8)
    grid = np.indices(size).reshape(3, -1) - (np.array(size) // 2)[:, None]
    want = map_coordinates(volume.hu.astype(float), np.array(center)[:, None] + grid * zoom[:, None], order=1)
    assert np.abs(got.hu[0].ravel() - want).max() <= 0.51


def test_no_candidates_give_no_crops(tmp_path):
    got = crops_of(made_volume(noise(SHAPE)), [], shape_zyx=(8, 8, 8))
    got.write(tmp_path)
    assert Crops.read(tmp_path).hu.shape == (0, 8, 8, 8)


@pytest.mark.parametrize("layout", ["hdf5", "zarr"])
def test_both_layouts_give_back_the_same_bytes(layout, tmp_path):
    got = crops_of(made_volume(noise(SHAPE)), [(20, 30, 30), (0, 0, 0)], layout=layout, shape_zyx=(8, 12, 12))
    got.write(tmp_path)
    back = Crops.read(tmp_path)
    assert back.layout == layout
    for name in ("hu", "centers_lps_mm", "offset_zyx"):
        assert np.array_equal(getattr(back, name), getattr(got, name))
        assert getattr(back, name).dtype == getattr(got, name).dtype
