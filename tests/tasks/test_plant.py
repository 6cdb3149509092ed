"""Planted nodules: where the truth says, as noisy as the scan, nothing else changed; on a phantom's lungs and on a real scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.lungmask import LungMask
from artifacts.volume import Volume
from tasks.load import load
from tasks.outline import outline
from tasks.phantom import NoduleSpec, make_phantom
from tasks.phantom.plant import blur_of, plant
from tasks.reading.find import find_series
from tasks.reading.read import read_scan

WISHED = [
    NoduleSpec(14.0, "solid", "smooth", "alone"),
    NoduleSpec(16.0, "ground-glass", "smooth", "alone"),
    NoduleSpec(16.0, "solid", "lobulated", "pleural"),
    NoduleSpec(14.0, "calcified", "smooth", "alone"),
]


@pytest.fixture(scope="module")
def field() -> tuple[Volume, LungMask]:
    """A phantom without nodules, its axes turned and flipped."""
    p = make_phantom(2, small=True, style="varied", nodules=0, mimics=0)
    return p.volume, LungMask(p.lung_labels, p.volume.geometry)


def check_truth(volume: Volume, lungs: LungMask, planted, rel: float) -> None:
    g = volume.geometry
    changed = planted.volume.hu != volume.hu
    near = np.zeros_like(changed)
    for k, n in enumerate(planted.nodules, start=1):
        mask = planted.labels == k
        assert mask.any()
        middle = g.lps_mm_from_zyx(np.argwhere(mask).mean(axis=0))
        assert np.linalg.norm(middle - n.center_lps_mm) < 0.35 * max(g.spacing_zyx) + 0.3
        assert mask.sum() * g.voxel_mm3 == pytest.approx(n.volume_mm3, rel=rel)
        assert (lungs.labels[mask] > 0).mean() > 0.8
        at = tuple(np.rint(g.zyx_from_lps_mm(n.center_lps_mm)).astype(int))
        assert planted.labels[at] == k
        lifted = planted.volume.hu[mask].mean() - volume.hu[mask].mean()
        assert lifted > (120 if n.kind in ("ground-glass", "part-solid") else 350)
        low, high = (np.argwhere(mask).min(axis=0) - 9, np.argwhere(mask).max(axis=0) + 10)
        near[tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))] = True
    assert not (changed & ~near).any(), "nothing changes but nodules and their rims"


def test_truth_lies_where_it_was_planted_in_any_orientation(field: tuple[Volume, LungMask]) -> None:
    volume, lungs = field
    before = volume.hu.copy()
    planted = plant(volume, lungs, 1, WISHED)
    assert [n.kind for n in planted.nodules] == [s.kind for s in WISHED]
    assert planted.nodules[0].diameter_mm == pytest.approx(14, abs=0.5)
    check_truth(volume, lungs, planted, rel=0.25)
    assert np.array_equal(volume.hu, before), "the scan itself is left alone"
    assert planted.volume.series.uid != volume.series.uid
    assert {s.sop_instance_uid for s in planted.volume.series.slices}.isdisjoint(s.sop_instance_uid for s in volume.series.slices)


def test_same_seed_same_scan(field: tuple[Volume, LungMask]) -> None:
    one, again, other = (plant(*field, seed, WISHED[:1]) for seed in (5, 5, 6))
    assert np.array_equal(one.volume.hu, again.volume.hu)
    assert one.nodules == again.nodules
    assert one.volume.series.uid == again.volume.series.uid != other.volume.series.uid


def test_what_is_there_already_is_kept_clear_of(field: tuple[Volume, LungMask]) -> None:
    volume, lungs = field
    free = plant(volume, lungs, 3, [NoduleSpec(8.0, "solid", "smooth", "alone")] * 3)
    center = free.nodules[0].center_lps_mm
    again = plant(volume, lungs, 3, [NoduleSpec(8.0, "solid", "smooth", "alone")] * 3, avoid=[(center, 20.0)])
    assert all(np.linalg.norm(np.subtract(n.center_lps_mm, center)) > 28 for n in again.nodules)
    gaps = [
        np.linalg.norm(np.subtract(a.center_lps_mm, b.center_lps_mm)) for a in free.nodules for b in free.nodules if a is not b
    ]
    assert min(gaps) > 12


def test_a_lung_without_room_takes_none(field: tuple[Volume, LungMask]) -> None:
    volume, lungs = field
    nothing = LungMask(np.zeros_like(lungs.labels), lungs.geometry)
    planted = plant(volume, nothing, 1, 3)
    assert planted.nodules == []
    assert np.array_equal(planted.volume.hu, volume.hu)


@pytest.mark.data
def test_planted_into_a_real_scan_noise_and_border_are_the_scans_own(data_dir: Path) -> None:
    from scipy.ndimage import binary_erosion, gaussian_filter

    (found, *_) = find_series(data_dir / "ct" / "acrin-nsclc-042")
    volume = load(read_scan(found))
    lungs = outline(volume)
    assert 0.5 < blur_of(volume, lungs) <= 0.9, "a soft kernel"
    planted = plant(volume, lungs, 4, [NoduleSpec(24.0, "solid", "smooth", "alone", (1, 1, 1)), *WISHED[:3]])
    assert len(planted.nodules) == 4
    check_truth(volume, lungs, planted, rel=0.15)

    def noise(hu: np.ndarray, where: np.ndarray) -> float:
        rest = hu.astype(np.float32) - gaussian_filter(hu.astype(np.float32), (0, 1.2, 1.2))
        return float(np.median(np.abs(rest[where])))

    inner = binary_erosion(planted.labels == 1, iterations=3)
    assert noise(planted.volume.hu, inner) == pytest.approx(noise(volume.hu, inner), rel=0.5)
    z, y, x = np.rint(volume.geometry.zyx_from_lps_mm(planted.nodules[0].center_lps_mm)).astype(int)
    lifted = (planted.volume.hu[z, y].astype(float) - volume.hu[z, y])[x : x + 20]
    lifted /= np.median(lifted[:6])
    border = np.count_nonzero((lifted > 0.1) & (lifted < 0.9)) * volume.geometry.spacing_zyx[2]
    assert 0.9 < border < 6, "neither cut out nor smeared"
