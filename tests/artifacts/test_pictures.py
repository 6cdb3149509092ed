"""Pictures show the patient the way a radiologist expects, however the scan was stored; markdown keeps values text."""

from __future__ import annotations

import io
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from artifacts.artifact import Preview
from artifacts.drawing import OUTLINE, Frame, Picture, grey, montage
from artifacts.geometry import Geometry
from artifacts.pictures import Lungs, findings_headline, probability
from artifacts.planes import PLANES, Cut
from artifacts.preview_markdown import preview_markdown
from tests.artifacts.small_scans import ball, chest, crops_and_scores, grid, nothing_found

orders = st.sampled_from(list(permutations((0, 1, 2))))
signs = st.sampled_from(list(product((1, -1), repeat=3)))
ANY_MACHINE = settings(max_examples=50, deadline=None)
SHAPE, SPACING = (40, 36, 20), (1.5, 2.0, 5.0)  # along the patient's x, y, z


# -- orientation ----------------------------------------------------------------------------------------------------------


@ANY_MACHINE
@given(orders, signs)
def test_right_is_left_front_is_up_and_head_is_up_however_the_grid_is_stored(order, signs):
    g = grid(SHAPE, SPACING, order, signs)
    marker = (-15.0, -18.0, 25.0)  # to the patient's right, front and head
    array = ball(g, marker, 7.0).astype(np.uint8)
    at = g.zyx_from_lps_mm(marker)
    up_and_left = {}
    for plane in PLANES:
        seen = Cut.through(g, plane, at).of(array)
        rows, columns = np.nonzero(seen)
        up_and_left[plane] = (rows.mean() < (seen.shape[0] - 1) / 2, columns.mean() < (seen.shape[1] - 1) / 2)
    assert up_and_left == {"axial": (True, True), "coronal": (True, True), "sagittal": (True, True)}


@ANY_MACHINE
@given(orders, signs)
def test_the_letters_say_what_lies_where(order, signs):
    g = grid(SHAPE, SPACING, order, signs)
    for plane, letters in {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}.items():
        assert Cut.at_share(g, plane, 0.5).edges == letters


@ANY_MACHINE
@given(orders, signs)
def test_a_cut_does_not_depend_on_how_the_grid_is_stored(order, signs):
    inside = (np.random.default_rng(1).normal(size=3) * 5).tolist()
    pictures = []
    for g in (grid(SHAPE, SPACING), grid(SHAPE, SPACING, order, signs)):
        zyx = np.stack(np.meshgrid(*(np.arange(n) for n in g.shape_zyx), indexing="ij"), axis=-1)
        field = (g.lps_mm_from_zyx(zyx) @ (1.0, 10.0, 100.0)).round(3)  # every place its own value
        pictures.append([Cut.through(g, plane, g.zyx_from_lps_mm(inside)).of(field) for plane in PLANES])
    for usual, other in zip(*pictures, strict=True):
        np.testing.assert_array_equal(usual, other)


@ANY_MACHINE
@given(orders, signs)
def test_a_ball_is_drawn_round_and_where_the_frame_says(order, signs):
    g = grid((48, 48, 24), (1.2, 1.2, 3.0), order, signs)
    center = (6.0, -7.2, 4.5)
    hu = np.where(ball(g, center, 12.0), 100, -900).astype(np.int16)
    for plane in PLANES:
        frame = Frame.whole(Cut.through(g, plane, g.zyx_from_lps_mm(center)), 3.0)
        bright = np.asarray(Picture(hu, frame).image)[..., 0] > 128
        rows, columns = np.nonzero(bright)
        x, y = frame.pixel(g.zyx_from_lps_mm(center))
        assert np.ptp(columns) == pytest.approx(np.ptp(rows), abs=3 * 3.0)  # a voxel at each end
        assert columns.mean() == pytest.approx(x, abs=3)
        assert rows.mean() == pytest.approx(y, abs=5)


def test_shares_run_from_right_front_and_feet():
    g = grid(SHAPE, SPACING, (0, 2, 1), (-1, 1, -1))
    for plane, axis in {"sagittal": 0, "coronal": 1, "axial": 2}.items():
        low, high = (Cut.at_share(g, plane, s) for s in (0.0, 1.0))
        stands_on = g.patient_axes[axis][0]
        places = []
        for cut in (low, high):
            zyx = np.zeros(3)
            zyx[stands_on] = cut.array_index
            places.append(g.lps_mm_from_zyx(zyx)[axis])
        assert places[0] < places[1]


