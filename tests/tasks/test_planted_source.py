"""Training on real scans with planted nodules: what was there before is neither nodule nor none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.geometry import Geometry
from tasks.balls import filled
from tasks.phantom_examples import PhantomExamplesParams, phantom_examples
from tasks.phantom_patches import PhantomPatchesParams, phantom_patches
from tasks.training.candidates import DOUBT_MM
from tasks.training.planted import PlantedSource, doubtful_in, read_soil
from tests.conftest import ROOT

pytestmark = pytest.mark.data


def test_balls_are_filled_on_any_grid() -> None:
    geometry = Geometry((20, 30, 40), (2.0, 1.0, 1.0), (-20.0, 15.0, 5.0), ((0, 0, 1), (0, -1, 0), (1, 0, 0)))
    mask = filled(geometry, [((0.0, 0.0, 25.0), 6.0)])
    away = np.linalg.norm(geometry.lps_mm_from_zyx(np.argwhere(mask)) - [0.0, 0.0, 25.0], axis=1)
    assert away.max() <= 6.0
    assert mask.sum() * geometry.voxel_mm3 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)


@pytest.mark.slow
def test_what_a_real_scan_holds_already_is_never_shown_as_none(data_dir: Path) -> None:
    path = data_dir / "ct" / "acrin-nsclc-042"
    doubtful = doubtful_in(ROOT / "weights" / "doubtful.csv", read_soil(path)[1].series.uid)
    assert len(doubtful) == 3
    source = PlantedSource(path, 7, doubtful)
    assert source.digest != PlantedSource(path, 8, doubtful).digest
    assert str(path) not in source.uid
    examples = phantom_examples(source, params=PhantomExamplesParams(bright=10.0))
    for center, radius in doubtful:
        assert np.linalg.norm(examples.centers_lps_mm - np.array(center), axis=1).min() > radius + DOUBT_MM
    patches = phantom_patches(source, params=PhantomPatchesParams(bright=10.0))
    assert patches.ignore.any()
    assert not (patches.ignore & patches.masks).any()
    assert len(source.phantom.nodules) >= 10
