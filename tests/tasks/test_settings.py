"""Settings as people type them: dotted names, lists and mappings as JSON, groups that keep their defaults, one clear line."""

from __future__ import annotations

import pytest

from artifacts.errors import UsageError
from tasks.cut import CutParams
from tasks.datasets.dataset import DatasetParams
from tasks.images.recipes import TrainParams
from tasks.settings import with_settings
from tasks.train_segmenter import TrainSegmenterParams


def test_groups_keep_what_is_not_said() -> None:
    params = with_settings(TrainSegmenterParams, {"loop.epochs": "3", "augmentation.noise": "5", "batch": "8"}, "train")
    assert isinstance(params, TrainSegmenterParams)
    assert (params.loop.epochs, params.augmentation.noise, params.batch) == (3, 5.0, 8)
    assert params.augmentation.shift == TrainSegmenterParams().augmentation.shift == 8


def test_lists_mappings_and_arguments_of_any_name() -> None:
    params = with_settings(
        TrainSegmenterParams, {"window_hu": "[-1200, 400]", "arguments.width": "24", "arguments.depth": "4"}, "train"
    )
    assert isinstance(params, TrainSegmenterParams)
    assert params.window_hu == (-1200.0, 400.0)
    assert params.arguments == {"width": 24, "depth": 4}


def test_splits_of_a_data_set() -> None:
    params = with_settings(DatasetParams, {"validation": "0.3", "test": "0"}, "dataset")
    assert isinstance(params, DatasetParams)
    assert (params.validation, params.test, params.folds) == (0.3, 0.0, 10)


@pytest.mark.parametrize("word", ["null", "none", "None", ""])
def test_what_may_be_none_is_cleared(word: str) -> None:
    params = with_settings(CutParams, {"spec.spacing_zyx_mm": word}, "cut")
    assert isinstance(params, CutParams)
    assert params.spec.spacing_zyx_mm is None
    assert params.spec.shape_zyx == CutParams().spec.shape_zyx


def test_a_choice_called_none_is_that_choice() -> None:
    assert with_settings(TrainParams, {"flip": "none", "ema": "none"}, "train") == TrainParams(flip="none", ema=None)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("epochs", "3", "train has no parameter 'epochs': it has loop, augmentation"),
        ("loop.epoch", "3", "train has no parameter 'loop.epoch': it has epochs"),
        ("batch.size", "3", "train has no parameters 'batch.size'"),
        ("loop.epochs", "none", r"train.loop.epochs: .*integer.* \(given 'none'\)"),
        ("loop.epochs", "0", "greater than or equal to 1"),
        ("loss", "hinge", "train.loss: .*'dice-ce', 'tversky-ce', 'book'"),
    ],
)
def test_what_is_wrong_is_one_line(name: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_settings(TrainSegmenterParams, {name: value}, "train")
