"""Classifiers: each crop gets its own answer, in doubt the mean of four, and wrong pairings are errors."""

import csv
from itertools import product

import numpy as np
import pytest
import torch

from artifacts.checkpoint import Blobs, read_checkpoint
from artifacts.crops import Crops
from artifacts.errors import WeightsError
from artifacts.geometry import Geometry
from artifacts.lumps import NO_LUMP, Candidate, Lumps
from artifacts.scores import Scores
from tasks.classify import ClassifyParams, classify
from tasks.grade import GradeParams, grade
from tasks.nets import load_network
from tests.tasks.nets.made import imported_book, made_classifier, noise


def crops_of(hu, spacing_zyx_mm=(1.0, 1.0, 1.0)):
    return Crops(hu, np.zeros((len(hu), 3)), np.zeros((len(hu), 3), dtype=np.int32), spacing_zyx_mm)


def made_crops(n=7, size=16):
    hu = np.stack([noise((size, size, size), seed=k) for k in range(n)]) if n else np.zeros((0, size, size, size), np.int16)
    return crops_of(hu)


def one_by_one(network, crops, views=1):
    """The slow way: a crop, a flip at a time."""
    flips = [f for f in product((False, True), repeat=3) if sum(f) in (0, 2)][:views]  # half-turns flip two axes
    with torch.inference_mode():
        x = torch.from_numpy(crops.hu).float().clamp(-1000, 1000)[:, None]
        seen = [[x[k : k + 1].flip([2 + a for a in range(3) if f[a]]) for f in flips] for k in range(len(x))]
        return np.array([np.mean([float(network.module(v).softmax(1)[0, 1]) for v in row]) for row in seen])


def test_every_crop_gets_its_own_answer():
    network, crops = made_classifier(), made_crops()
    alone = classify(made_crops(1), network=network)
    assert alone.probability == pytest.approx(one_by_one(network, made_crops(1), views=4), abs=1e-5)
    scores = classify(crops, params=ClassifyParams(doubt_above=1, doubt_below=1), network=network)
    assert scores.meaning == "nodule"
    assert scores.probability == pytest.approx(one_by_one(network, crops), abs=1e-5)
    assert np.ptp(scores.probability) > 1e-3
    assert scores.flips.tolist() == [1] * 7


def test_where_in_doubt_the_mean_over_the_half_turns():
    network, crops = made_classifier(), made_crops()
    once, four = one_by_one(network, crops), one_by_one(network, crops, views=4)
    bound = float(np.sort(once)[3:5].mean())
    scores = classify(crops, params=ClassifyParams(doubt_above=bound), network=network)
    doubt = once >= bound
    assert doubt.sum() == 3
    assert scores.probability == pytest.approx(np.where(doubt, four, once), abs=1e-5)
    assert scores.flips.tolist() == np.where(doubt, 4, 1).tolist()


def test_only_likely_nodules_are_graded():
    network, crops = made_classifier("malignancy"), made_crops(4)
    nodule = Scores("nodule", np.array([0.05, 0.1, 0.99, 0.0], dtype=np.float32), np.ones(4, dtype=np.int32))
    scores = grade(crops, nodule, network=network)
    assert scores.meaning == "malignant"
    assert np.isnan(scores.probability).tolist() == [True, False, False, True]
    assert scores.probability[1:3] == pytest.approx(one_by_one(network, crops, views=4)[1:3], abs=1e-5)
    assert scores.flips.tolist() == [0, 4, 4, 0]
    assert grade(crops, nodule, params=GradeParams(flips=False), network=network).flips.tolist() == [0, 1, 1, 0]


def test_the_card_says_which_output_means_yes():
    network, crops = made_classifier(), made_crops(3)
    params = ClassifyParams(doubt_above=1, doubt_below=1)
    yes = classify(crops, params=params, network=network).probability
    network.card = network.card.model_copy(update={"positive_class": 0})
    assert yes + classify(crops, params=params, network=network).probability == pytest.approx(np.ones(3), abs=1e-6)


def test_no_crops_no_scores():
    crops, told = made_crops(0), []
    scores = classify(crops, network=made_classifier(), progress=told.append)
    assert len(scores.probability) == len(grade(crops, scores, network=made_classifier("malignancy")).probability) == 0
    assert told[-1] == 1


