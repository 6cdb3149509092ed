"""Networks of the registry learn, come back from a kill as if nothing had been, and say what they cannot do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from artifacts.errors import TrainingError, UsageError, WeightsError
from artifacts.image_scores import ImageScores
from artifacts.images import HeldOutImages, Images, TrainingImages
from artifacts.trained import Trained
from tasks.images.evaluate import EvaluateParams, evaluate, loaded, looks, probabilities
from tasks.images.recipes import TrainParams
from tasks.images.statistics import statistics
from tasks.images.train import network_of, normaliser_of, train
from tasks.nets.registry import build, image_networks
from tasks.training.loop import check_number
from tests.tasks.images.small_sets import CLASSES, images


def a_set(train_count: int = 120, validation: int = 0) -> Images:
    parts = []
    for count, seed in ((train_count, 0), (validation, 1), (60, 2)):
        pixels, labels = images(count, seed)
        parts.append((np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels.astype(np.int64)))
    return Images(TrainingImages(*parts[0]), HeldOutImages(*parts[2]), CLASSES, HeldOutImages(*parts[1]), "test")


def trained(found: Images, **params) -> Trained:
    return train(found, statistics(found), TrainParams(**params))


@pytest.mark.parametrize("name", ["linear", "mlp", "convnet", "resnet", "fast"])
def test_every_network_gives_logits_and_gradients(name):
    module = build(name, classes=3, channels=3, size=(16, 16))
    logits = module(torch.randn(4, 3, 16, 16))
    assert logits.shape == (4, 3)
    logits.sum().backward()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)


def test_the_registry_knows_which_networks_take_images():
    assert set(image_networks()) == {"linear", "mlp", "convnet", "resnet", "fast", "torchvision"}
    assert [n for n, _ in build("mlp").named_children()][1::2] == ["hidden1", "hidden2", "output"]
    with pytest.raises(WeightsError, match="too small"):
        build("fast", size=(8, 8))


@pytest.mark.parametrize("network", ["convnet", "fast"])
def test_it_learns_and_is_judged(network):
    found = a_set(96)
    made = trained(found, network=network, epochs=3)
    scores = evaluate(found, made)
    assert scores.accuracy > 0.9
    assert scores.views == ("flip-shift" if network == "fast" else "none")
    assert made.history[-1]["test_accuracy"] == pytest.approx(evaluate(found, made, EvaluateParams(views="none")).accuracy)
    layers = made.preview({}).tables["Layers"]
    learned = sum(p.numel() for p in loaded(made).parameters())
    assert layers[-1] == {"layer": "total", "shape": "", "parameters": learned}
    card = {row["of the network"]: row["value"] for row in made.preview({}).tables["Card"]}
    assert card["classes"] == "across, checks, down"
    assert card["training: params: batch size"] == str(made.card["training"]["params"]["batch_size"])


def test_every_filter_of_fast_starts_at_length_one_and_keeps_its_bank_s():
    blocks, made = build("fast").blocks, trained(a_set(96), network="fast", epochs=1)
    for name, weight in blocks.named_parameters():
        if weight.ndim == 4:
            assert torch.allclose(weight.flatten(1).norm(dim=1), torch.ones(len(weight)))
            last = made.tensors[f"blocks.{name}"]  # of the length before the last step, and a little more
            assert np.linalg.norm(last) == pytest.approx(len(weight) ** 0.5, rel=0.1)


def test_the_first_layer_of_fast_whitens():
    found = a_set()
    made = trained(found, network="fast", epochs=1)
    module, normalise = loaded(made), normaliser_of(made.card)
    x = normalise(torch.from_numpy(found.train.images))
    with torch.no_grad():
        directions = torch.nn.functional.conv2d(x, module.whiten.weight[:12], stride=2).permute(1, 0, 2, 3).flatten(1)
    covariance = torch.cov(directions)
    assert torch.allclose(covariance, torch.diag(covariance.diagonal()), atol=0.02)
    assert float(covariance.diagonal().max()) < 1.05


@pytest.mark.parametrize("network", ["convnet", pytest.param("fast", marks=pytest.mark.slow)])
def test_a_killed_training_ends_as_one_that_was_not(tmp_path, network):
    found = a_set(60)
    params, stats = TrainParams(network=network, epochs=3), statistics(found)
    straight = train(found, stats, params)

    class Killed(Exception):
        pass

    told = itertools.count(1)

    def die(_row):
        if next(told) == 2:
            raise Killed

    with pytest.raises(Killed):
        train(found, stats, params, workspace=tmp_path, tell=die)
    resumed = train(found, stats, params, workspace=tmp_path)
    assert [r["loss"] for r in resumed.history] == [r["loss"] for r in straight.history]
    assert all(np.array_equal(straight.tensors[k], resumed.tensors[k]) for k in straight.tensors)


def test_seeds_decide():
    found = a_set(60)
    a, b, c = (trained(found, network="linear", epochs=1, seed=s) for s in (0, 0, 1))
    assert np.array_equal(a.tensors["output.weight"], b.tensors["output.weight"])
    assert not np.array_equal(a.tensors["output.weight"], c.tensors["output.weight"])


def test_with_a_validation_part_the_best_epoch_is_kept_and_the_test_is_not_looked_at():
    found = a_set(60, validation=30)
    made = trained(found, network="linear", epochs=3)
    assert "validation_accuracy" in made.history[0]
    assert not any(k.startswith("test") for k in made.history[0])
    assert made.confusion.sum() == 30
    kept = evaluate(found, made, EvaluateParams(part="validation")).accuracy
    assert kept == pytest.approx(max(r["validation_accuracy"] for r in made.history))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw", "muon"])
@pytest.mark.parametrize("loss", ["nll", "mse"])
def test_every_optimiser_makes_every_loss_smaller(optimizer, loss):
    found = a_set(60)
    rate = {"sgd": 0.05, "momentum": 0.05, "muon": 0.01}.get(optimizer, 0.001)
    rows = trained(found, network="mlp", epochs=3, optimizer=optimizer, loss=loss, learning_rate=rate).history
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_empty_parameters_are_the_networks_recipe():
    assert TrainParams(network="fast").optimizer == "muon"
    assert TrainParams(network="fast", epochs=None).epochs == TrainParams(network="fast", epochs=8).epochs
    assert TrainParams(network="resnet", learning_rate=0.5).learning_rate == 0.5
    with pytest.raises(UsageError, match=r"no network is called 'resnt'.*resnet"):
        TrainParams(network="resnt")


def test_no_weights_are_said_to_be_kept_of_no_epoch():
    with pytest.raises(TrainingError, match=r"in epoch 1, by step 3: lower the learning rate$"):
        check_number(float("nan"), 0, 2)


def test_a_loss_that_is_no_number_is_one_clear_line():
    with pytest.raises(TrainingError, match="lower the learning rate; the last whole epoch's weights are kept"):
        trained(a_set(), network="linear", optimizer="sgd", learning_rate=100.0, clip=0.0, weight_decay=10.0, epochs=60)


# -- torchvision ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    from torchvision import models

    torch.manual_seed(7)
    return models.squeezenet1_1(weights=None).state_dict()


def test_a_frozen_network_learns_in_its_head_alone(published):
    found = a_set(30)
    params = TrainParams(network="squeezenet1_1", frozen=True, input_size=32, epochs=2)
    made = train(found, statistics(found), params, pretrained=published)
    moved = {k for k, v in made.tensors.items() if k.startswith("net.") and k[4:] in published and "classifier" not in k}
    assert moved
    assert all(np.array_equal(made.tensors[k], published[k[4:]].numpy()) for k in moved)
    assert made.card["input"]["mean"] == [0.485, 0.456, 0.406]
    assert made.tensors["net.classifier.1.weight"].shape[0] == 3
    assert evaluate(found, made).probability.shape == (60, 3)


def test_weights_of_another_network_are_refused(published):
    card = {"name": "alexnet", "architecture": "torchvision", "arguments": {"model": "alexnet", "classes": 3}}
    with pytest.raises(WeightsError, match="not those of alexnet: classifier"):
        network_of(card, published)
    with pytest.raises(UsageError, match="torchvision"):
        network_of({"name": "linear", "architecture": "linear", "arguments": {}}, published)
    with pytest.raises(UsageError, match="needs weights to freeze"):
        trained(a_set(30), network="squeezenet1_1", frozen=True, input_size=32)


def test_weights_of_before_batches_were_counted_go_in():
    from torchvision import models

    from tasks.images.recognise import with_model

    torch.manual_seed(3)
    old = {k: v for k, v in models.resnet18(weights=None).state_dict().items() if not k.endswith("num_batches_tracked")}
    arguments = {"model": "resnet18", "classes": 3}
    module = network_of({"name": "resnet18", "architecture": "torchvision", "arguments": arguments | {"size": [64, 64]}}, old)
    assert torch.equal(module.state_dict()["net.layer1.0.bn1.weight"], old["layer1.0.bn1.weight"])
    assert len(with_model("resnet18", old, models.ResNet18_Weights.DEFAULT).classes) == 1000
    with pytest.raises(WeightsError, match=r"not those of resnet18: bn1.bias does not fit$"):
        with_model("resnet18", old | {"bn1.bias": torch.zeros(3)}, models.ResNet18_Weights.DEFAULT)


def test_a_size_that_a_network_cannot_see_is_said():
    for name, size in (("alexnet", 16), ("vit_b_32", 48)):
        arguments = {"model": name, "classes": 3, "size": [size, size]}
        with pytest.raises((UsageError, WeightsError), match=r"cannot (see|be built)"):
            network_of({"name": name, "architecture": "torchvision", "arguments": arguments})


def test_weights_go_in_whatever_their_parts_were_called_and_without_versions():
    from tasks.nets.torchvision_nets import as_named_now

    found = as_named_now(
        {"features.denseblock1.denselayer2.norm.1.weight": torch.zeros(1), "features.norm0.bias": torch.zeros(1)}
    )
    assert list(found) == ["features.denseblock1.denselayer2.norm1.weight", "features.norm0.bias"]
    arguments = {"model": "mnasnet0_5", "classes": 3, "size": [32, 32]}
    module = build("torchvision", **arguments)
    plain = dict(module.net.state_dict())
    module.load_state_dict({f"net.{k}": v for k, v in plain.items()})
    network_of({"name": "mnasnet0_5", "architecture": "torchvision", "arguments": arguments}, plain | {"classifier.1.bias": None})


def test_a_file_of_published_weights_brings_its_own_transforms(tmp_path, monkeypatch):
    import hashlib
    from enum import Enum
    from types import SimpleNamespace

    from torchvision import models

    from tasks.images.pretrained import published_as

    (tmp_path / "old.pth").write_bytes(b"weights")
    checksum = hashlib.sha256(b"weights").hexdigest()[:8]
    old, new = (SimpleNamespace(url=f"https://x/resnet50-{c}.pth") for c in (checksum, "11ad3fa6"))

    class Known(Enum):
        OLD, DEFAULT = old, new

        @property
        def url(self):
            return self.value.url

    monkeypatch.setattr(models, "get_model_weights", lambda _: Known)
    (tmp_path / "own.pth").write_bytes(b"other")
    assert published_as("resnet50", tmp_path / "old.pth") is Known.OLD
    assert published_as("resnet50", tmp_path / "own.pth") is Known.DEFAULT
    assert published_as("resnet50", None) is Known.DEFAULT


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121", "vit_b_16"])
@pytest.mark.slow
def test_the_head_of_any_classifier_is_found(name):
    module = build("torchvision", model=name, classes=3).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


# -- scores ---------------------------------------------------------------------------------------------------------------------


def test_views_are_the_image_its_mirror_and_both_moved():
    x = torch.arange(2 * 3 * 6 * 6.0).view(2, 3, 6, 6)
    assert [len(list(looks(x, v))) for v in ("none", "flip", "flip-shift")] == [1, 2, 6]
    shown = list(looks(x, "flip-shift"))
    assert torch.equal(shown[0], x)
    assert torch.equal(shown[1], x.flip(-1))
    assert torch.equal(shown[4][..., :-1, :-1], x[..., 1:, 1:]) or torch.equal(shown[4][..., 1:, 1:], x[..., :-1, :-1])


def test_names_with_commas_stay_one_column_and_a_sure_network_loses_nothing():
    import csv

    from flows.cifar_run import predictions

    scores = ImageScores(("a, b", '"c"'), np.array([[1, 0], [0, 1]], dtype=np.float32), np.array([0, 1]))
    rows = list(csv.reader(predictions(scores).splitlines()))
    assert rows[:2] == [["image", "truth", "called", "p a, b", 'p "c"'], ["0", "a, b", "a, b", "1.00000", "0.00000"]]
    assert str(scores.log_loss) == "0.0"


def test_scores_say_how_often_how_surely_and_what_for_what(tmp_path):
    p = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.05, 0.95, 0]], dtype=np.float32)
    scores = ImageScores(CLASSES, p, np.array([0, 1, 1, 0]), network="x")
    assert scores.accuracy == 0.5
    assert scores.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert scores.mistakes().tolist() == [3, 2]  # the surest first
    assert scores.by_class()[2]["accuracy"] is None
    scores.write(tmp_path)
    back = ImageScores.read(tmp_path)
    assert np.array_equal(back.probability, p)
    assert back.numbers() == scores.numbers()


def test_a_number_that_is_not_finite_is_said():
    found = a_set(30)
    made = trained(found, network="linear", epochs=1)
    made.tensors["output.weight"][:] = np.nan
    with pytest.raises(WeightsError, match="not finite"):
        probabilities(loaded(made), normaliser_of(made.card), found.test.images)
