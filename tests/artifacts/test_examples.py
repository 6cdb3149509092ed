"""Examples and patches: what is written comes back, in both layouts; voxels stay on disk until they are asked for."""

import multiprocessing
import pickle

import numpy as np
import pytest

from artifacts.checkpoint import CropSpec
from artifacts.examples import COLUMNS, ORIGINS, Examples
from artifacts.patches import Patches
from artifacts.rows import Rows, read_ahead


def examples(n: int, layout: str = "hdf5", seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    return Examples(
        uid="1.2.3.4.5",
        patient="patient-0123",
        split="train",
        fold=3,
        spec=CropSpec(shape_zyx=(4, 6, 8), spacing_zyx_mm=(1.0, 1.0, 1.0)),
        spacing_zyx_mm=(1.0, 1.0, 1.0),
        hu=rng.integers(-1024, 3000, (n, 4, 6, 8)).astype(np.int16),
        label=label,
        malignant=np.where(label, rng.integers(-1, 2, n), -1),
        nodule=np.where(label, np.arange(n), -1),
        origin=np.where(label, 0, rng.integers(2, len(ORIGINS), n)),
        diameter_mm=np.where(label, 7.5, 0),
        rating=np.full(n, np.nan),
        risk=rng.random(n),
        centers_lps_mm=rng.normal(0, 100, (n, 3)),
        offset_zyx=np.tile([2, 3, 4], (n, 1)),
        layout=layout,  # type: ignore[arg-type]
    )


def patches(n: int, layout: str = "hdf5") -> Patches:
    rng = np.random.default_rng(n)
    return Patches(
        uid="1.2.3.4.5",
        patient="patient-0123",
        split="validation",
        fold=0,
        spacing_zyx_mm=(2.0, 0.7, 0.7),
        hu=rng.integers(-1024, 3000, (n, 3, 8, 8)).astype(np.int16),
        masks=rng.integers(0, 2, (n, 8, 8)).astype(np.uint8),
        ignore=np.zeros((n, 8, 8), np.uint8),
        nodule=np.arange(n) % 3 - 1,
        origin=np.arange(n) % 3,
        centers_lps_mm=rng.normal(0, 100, (n, 3)),
        layout=layout,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("layout", ["hdf5", "zarr"])
@pytest.mark.parametrize("n", [0, 1, 230])
@pytest.mark.parametrize("make", [examples, patches])
def test_what_is_written_comes_back(tmp_path, make, n, layout):
    made = make(n, layout)
    made.write(tmp_path)
    back = type(made).read(tmp_path)
    for name in vars(made):
        ours, want = getattr(back, name), getattr(made, name)
        if isinstance(want, np.ndarray):
            assert np.asarray(ours).dtype == want.dtype, name
            np.testing.assert_array_equal(np.asarray(ours), want, err_msg=name)
        else:
            assert ours == want, name


@pytest.mark.parametrize("layout", ["hdf5", "zarr"])
def test_voxels_stay_on_disk_and_are_indexed_like_an_array(tmp_path, layout):
    made = examples(130, layout)
    made.write(tmp_path)
    hu = Examples.read(tmp_path).hu
    assert isinstance(hu, Rows)
    assert (hu.shape, hu.dtype, len(hu), hu.nbytes) == (made.hu.shape, np.int16, 130, made.hu.nbytes)
    for index in (5, -1, np.int64(7), slice(3, 9), slice(None, None, 40), [120, 2, 2, -3], np.arange(130) % 7 == 0):
        np.testing.assert_array_equal(hu[index], made.hu[index])
    with pytest.raises(IndexError):
        hu[130]


def test_one_chunk_holds_one_crop_and_one_shard_a_hundred(tmp_path):
    import h5py
    import zarr

    examples(130).write(tmp_path)
    with h5py.File(tmp_path / "examples.h5") as f:
        assert f["hu"].chunks == (1, 4, 6, 8)
    examples(130, "zarr").write(tmp_path)
    hu = zarr.open_group(tmp_path / "examples.zarr", mode="r")["hu"]
    assert (hu.chunks, hu.shards) == ((1, 4, 6, 8), (100, 4, 6, 8))
    assert sum(p.is_file() for p in (tmp_path / "examples.zarr" / "hu").rglob("c/*/**/*")) == 2


def test_other_processes_read_the_same_rows(tmp_path):
    made = examples(20)
    made.write(tmp_path)
    hu = Examples.read(tmp_path).hu
    assert int(hu[3].sum()) == int(made.hu[3].sum())  # opened here before the fork
    assert len(pickle.dumps(hu)) < 1000
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(hu.__getitem__, range(20))[7].tobytes() == made.hu[7].tobytes()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("layout", ["hdf5", "zarr"])
def test_reading_ahead_gives_the_batches_in_order(tmp_path, workers, layout):
    made = examples(40, layout)
    made.write(tmp_path)
    batches = np.random.default_rng(0).integers(0, 40, (25, 6))
    for batch, got in zip(batches, read_ahead(Examples.read(tmp_path).hu, batches, workers), strict=True):
        np.testing.assert_array_equal(got, made.hu[batch])


def test_a_file_cut_short_is_an_error_and_not_other_voxels(tmp_path):
    examples(20).write(tmp_path)
    hu = Examples.read(tmp_path).hu
    hu[19]
    with (tmp_path / "examples.h5").open("r+b") as f:
        f.truncate(4000)
    with pytest.raises(OSError):  # noqa: PT011
        hu[19]


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    for seed in (0, 1):
        made = examples(5, seed=seed)
        made.write(tmp_path)
        np.testing.assert_array_equal(np.asarray(Examples.read(tmp_path).hu), made.hu)


def test_columns_of_another_length_are_refused():
    made = examples(5)
    with pytest.raises(ValueError, match="label has 4 rows, there are 5"):
        Examples(**vars(made) | {"label": made.label[:4]})


@pytest.mark.parametrize("n", [0, 60])
def test_the_preview_shows_nodules_and_everything_else(n):
    for made in (examples(n), patches(n)):
        seen = made.preview({})
        assert len(seen.pictures) == (2 if n else 0)
        assert sum(map(len, seen.pictures.values())) < 600_000
        assert str(n) in seen.headline
    assert sum(row["crops"] for row in examples(n).by_origin()) == n
    assert set(COLUMNS) <= set(vars(examples(n)))
