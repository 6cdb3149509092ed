"""The heat map is the network's own answer inside the lungs, however little of the slices was computed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from artifacts.checkpoint import InputSpec, read_checkpoint
from artifacts.errors import WeightsError
from artifacts.geometry import Geometry
from artifacts.lungmask import LungMask
from artifacts.volume import Series, Volume
from tasks.nets import load_network
from tasks.nets.network import windowed
from tasks.segment import segment
from tests.tasks.nets.made import imported_book, made_network, made_volume, mask_of, noise


def whole_field(volume, network):
    """The book's way: every slice whole, one after the other, its neighbours picked one by one."""
    spec = network.card.input
    hu = windowed(torch.from_numpy(volume.hu), spec)
    z, y, x = hu.shape
    low = 0.0 if spec.scale == "unit" else spec.window_hu[0]
    hu = torch.nn.functional.pad(hu, (0, -x % 4, 0, -y % 4), value=low)
    heat = np.zeros(volume.hu.shape)
    with torch.inference_mode():
        for k in range(z):
            context = range(k - spec.context_slices, k + spec.context_slices + 1)
            stack = torch.stack([hu[min(max(i, 0), z - 1)] for i in context])[None]
            heat[k] = network.module(stack).sigmoid()[0, 0, :y, :x].numpy()
    return 255 * heat


@pytest.mark.parametrize(
    ("shape", "boxes"),
    [
        pytest.param((5, 64, 96), [np.s_[1:4, 30:40, 12:20], np.s_[0:5, 24:50, 60:80]], id="two lungs"),
        pytest.param((4, 64, 64), [np.s_[:, :9, :30], np.s_[2:, 40:, 50:]], id="at the border"),
        pytest.param((2, 61, 74), [np.s_[:, 50:61, 60:74]], id="a field no multiple of 4, fewer slices than context"),
        pytest.param((1, 40, 40), [np.s_[:, :, :]], id="one slice, all lung"),
    ],
)
def test_inside_the_lungs_it_is_the_whole_slice_s_answer_and_outside_zero(shape, boxes):
    network = made_network("segmenter", "unet2d", width=4)
    volume = made_volume(noise(shape))
    lungs = mask_of(volume, *boxes)
    heat = segment(volume, lungs, network=network).probability
    inside = lungs.labels > 0
    want = whole_field(volume, network)
    assert want[inside].std() > 10, "a map that says something"
    assert np.abs(heat[inside] - want[inside]).max() <= 0.51
    assert not heat[~inside].any()


def test_the_card_s_window_and_context_are_followed():
    spec = InputSpec(window_hu=(-600, 400), scale="unit", context_slices=1)
    network = made_network("segmenter", "unet2d", spec, in_channels=3, width=4)
    network.module.input_batchnorm.running_var.fill_(0.1)
    volume = made_volume(noise((3, 38, 40)))
    lungs = mask_of(volume, np.s_[:, 5:38, 5:40])
    heat, inside = segment(volume, lungs, network=network).probability, lungs.labels > 0
    assert np.abs(heat[inside] - whole_field(volume, network)[inside]).max() <= 0.51


def test_without_lungs_nothing_is_computed():
    volume = made_volume(noise((2, 32, 32)))
    heat = segment(volume, mask_of(volume), network=made_network("segmenter", "unet2d", width=4))
    assert heat.probability.shape == (2, 32, 32)
    assert not heat.probability.any()


