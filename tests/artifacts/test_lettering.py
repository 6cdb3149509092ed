"""Names in any script are legible in pictures: in an installed font that has their letters, else as their numbers."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from matplotlib import get_data_path
from PIL import Image

from artifacts import charts, drawing, image_pictures, lettering

CMR10 = f"{get_data_path()}/fonts/ttf/cmr10.ttf"  # knows little but Latin
NAMES = ["кошка", "猫", "$\\frac$", "a\nb", "\udce9t\u00e9"]


@pytest.fixture
def only_dejavu(monkeypatch):
    use(monkeypatch, lettering.dejavu())


def use(monkeypatch, *files):
    lettering.font_of.cache_clear()
    monkeypatch.setattr(lettering, "fonts", lambda: files)


@pytest.fixture(autouse=True)
def forget():
    yield
    lettering.font_of.cache_clear()


def test_what_no_font_has_is_written_as_its_number(only_dejavu):
    assert [lettering.legible(n) for n in NAMES] == ["кошка", r"\u732b", r"$\frac$", r"a\u000ab", "\\udce9té"]
    assert lettering.legible("\U0001f9e0") == r"\U0001f9e0"


def test_the_first_font_with_all_letters_is_taken_else_the_best(monkeypatch):
    use(monkeypatch, CMR10, lettering.dejavu())
    assert lettering.font_of("cat") == CMR10
    assert lettering.font_of("кошка") == lettering.dejavu()
    assert lettering.font_of("кошка 猫") == lettering.dejavu()
    assert lettering.legible("кошка 猫") == r"кошка \u732b"


def test_fonts_of_this_machine_begin_with_the_one_that_is_always_there():
    assert lettering.fonts()[0] == lettering.dejavu()
    assert ord("ж") in lettering.letters(lettering.dejavu())
    assert lettering.letters("/nowhere.ttf") == frozenset()
    assert lettering.legible("\ufdd0") == r"\ufdd0", "nobody has a letter for what is none; a font of boxes claims to"
    assert lettering.legible("\U000f1234") == r"\U000f1234"


def test_charts_and_pictures_take_any_name(only_dejavu):
    tile = np.zeros((20, 20), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that is missing
        for png in (
            charts.confusion_matrix(np.eye(len(NAMES)), NAMES),
            charts.curves([dict.fromkeys(NAMES, 0.5)] * 2, [NAMES]),
            charts.montage([tile] * len(NAMES), NAMES),
        ):
            assert Image.open(io.BytesIO(png)).width > 0
    assert image_pictures.named("猫" * 30).size == image_pictures.named("cat").size
    assert drawing.font_for("кошка", 12).path == lettering.dejavu()


def test_a_name_is_cut_after_its_letters_are_written_out(only_dejavu):
    assert image_pictures.shortened("猫" * 30, 16) == r"\u732b\u732b\u7" + "…"
