import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.nets.boxes import Box, cover

masks = st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(lambda shape: arrays(bool, shape, elements=st.booleans()))


@given(masks, st.sampled_from([1, 4, 8]), st.integers(0, 8), st.integers(0, 500))
def test_boxes_cover_the_mask_and_do_not_overlap(mask, cell, margin, overhead):
    seen = np.zeros(tuple(-(-n // cell) * cell for n in mask.shape), dtype=int)
    for box in cover(mask, cell, margin, overhead):
        assert all(n % cell == 0 for n in box)
        box.of(seen)[...] += 1
    assert seen.max(initial=0) <= 1
    assert (seen[: mask.shape[0], : mask.shape[1]][mask] == 1).all()


def test_nothing_is_covered_by_nothing():
    assert cover(np.zeros((20, 20), dtype=bool), 4, 2, 10) == []


def test_two_far_things_get_a_box_each_and_near_ones_share():
    mask = np.zeros((64, 64), dtype=bool)
    mask[8:16, 8:16] = mask[40:56, 48:56] = True
    assert sorted(cover(mask, 8, 2, 100)) == [Box(8, 16, 8, 16), Box(40, 56, 48, 56)]
    assert cover(mask, 8, 2, 10_000) == [Box(8, 56, 8, 56)]


def test_a_grown_box_ends_at_the_image():
    assert Box(2, 10, 20, 30).grown(4, (12, 64)) == Box(0, 12, 16, 34)
