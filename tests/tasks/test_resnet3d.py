"""resnet3d: where it coarsens is a choice; what its defaults build is what shipped weights fit."""

import pytest
import torch

from artifacts.errors import WeightsError
from tasks.nets import build
from tasks.train_malignancy import hold_all_but


def test_it_may_look_at_every_voxel_before_it_coarsens():
    x = torch.randn(2, 1, 16, 16, 16)
    fine = build("resnet3d", stem_channels=4, stem=3, widths=[6, 8], strides=[1, 2, 2])
    assert fine(x).shape == (2, 2)
    assert fine.stem(fine.input_norm(x)).shape == (2, 4, 16, 16, 16)
    assert build("resnet3d").stem(x).shape == (2, 16, 8, 8, 8)


def test_widths_and_strides_that_do_not_fit_are_one_line():
    with pytest.raises(WeightsError, match="resnet3d cannot be built"):
        build("resnet3d", widths=[6, 8], strides=[1, 2])


def test_of_a_pair_the_surer_answers_for_each_crop():
    members = [{"widths": [4, 8], "strides": [2, 1, 2]}, {"stem_channels": 4, "stem": 3, "widths": [6, 8], "strides": [1, 2, 2]}]
    torch.manual_seed(0)
    pair = build("resnet3d-pair", members=members).eval()
    x = torch.randn(64, 1, 16, 16, 16)
    with torch.no_grad():
        ahead = [(member(x)[:, 1] - member(x)[:, 0]).median() for member in pair.members]
        pair.members[1].head.bias[1] += ahead[0] - ahead[1]
        alone = torch.stack([member(x).softmax(1)[:, 1] for member in pair.members])
        assert torch.allclose(pair(x).softmax(1)[:, 1], alone.amax(0))
    assert 0 < (alone[0] > alone[1]).sum() < 64, "each is the surer one of some"


def test_of_a_pair_the_mean_of_the_probabilities_is_the_answer():
    torch.manual_seed(0)
    pair = build("resnet3d-pair", members=[{"widths": [4, 8], "strides": [2, 1, 2]}] * 3, answer="mean").eval()
    x = torch.randn(16, 1, 16, 16, 16)
    with torch.no_grad():
        alone = torch.stack([member(x).softmax(1) for member in pair.members])
        assert torch.allclose(pair(x).softmax(1), alone.mean(0), atol=1e-6)
    assert alone.std(0).min() > 1e-4, "they differ"


@pytest.mark.parametrize(("tuned", "held"), [("all", 0), ("later", 1), ("last", 2)])
def test_of_a_pair_the_later_blocks_of_each_member_are_tuned(tuned, held):
    pair = build("resnet3d-pair", members=[{"widths": [4, 8, 8], "strides": [2, 1, 2, 2]}] * 2)
    hold_all_but(pair, tuned)
    for member in pair.members:
        stages = [{p.requires_grad for p in block.parameters()} for block in member.stages]
        assert stages == [{False}] * held + [{True}] * (3 - held)
        assert member.stem.weight.requires_grad == (tuned == "all")
        assert member.head.weight.requires_grad
