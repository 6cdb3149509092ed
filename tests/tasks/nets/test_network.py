import numpy as np
import pytest
import torch

from artifacts.checkpoint import Card, CropSpec, InputSpec, write_checkpoint
from artifacts.errors import UsageError, WeightsError
from tasks.nets import build, load_network, settle_device, settle_precision
from tasks.nets.network import cpu_has_bfloat16, windowed


def card(**changes):
    plain = {
        "name": "t",
        "role": "segmenter",
        "architecture": "unet2d",
        "arguments": {"width": 4},
        "input": InputSpec(),
        "licence": "t",
    }
    return Card(**{**plain, **changes})


def tensors(architecture="unet2d", **arguments):
    return {k: v.numpy() for k, v in build(architecture, **arguments).state_dict().items()}


def test_weights_come_back_as_they_were_written(tmp_path):
    weights = tensors(width=4)
    checkpoint = write_checkpoint(tmp_path, card(), weights)
    network = load_network(checkpoint, "cpu", "bfloat16")
    assert all(np.array_equal(v.numpy(), weights[k]) for k, v in network.module.state_dict().items())
    assert not network.module.training
    assert (network.dtype, network.digest) == (torch.bfloat16, checkpoint.digest)


def test_weights_of_another_shape_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"segmenter .* unet2d: \S+ is \(8,.*more differ") as e:
        load_network(write_checkpoint(tmp_path, card(), tensors(width=8)))
    assert "\n" not in str(e.value)


def test_weights_that_are_missing_are_named(tmp_path):
    weights = tensors(width=4)
    del weights["last.bias"]
    with pytest.raises(WeightsError, match=r"last\.bias is missing, wanted \(1,\)"):
        load_network(write_checkpoint(tmp_path, card(), weights))


def test_an_unknown_architecture_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="unet2d"):
        load_network(write_checkpoint(tmp_path, card(architecture="unet2"), tensors(width=4)))


def test_a_checkpoint_cut_short_is_refused(tmp_path):
    checkpoint = write_checkpoint(tmp_path, card(), tensors(width=4))
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-50])
    with pytest.raises(WeightsError, match="cut short"):
        load_network(checkpoint)


def test_a_card_that_contradicts_its_network_is_refused(tmp_path):
    arguments = {"crop_zyx": [16, 16, 16], "conv_channels": 2}
    odd = card(role="nodule", architecture="luna3d", arguments=arguments, input=InputSpec(crop=CropSpec()))
    with pytest.raises(WeightsError, match="contradicts"):
        load_network(write_checkpoint(tmp_path, odd, tensors("luna3d", **arguments)))


def test_hounsfield_units_are_clipped_and_scaled_as_the_card_says():
    hu = torch.tensor([-2000, -1000, 0, 400, 3000], dtype=torch.int16)
    assert windowed(hu, InputSpec()).tolist() == [-1000, -1000, 0, 400, 1000]
    assert windowed(hu, InputSpec(window_hu=(-1000, 400), scale="unit")).tolist() == pytest.approx([0, 0, 1 / 1.4, 1, 1])
    assert hu[0] == -2000, "the volume stays as it is"


def test_devices():
    assert settle_device("cpu").type == "cpu"
    assert settle_device("auto").type in ("cpu", "cuda")
    for wrong in ("tpu", "cuda:x", "cuda:99", "cpu:1"):
        with pytest.raises(UsageError):
            settle_device(wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_here_is_said():
    with pytest.raises(UsageError, match="not here"):
        settle_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_auto_takes_the_cuda_device():
    assert settle_device("auto") == settle_device("cuda") == torch.device("cuda:0")


def test_precision():
    cpu = torch.device("cpu")
    assert settle_precision("float32", cpu) == "float32"
    assert settle_precision("bfloat16", cpu) == "bfloat16"
    assert settle_precision("auto", cpu) in ("float32", "bfloat16")
    with pytest.raises(UsageError, match="float32"):
        settle_precision("half", cpu)


@pytest.mark.parametrize(
    ("flags", "good"),
    [
        ("fpu amx_bf16 amx_tile", True),
        ("fpu amx_bf16", False),
        ("AuthenticAMD fpu avx512_bf16", True),
        ("GenuineIntel fpu avx512_bf16", False),
        ("fpu avx512f avx2", False),
        ("", False),
    ],
)
def test_bfloat16_only_where_the_cpu_multiplies_it_faster(tmp_path, flags, good):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is good
    assert cpu_has_bfloat16(tmp_path / "nothing") is False
