import torch

from tasks.nets import build


def test_gives_one_logit_a_pixel():
    assert build("unet2d", width=4).eval()(torch.zeros(2, 7, 32, 48)).shape == (2, 1, 32, 48)


def test_depth_and_width_are_arguments():
    net = build("unet2d", in_channels=3, classes=2, depth=4, width=4).eval()
    assert net(torch.zeros(1, 3, 16, 24)).shape == (1, 2, 16, 24)
    assert net.down_path[-1].block[0].out_channels == 32


def test_the_published_size():
    assert sum(p.numel() for p in build("unet2d").parameters()) == 118_271


def test_gradients_flow_to_every_weight():
    net = build("unet2d", width=4)
    net(torch.randn(2, 7, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
