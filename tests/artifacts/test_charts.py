"""Charts are pictures: PNG, 900 pixels wide, small, without pyplot's global state, and they show what they are given."""

from __future__ import annotations

import io
import math
import sys

import numpy as np
import pytest
from PIL import Image

from artifacts import charts
from artifacts.reliability import reliability_bins

RNG = np.random.default_rng(0)
ROWS = [{"epoch": i, "loss": math.exp(-i / 9), "recall": None if i % 7 == 0 else i / 40, "rate": math.nan} for i in range(40)]
RATES = [0.125, 1, 8]
P = RNG.random(4000)
CHARTS = {
    "curves": lambda: charts.curves(ROWS, ["loss", ["recall", "rate"], "absent"], "training"),
    "no row": lambda: charts.curves([], ["loss"]),
    "confusion": lambda: charts.confusion_matrix(RNG.integers(0, 999, (10, 10)), [f"class number {i}" for i in range(10)]),
    "rectangle": lambda: charts.confusion_matrix([[3, 1, 0, 9], [0, 0, 0, 0]], ["benign", "malignant"], ["a", "b", "c", "d"]),
    "reliability": lambda: charts.reliability(P, RNG.random(4000) < P),
    "no confidence": lambda: charts.reliability([], []),
    "roc": lambda: charts.roc({"network, AUC 0.9": ([0, 0.1, 1], [0, 0.8, 1]), "diameter": ([0, 1], [0, 1])}),
    "froc": lambda: charts.froc(
        {"this": ([0.125, 1, 8], [0.5, 0.8, 0.9], [0.4, 0.7, 0.8], [0.6, 0.9, 1]), "other": ([1, 8], [0, 1])}
    ),
    "histogram": lambda: charts.histogram({"a": RNG.normal(size=500), "b": [math.nan, 1, math.inf]}, log=True),
    "nothing": lambda: charts.histogram({}),
    "noise": lambda: charts.montage(RNG.integers(0, 255, (80, 64, 64), dtype=np.uint8), [f"caption {i}" * 9 for i in range(80)]),
    "colour": lambda: charts.montage([RNG.integers(0, 255, (32, 32, 3), dtype=np.uint8)] * 3),
    "no image": lambda: charts.montage([]),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_a_png_of_at_most_150_kb(name: str) -> None:
    png = CHARTS[name]()
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert len(png) <= 150_000
    assert image.width <= charts.WIDTH_PX


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert CHARTS["froc"]() == CHARTS["froc"]()


def test_pyplot_is_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it is an error now
    for draw in CHARTS.values():
        draw()


def test_a_montage_shows_its_images_in_order() -> None:
    image = Image.open(io.BytesIO(charts.montage([np.full((8, 8), v, dtype=np.uint8) for v in (0, 128, 255)], columns=3)))
    seen = np.asarray(image.convert("L"))
    middles = [seen[seen.shape[0] // 2, int(seen.shape[1] * x)] for x in (1 / 6, 0.5, 5 / 6)]
    np.testing.assert_allclose(middles, [0, 128, 255], atol=2)


def test_the_bins_of_a_perfectly_calibrated_classifier_have_no_gap_and_those_of_a_boaster_do() -> None:
    confidence = np.repeat([0.25, 0.75, 1.0], 100)
    honest = np.concatenate([np.arange(100) < n for n in (25, 75, 100)])
    assert reliability_bins(confidence, honest, 4).ece == pytest.approx(0)
    assert reliability_bins(np.ones(10), np.arange(10) < 6).ece == pytest.approx(0.4)
    assert reliability_bins([], []).ece == 0
    assert reliability_bins([0.0, 1.0], [0, 1], 5).count.tolist() == [1, 0, 0, 0, 1]