@ANY_MACHINE
@given(orders, signs)
def test_the_lungs_are_found_and_framed(order, signs):
    g = grid((70, 60, 40), (3.0, 3.5, 5.0), order, signs)
    mask = ball(g, (-45, 0, 0), 38) | ball(g, (45, 0, 0), 38)
    lungs = Lungs(mask.astype(np.uint8), g)
    for plane, share in product(PLANES, (0.2, 0.8)):
        cut = lungs.cut(plane, share)
        frame = lungs.frame(cut, 1.0)
        rows, columns = np.nonzero(cut.of(mask))
        assert frame.top <= rows.min()
        assert rows.max() < frame.bottom
        assert frame.left <= columns.min()
        assert columns.max() < frame.right


# -- drawing --------------------------------------------------------------------------------------------------------------


def test_the_window_maps_its_ends_to_black_and_white():
    assert grey(np.array([-3024, -1350, -600, 150, 3071]), (-600, 1500)).tolist() == [0, 0, 127, 255, 255]


def test_a_contour_runs_along_the_border_and_leaves_the_inside_alone():
    g = grid((60, 60, 9), (1.0, 1.0, 1.0))
    inside = ball(g, (0, 0, 0), 15)
    cut = Cut.at_share(g, "axial", 0.5)
    picture = Picture(np.full(g.shape_zyx, -1024, dtype=np.int16), Frame.whole(cut, 4.0)).contour(inside)
    y, x = np.nonzero((np.asarray(picture.image) > 100).any(axis=-1))
    radius_mm = np.hypot(x + 0.5 - 120, y + 0.5 - 120) / 4
    assert len(radius_mm) > 300
    assert radius_mm.min() > 13
    assert radius_mm.max() < 17
    assert (np.asarray(picture.image)[120, 120] == np.asarray(picture.image)[2, 2]).all()


def test_an_absent_label_draws_nothing():
    g = grid((20, 20, 5), (1.0, 1.0, 1.0))
    frame = Frame.whole(Cut.at_share(g, "axial", 0.5), 2.0)
    empty = np.zeros(g.shape_zyx, dtype=np.uint8)
    picture = Picture(np.zeros(g.shape_zyx, dtype=np.int16), frame)
    before = picture.image.tobytes()
    assert picture.contour(empty).contour(empty, 3).heat(empty).image.tobytes() == before


def test_heat_colours_only_what_is_hot():
    g = grid((30, 30, 5), (1.0, 1.0, 1.0))
    heat = np.zeros(g.shape_zyx, dtype=np.uint8)
    heat[:, :, :15] = 255
    image = np.asarray(
        Picture(np.full(g.shape_zyx, -600, np.int16), Frame.whole(Cut.at_share(g, "axial", 0.5), 2)).heat(heat).image
    )
    assert (image[:, 5, 0] > image[:, 5, 2] + 60).all()
    assert np.ptp(image[:, -5]) == 0


@pytest.mark.parametrize(
    "lps", [(0.0, 0.0, 0.0), (-29.0, -29.0, -20.0), (200.0, 0.0, 0.0)], ids=["inside", "corner", "far outside"]
)
def test_a_close_up_has_its_size_wherever_it_looks(lps):
    g = grid(SHAPE, SPACING)
    at = g.zyx_from_lps_mm(lps)
    frame = Frame.around(Cut.through(g, "coronal", at), at, 60.0, 150)
    picture = Picture(np.zeros(g.shape_zyx, dtype=np.int16), frame).ticks(at, OUTLINE).marks("text")
    assert picture.image.size == (150, 150)
    assert frame.pixel(at) == pytest.approx((75, 75))


def test_a_montage_keeps_every_picture_whole():
    images = [Image.new("RGB", size, (255, 0, 0)) for size in ((30, 10), (20, 20), (10, 40))]
    red = np.asarray(montage(images, 2))[..., 0] == 255
    assert red.sum() == sum(i.width * i.height for i in images)


# -- previews -------------------------------------------------------------------------------------------------------------


def previews(inputs: dict, crops: int) -> dict[str, Preview]:
    boxes, scores = crops_and_scores(crops)
    shown = {a.kind: a.preview(inputs) for name, a in inputs.items()}
    return shown | {"crops": boxes.preview({}), "scores": scores.preview({"crops": boxes})}


def check(preview: Preview) -> None:
    assert preview.headline
    assert "\n" not in preview.headline
    for rows in preview.tables.values():
        assert all(type(v) in (str, int, float, type(None)) for row in rows for v in row.values())
    assert sum(map(len, preview.pictures.values())) < 600_000
    for body in preview.pictures.values():
        image = Image.open(io.BytesIO(body))
        assert min(image.size) > 20
        assert not image.getexif()


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 1, 2)])
def test_every_artifact_shows_itself(order):
    inputs = chest(grid((70, 60, 40), (3.0, 3.5, 5.0), order, (1, -1, -1)))
    shown = previews(inputs, 40)
    assert len(shown) == 7
    for preview in shown.values():
        check(preview)
        assert preview.tables
        assert preview.pictures
    assert shown["findings"].headline == "3 findings; the most suspicious: 18 mm, right, malignant p 0.93"