def test_progress_rises_to_one():
    volume, told = made_volume(noise((4, 32, 32))), []
    segment(
        volume, mask_of(volume, np.s_[:, 4:20, 4:20]), network=made_network("segmenter", "unet2d", width=4), progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == 1


def test_a_network_of_another_context_is_refused():
    volume = made_volume(noise((2, 32, 32)))
    with pytest.raises(WeightsError, match="takes 7 slices"):
        segment(volume, mask_of(volume), network=made_network("segmenter", "unet2d", in_channels=3, width=4))


def test_a_classifier_is_refused():
    volume = made_volume(noise((2, 32, 32)))
    with pytest.raises(WeightsError, match="luna3d"):
        segment(volume, mask_of(volume), network=made_network("segmenter", "luna3d"))


def test_numbers_that_are_not_finite_are_no_heat_map():
    network = made_network("segmenter", "unet2d", width=4)
    network.module.last.bias.fill_(torch.nan)
    volume = made_volume(noise((2, 32, 32)))
    with pytest.raises(WeightsError, match="not finite"):
        segment(volume, mask_of(volume, np.s_[:, 4:20, 4:20]), network=network)


@pytest.fixture(scope="module")
def book(data_dir, tmp_path_factory):
    return read_checkpoint(imported_book(data_dir, tmp_path_factory.mktemp("weights")), "segmenter")


def cptac(data_dir, z0=0, z1=99):
    """Slices of the scan with a rough lung: everything below -500 HU well inside the body."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(data_dir / "ct" / "cptac-c3n-00247"), recursive=True)[z0:z1])
    image = reader.Execute()
    hu = sitk.GetArrayFromImage(image).astype(np.int16)
    geometry = Geometry(hu.shape, image.GetSpacing()[::-1], image.GetOrigin())
    labels = np.zeros(hu.shape, dtype=np.uint8)
    labels[:, 60:400, 20:490] = hu[:, 60:400, 20:490] < -500
    return Volume(hu, geometry, Series("scan-cptac")), LungMask(labels, geometry)


def reference(data_dir):
    with np.load(data_dir / "reference" / "cptac-c3n-00247-heat.npz") as f:
        return f["probability_u8"].astype(int)


@pytest.mark.data
def test_the_book_s_network_gives_the_book_s_heat_map(data_dir, book):
    volume, lungs = cptac(data_dir, 25, 37)  # around the lesion; the outer three lack their neighbours
    lungs.labels[:3] = lungs.labels[-3:] = 0
    heat, inside = segment(volume, lungs, network=load_network(book)).probability, lungs.labels > 0
    want = reference(data_dir)[25:37]
    assert (want[inside] > 127).sum() > 5_000, "there is something to see"
    assert np.abs(heat[inside] - want[inside]).max() <= 2


@pytest.mark.data
def test_in_bfloat16_it_is_on_the_same_side_of_half(data_dir, book):
    volume, lungs = cptac(data_dir, 27, 35)
    lungs.labels[:3] = lungs.labels[-3:] = 0
    heat, inside = segment(volume, lungs, network=load_network(book, "cpu", "bfloat16")).probability, lungs.labels > 0
    assert ((heat > 127) == (reference(data_dir)[27:35] > 127))[inside].mean() >= 0.999


@pytest.mark.data
@pytest.mark.slow
def test_the_whole_scan_s_heat_map_is_the_book_s(data_dir, book):
    volume, lungs = cptac(data_dir)
    heat, inside = segment(volume, lungs, network=load_network(book)).probability, lungs.labels > 0
    assert np.abs(heat[inside] - reference(data_dir)[inside]).max() <= 2


def test_views_are_those_of_mirrored_slices_and_the_highest_counts():
    """Against the slow obvious way: mirror the scan, segment, mirror back. A field that needs no filling up."""
    spec = InputSpec(context_slices=1)
    network = made_network("segmenter", "unet2d", spec, in_channels=3, width=4)
    volume = made_volume(noise((3, 48, 64)))
    lungs = mask_of(volume, np.s_[:, 3:29, 10:40], np.s_[1:, 30:48, 44:64])

    def mirrored(axes):
        turned = replace(volume, hu=np.ascontiguousarray(np.flip(volume.hu, axes)))
        mask = replace(lungs, labels=np.ascontiguousarray(np.flip(lungs.labels, axes)))
        return np.flip(segment(turned, mask, network=network).probability, axes).astype(int)

    views = [mirrored(axes) for axes in ((), (1,), (2,), (1, 2))]
    four = spec.model_copy(update={"views": 4})
    heat = segment(volume, lungs, network=replace(network, card=network.card.model_copy(update={"input": four}))).probability
    assert np.abs(np.max(views, axis=0) - heat).max() <= 1
    assert (heat > views[0]).any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("precision", "off"), [("float32", 1), ("bfloat16", 40)])
def test_on_cuda_it_is_the_same_map(precision, off):
    network = made_network("segmenter", "unet2d", width=8)
    volume = made_volume(noise((20, 128, 144)))
    lungs = mask_of(volume, np.s_[:, 10:70, 20:60], np.s_[3:, 40:128, 90:144])
    want = segment(volume, lungs, network=network).probability.astype(int)
    network.module.cuda()
    network.device, network.dtype = torch.device("cuda:0"), getattr(torch, precision)
    assert np.abs(segment(volume, lungs, network=network).probability - want).max() <= off
