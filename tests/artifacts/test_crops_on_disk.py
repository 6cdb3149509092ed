"""Crops: the two layouts give the same bytes; a full disk is an error, not the end of the process."""

import subprocess
import sys

import numpy as np
import pytest

from artifacts.crops import Crops


@pytest.mark.parametrize("n", [0, 1, 7])
def test_hdf5_and_zarr_give_the_same_bytes(tmp_path, n):
    hu = np.random.default_rng(n).integers(-1024, 3000, (n, 4, 6, 8)).astype(np.int16)
    centers, offset = np.arange(3.0 * n).reshape(n, 3), np.arange(3 * n, dtype=np.int32).reshape(n, 3)
    for layout in ("hdf5", "zarr"):
        (tmp_path / layout).mkdir()
        Crops(hu, centers, offset, (1.0, 0.7, 0.7), layout).write(tmp_path / layout)
        back = Crops.read(tmp_path / layout)
        for ours, want in ((back.hu, hu), (back.centers_lps_mm, centers), (back.offset_zyx, offset)):
            assert ours.dtype == want.dtype
            assert ours.tobytes() == want.tobytes()


def test_one_chunk_holds_one_crop(tmp_path):
    import h5py

    Crops(np.zeros((5, 4, 6, 8), np.int16), np.zeros((5, 3)), np.zeros((5, 3), np.int32), (1.0, 1.0, 1.0)).write(tmp_path)
    with h5py.File(tmp_path / "crops.h5") as f:
        assert f["hu"].chunks == (1, 4, 6, 8)


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from artifacts.crops import Crops
crops = Crops(np.zeros((50, 16, 16, 16), np.int16), np.zeros((50, 3)), np.zeros((50, 3), np.int32), (1.0, 1.0, 1.0))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    crops.write(Path(sys.argv[1]))
except OSError as e:
    print("refused", e.errno)
"""


def test_a_disk_that_fills_up_is_an_error_and_not_the_end_of_the_process(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused")