def test_every_artifact_shows_that_nothing_was_found():
    shown = previews(nothing_found(chest(grid((70, 60, 40), (3.0, 3.5, 5.0)))), 0)
    for preview in shown.values():
        check(preview)
        assert len(preview_markdown(preview).encode()) < 900_000
    assert shown["findings"].headline == "no nodule found"
    assert shown["findings"].pictures
    assert shown["lumps"].pictures


def test_an_empty_lung_mask_and_a_single_slice_can_be_shown():
    g = Geometry((1, 20, 20), (5.0, 10.0, 10.0), (0.0, 0.0, 0.0))
    inputs = nothing_found(chest(g))
    inputs["lung_mask"].labels[:] = 0
    for artifact in inputs.values():
        check(artifact.preview(inputs))


def test_long_lists_are_cut_and_say_so():
    crops, scores = crops_and_scores(400)
    titles = [*scores.preview({"crops": crops}).tables, *crops.preview({}).pictures]
    assert any("first 25 of 320" in t for t in titles)
    assert any("first 24 of 400" in t for t in titles)


def test_no_probability_is_rounded_to_certainty():
    assert [probability(p) for p in (1.0, 0.9999, 0.994, 0.5, 0.004, 0.0, None, float("nan"))] == [
        *("> 0.99", "> 0.99", "0.99", "0.50", "< 0.01", "< 0.01", "–", "–")
    ]
    assert findings_headline([]) == "No nodule found"


# -- markdown -------------------------------------------------------------------------------------------------------------

HOSTILE = "a|b <script>alert(1)</script> <img src=x onerror=alert(1)> `c` **d** [e](http://x.y) \\| www.x.y _f_ \n# g"


def rendered(preview: Preview) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(preview_markdown(preview))


def test_values_stay_text_in_markdown():
    page = rendered(Preview(HOSTILE, {HOSTILE: [{HOSTILE: HOSTILE, "n": 1}, {HOSTILE: HOSTILE, "n": 2}]}, {HOSTILE: b"\x89PNG"}))
    assert "<script" not in page
    assert "<code" not in page
    assert "<a " not in page
    assert "<h1" not in page
    assert page.count("<img") == 1
    assert page.count("<td") == 4
    assert page.count("<th") - page.count("<thead") == 2
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


@ANY_MACHINE
@given(st.text(max_size=60))
def test_any_text_is_shown_as_it_is(text):
    page = rendered(Preview("h", {"t": [{"name": text, "more": 1}]}))
    cell = page.split("<td")[1].split(">", 1)[1].split("</td>")[0]
    shown = " ".join(text.split()) or "–"
    import html

    assert html.unescape(cell).strip() == shown.replace("\0", "�").strip()


def test_numpy_numbers_and_missing_values_are_plain():
    text = preview_markdown(Preview("h", {"t": [{"a": np.float32(0.25), "b": np.int64(3), "c": None}, {"a": 12345.678}]}))
    assert "| 0.25 | 3 | – |" in text
    assert "| 12346 | – | – |" in text


def test_markdown_stays_below_the_limit_and_says_what_it_left_out():
    rng = np.random.default_rng(0)
    pictures = {}
    for i in range(4):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)).save(stream, "PNG")
        pictures[f"picture {i}"] = stream.getvalue()
    preview = Preview("h", {"t": [{"a": "x" * 200, "b": i} for i in range(5000)]}, pictures)
    for limit in (900_000, 200_000, 60_000, 5_000):
        text = preview_markdown(preview, limit)
        assert len(text.encode()) <= limit
        assert text.count("![picture") == 4 or "would not fit" in text
        assert "more rows" in text
    assert preview_markdown(preview).count("![picture") == 4


# -- a real scan ----------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_on_a_real_scan_the_lesion_lies_where_the_ticks_point(data_dir: Path):
    import SimpleITK as sitk

    folder = data_dir / "ct" / "cptac-c3n-00247"
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    hu = sitk.GetArrayViewFromImage(image).astype(np.int16)
    g = Geometry(hu.shape, image.GetSpacing()[::-1], image.GetOrigin())
    lesion = g.zyx_from_lps_mm((-83.4, -192.4, -195.0))
    for plane in PLANES:
        cut = Cut.through(g, plane, lesion)
        whole, close = Frame.whole(cut, 1.0), Frame.around(cut, lesion, 60.0, 240)
        picture = np.asarray(Picture(hu, close).image)[..., 0].astype(float)
        assert picture[110:130, 110:130].mean() > 230  # white, in the middle of the close-up
        x, _ = whole.pixel(lesion)
        if plane != "sagittal":
            assert x < whole.size[0] / 2  # in the right lung: left in the picture
    axial = Picture(hu, Frame.around(Cut.through(g, "axial", lesion), lesion, 60.0, 240))
    assert np.asarray(axial.image)[:60, :, 0].mean() < 180  # lung in front of it
