"""resnet3d: where it coarsens is a choice; what its defaults build is what shipped weights fit."""

import pytest
import torch

from artifacts.errors import WeightsError
from tasks.nets import build


def test_it_may_look_at_every_voxel_before_it_coarsens():
    x = torch.randn(2, 1, 16, 16, 16)
    fine = build("resnet3d", stem_channels=4, stem=3, widths=[6, 8], strides=[1, 2, 2])
    assert fine(x).shape == (2, 2)
    assert fine.stem(fine.input_norm(x)).shape == (2, 4, 16, 16, 16)
    assert build("resnet3d").stem(x).shape == (2, 16, 8, 8, 8)


def test_widths_and_strides_that_do_not_fit_are_one_line():
    with pytest.raises(WeightsError, match="resnet3d cannot be built"):
        build("resnet3d", widths=[6, 8], strides=[1, 2])