def test_progress_rises_to_one():
    told = []
    classify(made_crops(9), params=ClassifyParams(doubt_above=0), network=made_classifier(), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


@pytest.mark.parametrize("n", [0, 2])
def test_crops_of_another_size_are_refused(n):
    with pytest.raises(WeightsError, match=r"takes crops of \(16, 16, 16\)"):
        classify(made_crops(n, size=24), network=made_classifier())


def test_crops_of_another_spacing_are_refused():
    network = made_classifier(spacing_zyx_mm=(1.0, 1.0, 1.0))
    classify(made_crops(1), network=network)
    with pytest.raises(WeightsError, match=r"0\.7"):
        classify(crops_of(made_crops(1).hu, (2.5, 0.7, 0.7)), network=network)


def test_a_network_that_is_no_classifier_is_refused():
    network = made_classifier()
    network.card = network.card.model_copy(update={"input": network.card.input.model_copy(update={"crop": None})})
    with pytest.raises(WeightsError, match="crops"):
        classify(made_crops(1), network=network)


def test_numbers_that_are_not_finite_are_no_scores():
    network = made_classifier()
    network.module.head_linear.bias.fill_(torch.inf)
    with pytest.raises(WeightsError, match="not finite"):
        classify(made_crops(2), network=network)


def test_bfloat16_stays_near():
    network, crops = made_classifier(), made_crops(3)
    network.dtype = torch.bfloat16
    assert classify(crops, network=network).probability == pytest.approx(one_by_one(network, crops, views=4), abs=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_cuda_the_answers_are_the_same():
    network, crops = made_classifier(), made_crops(300)
    want = classify(crops, network=network).probability
    network.module.cuda()
    network.device = torch.device("cuda:0")
    assert classify(crops, network=network).probability == pytest.approx(want, abs=1e-4)


@pytest.fixture(scope="module")
def book(data_dir, tmp_path_factory):
    return imported_book(data_dir, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def luna_chunks(data_dir):
    folder = data_dir / "crops" / "luna-chunks"
    rows = list(csv.DictReader((folder / "present_candidates.csv").open()))
    hu = np.stack([np.load(folder / row["file_path"])["ct_chunk"] for row in rows]).astype(np.int16)
    return crops_of(hu), np.array([int(row["class"]) for row in rows])


@pytest.mark.data
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("flips", [ClassifyParams(), ClassifyParams(doubt_above=1, doubt_below=1)], ids=["flips", "one look"])
def test_the_book_s_classifier_is_right_about_six_of_six(book, luna_chunks, precision, flips):
    crops, truth = luna_chunks
    scores = classify(crops, params=flips, network=load_network(read_checkpoint(book, "nodule"), "cpu", precision))
    assert ((scores.probability > 0.5) == (truth < 2)).all()


@pytest.mark.data
def test_golden_values_of_the_published_classifiers(book, luna_chunks):
    crops, truth = luna_chunks
    once = ClassifyParams(doubt_above=1, doubt_below=1)
    nodule = classify(crops, params=once, network=load_network(read_checkpoint(book, "nodule")))
    assert nodule.probability[truth < 2] == pytest.approx([0.992896, 0.999999, 0.974820, 0.999532], abs=2e-4)
    assert nodule.probability[truth == 2].max() < 1e-6
    malignant = grade(crops, nodule, params=GradeParams(flips=False), network=load_network(read_checkpoint(book, "malignancy")))
    assert malignant.probability[truth < 2] == pytest.approx([0.197855, 0.862082, 0.647134, 0.055444], abs=2e-4)
    assert np.isnan(malignant.probability[truth == 2]).all()


def test_the_odds_of_a_blob_are_what_the_card_says_and_those_of_a_lump_are_its_looks():
    network, crops = made_classifier(), made_crops(3)
    origin, grid = (0.0, 0.0, 0.0), Geometry((8, 8, 8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    places = [Candidate(1, "center", origin, origin, 2.0, 0.9), *2 * [Candidate(NO_LUMP, "blob", origin, origin, 2.0, 0.0)]]
    lumps = Lumps([], places, grid)
    plain = classify(crops, lumps, network=network).probability
    network.card = network.card.model_copy(update={"blobs": Blobs(odds=0.25)})
    weighed = classify(crops, lumps, network=network).probability
    assert weighed[0] == plain[0]
    assert (weighed / (1 - weighed))[1:] == pytest.approx(0.25 * (plain / (1 - plain))[1:], rel=1e-5)
    assert classify(crops, network=network).probability == pytest.approx(plain)


def test_the_card_s_temperature_is_applied_to_the_answer():
    network, crops = made_classifier(), made_crops()
    plain = classify(crops, params=ClassifyParams(doubt_above=1, doubt_below=1), network=network).probability
    network.card = network.card.model_copy(update={"temperature": 2.0})
    halved = classify(crops, params=ClassifyParams(doubt_above=1, doubt_below=1), network=network).probability
    logit = np.log(plain / (1 - plain))
    assert halved == pytest.approx(1 / (1 + np.exp(-logit / 2)), abs=1e-6)
    grader = made_classifier("malignancy")
    grader.card = grader.card.model_copy(update={"temperature": 0.5})
    nodule = Scores("nodule", np.array([0.05] + [0.9] * 6, dtype=np.float32), np.ones(7, dtype=np.int32))
    assert np.isnan(grade(crops, nodule, params=GradeParams(), network=grader).probability).tolist() == [True] + [False] * 6
