"""A network run on boxes gives what it gives on the whole image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.nets.boxed import BoxedUNet2d, margins
from tasks.nets.boxes import Box
from tests.tasks.nets.made import made_network

FIELD = (64, 72)


def network(depth=3):
    return made_network("segmenter", "unet2d", in_channels=3, width=4, depth=depth).module


def image(seed=0):
    return torch.randn(2, 3, *FIELD, generator=torch.Generator().manual_seed(seed)) * 500


def boxes(step):
    def pair(n):
        return st.lists(st.integers(0, n // step), min_size=2, max_size=2, unique=True).map(sorted)

    return st.tuples(pair(FIELD[0]), pair(FIELD[1])).map(lambda yx: Box(*(step * n for n in (*yx[0], *yx[1]))))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_any_box_is_the_whole_image_s_own_answer(depth):
    net, x = network(depth), image()
    boxed = BoxedUNet2d(net)
    assert boxed.step == 2 ** (depth - 1)
    with torch.inference_mode():
        whole = net(x)

        @given(boxes(boxed.step))
        @settings(max_examples=30, deadline=None)
        def check(box):
            got = boxed(box.grown(boxed.margin, FIELD).of(x), box, FIELD)
            torch.testing.assert_close(got, box.of(whole), rtol=0, atol=1e-4 * float(whole.std()))

        check()


def test_it_reads_no_more_than_its_margin_says_and_no_less():
    net = network()
    boxed = BoxedUNet2d(net)
    assert (boxed.margin, margins(3)) == (22, ([1, 0], [20, 8, 2]))
    x, box = image().requires_grad_(True), Box(28, 32, 32, 36)
    box.of(net(x)).sum().backward()
    _, _, rows, columns = x.grad.nonzero().unbind(1)
    assert (int(rows.min()), int(rows.max()) + 1) == (28 - 22, 32 + 22)
    assert (int(columns.min()), int(columns.max()) + 1) == (32 - 22, 36 + 22)


def test_bfloat16_stays_near():
    net, x, box = network(), image(), Box(0, 64, 0, 72)
    with torch.inference_mode():
        low = BoxedUNet2d(net, torch.bfloat16)(x, box, FIELD)
        assert low.dtype == torch.float32
        whole = net(x)
        assert (low - whole).abs().mean() < 0.05 * whole.std()


def test_the_network_itself_is_left_as_it_was():
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    BoxedUNet2d(net, torch.bfloat16)(image(), Box(0, 64, 0, 72), FIELD)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
