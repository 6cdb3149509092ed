import torch

from tasks.nets import build


def test_gives_two_logits_a_crop():
    assert build("luna3d")(torch.zeros(2, 1, 32, 48, 48)).shape == (2, 2)


def test_the_crop_decides_the_last_layer():
    net = build("luna3d", conv_channels=4, crop_zyx=(16, 32, 48))
    assert net.head_linear.in_features == 4 * 8 * 1 * 2 * 3
    assert net(torch.zeros(3, 1, 16, 32, 48)).shape == (3, 2)


def test_the_published_size():
    assert build("luna3d").head_linear.in_features == 1152


def test_it_is_the_book_s_block_written_another_way():
    block = build("luna3d").block2
    x = torch.randn(1, 8, 8, 8, 8)
    slow = torch.nn.functional.max_pool3d(block.conv2(block.conv1(x).relu()).relu(), 2)
    assert torch.equal(block(x), slow)


def test_gradients_flow_to_every_weight():
    net = build("luna3d", conv_channels=2, crop_zyx=(16, 16, 16))
    net(torch.randn(4, 1, 16, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
