import subprocess
import sys

import pytest

from artifacts.errors import WeightsError
from tasks.nets import build, network
from tasks.nets.registry import architectures


def test_every_network_of_the_folder_is_found_by_its_name():
    assert set(architectures()) >= {"unet2d", "luna3d"}


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(WeightsError, match="unet2d"):
        build("unet3d")


def test_arguments_that_do_not_fit_are_a_clear_error():
    with pytest.raises(WeightsError, match="luna3d"):
        build("luna3d", crop_zyx=(8, 48, 48))
    with pytest.raises(WeightsError, match="unet2d"):
        build("unet2d", wings=2)


def test_two_networks_cannot_share_a_name():
    architectures()
    with pytest.raises(ValueError, match="unet2d"):
        network("unet2d")(lambda: None)


def test_stages_import_without_torch():
    program = (
        "import sys, tasks.segment, tasks.crop, tasks.classify, tasks.grade, tasks.import_weights; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "False"
