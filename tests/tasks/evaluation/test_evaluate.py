"""Evaluate: many scans' assessments become numbers that follow from them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from artifacts.assessment import Assessment, Known, Mark
from artifacts.errors import InputError
from artifacts.evaluation import Evaluation
from artifacts.preview_markdown import preview_markdown
from tasks.evaluate import EvaluateParams, evaluate, segmentation
from tasks.evaluation.export import as_csv, export
from tasks.evaluation.froc import froc
from tasks.evaluation.marks import marks_of, nodules_of, read_submission

FEW = EvaluateParams(bootstraps=50)
KINDS = ("solid", "part-solid", "ground-glass")


def scan(k: int, rng: np.random.Generator, picture: bytes = b"") -> Assessment:
    """A scan with two nodules (odd ones) or none, some found, and false findings; consistent in itself."""
    nodules, marks = [], []
    for number in range(2 * (k % 2)):
        p = float(rng.uniform(0.02, 1))
        common = {"malignant": bool(rng.random() < 0.5), "kind": KINDS[number], "risk": float(rng.random())}
        mm = float(rng.uniform(4, 25))
        if rng.random() < 0.2:
            nodules.append(Known(number, (float(number), 0.0, 0.0), mm, lost_by="segment", **common))
        else:
            marks.append((p, "hit", number, mm))
            nodules.append(Known(number, (float(number), 0.0, 0.0), mm, p_nodule=p, p_malignant=float(rng.random()), **common))
    marks += [(float(rng.uniform(0.02, 0.8)), "false", None, 5.0) for _ in range(int(rng.integers(0, 4)))]
    marks.sort(key=lambda m: -m[0])
    made = [
        Mark(rank, (float(rank), 50.0, 0.0), mm, p, 0.4, role, nodule)  # type: ignore[arg-type]
        for rank, (p, role, nodule, mm) in enumerate(marks, 1)
    ]
    of = {m.nodule: m.rank for m in made if m.nodule is not None}
    nodules = [n if n.number not in of else Known(**{**n.__dict__, "mark": of[n.number]}) for n in nodules]
    facts = {"noise_hu": float(10 + k % 7), "kernel": ("soft", "sharp")[k % 2]}
    pictures = {f"nodule-{n.number}": picture for n in nodules} | {f"finding-{m.rank}": picture for m in made}
    return Assessment(f"1.2.{k}", f"p{k}", nodules, made, np.full(5, 0.01, np.float32), facts, (3, 2, 1), pictures=pictures)


@pytest.fixture(scope="module")
def picture():
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (30, 10)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def scans(picture):
    rng = np.random.default_rng(7)
    return [scan(k, rng, picture) for k in range(30)]


@pytest.fixture(scope="module")
def made(scans):
    return evaluate(scans, params=EvaluateParams(bootstraps=50, weights="toy", data="30 scans", skipped=("1.2.99: no lungs",)))


def test_froc_is_luna16_s_on_the_same_marks(scans, made):
    """The same numbers from coordinates: every nodule far from every other, marks on what they are said to be on."""
    marks, nodules = [], []
    for a in scans:
        nodules += [(a.uid, (1000.0 * n.number, 0, 0), 10.0) for n in a.nodules]
        marks += [(a.uid, (1000.0 * m.nodule if m.nodule is not None else -5000.0, 0, 0), m.p_nodule) for m in a.marks]
    asked = marks_of(*zip(*marks, strict=True))
    there = nodules_of(*zip(*nodules, strict=True), [False] * len(nodules))
    score = froc(asked, there, [a.uid for a in scans], bootstraps=50)
    got = made.metrics["froc"]
    assert {k: got[k] for k in score.as_json() if k != "doubles"} == {k: v for k, v in score.as_json().items() if k != "doubles"}


def test_every_nodule_is_in_the_confusion_once(made):
    rows = {r["truth"]: r for r in made.metrics["confusion"]}
    columns = ("missed", "filtered out", "benign", "malignant")
    for name, nature in (("benign", False), ("malignant", True)):
        assert sum(rows[name][c] for c in columns) == sum(n["malignant"] is nature for n in made.nodules)
    assert rows["non-nodules"]["filtered out"] == 5 * 30
    assert rows["non-nodules"]["benign"] + rows["non-nodules"]["malignant"] == len(made.false)


def test_each_missed_nodule_has_a_stage_and_each_found_one_none(made):
    assert all((n["lost_by"] is None) == n["found"] for n in made.nodules)
    assert sum(made.metrics["lost_by"].values()) == made.metrics["threshold"]["missed"] == len(made.missed)
    assert made.metrics["lost_by"]["segment"] > 0
    assert made.metrics["lost_by"]["threshold"] > 0


def test_breakdowns_add_up(made):
    by = made.metrics["by"]
    assert set(by) == {"size", "kind", "noise hu", "kernel"}
    for name in ("size", "kind"):
        assert sum(r["nodules"] for r in by[name]) == len(made.nodules)
        assert sum(r["found"] for r in by[name]) == made.metrics["threshold"]["found"]
    for name in ("noise hu", "kernel"):
        assert sum(r["scans"] for r in by[name]) == 30
    assert len(by["noise hu"]) == 3


def test_segmentation_is_pooled(made):
    assert made.metrics["segmentation"] == {"dice": 6 / 9, "recall": 0.75, "precision": 0.6, "scans": 30}
    assert segmentation(0, 0, 0, 0) is None
    assert segmentation(0, 0, 0, 3)["dice"] is None


def test_the_threshold_can_be_another(scans):
    low = evaluate(scans, params=EvaluateParams(bootstraps=10, threshold=0.01))
    high = evaluate(scans, params=EvaluateParams(bootstraps=10, threshold=0.9))
    assert low.metrics["threshold"]["found"] > high.metrics["threshold"]["found"]
    assert low.metrics["froc"]["sensitivities"] == high.metrics["froc"]["sensitivities"], "the curve knows no threshold"


def test_the_ledger_is_in_order_and_has_pictures(made):
    sizes = [n["diameter_mm"] for n in made.missed]
    probabilities = [m["p_nodule"] for m in made.false]
    assert sizes == sorted(sizes, reverse=True)
    assert probabilities == sorted(probabilities, reverse=True)
    assert {r["picture"] for r in [*made.missed, *made.false]} == set(made.pictures)


def test_what_was_skipped_is_said(made):
    assert made.tables()["Not evaluated"] == [{"what": "1.2.99: no lungs"}]


def test_it_is_read_back_as_it_was(made, tmp_path):
    made.write(tmp_path)
    back = Evaluation.read(tmp_path)
    assert back.curve == pytest.approx(made.curve)
    back.curve = made.curve
    assert vars(back) == vars(made)


def test_the_preview_fits_the_ui(made):
    assert len(preview_markdown(made.preview()).encode()) < 900_000


def test_the_export_is_whole(made, tmp_path):
    export(made, tmp_path)
    page = (tmp_path / "evaluation.html").read_text()
    assert "not for clinical use" in page
    assert "Missed nodules" in page
    assert "<script" not in page
    assert "https://" not in page
    rows = list(csv.DictReader((tmp_path / "missed.csv").open()))
    assert [r["lost_by"] for r in rows] == [n["lost_by"] for n in made.missed]
    assert all((tmp_path / "pictures" / f"{r['picture']}.jpg").is_file() for r in rows)
    assert json.loads((tmp_path / "evaluation.json").read_text())["metrics"] == made.metrics
    assert len(read_submission(tmp_path / "submission.csv")) == len(made.marks)


def test_values_stay_text(scans, picture, tmp_path):
    hostile = "<script>alert(1)</script>"
    rng = np.random.default_rng(0)
    a = scan(1, rng, picture)
    a.facts = {"kernel": hostile}
    b = scan(3, rng, picture)
    b.facts = {"kernel": "=cmd()"}
    made = evaluate([a, b], params=EvaluateParams(bootstraps=10, weights=hostile))
    export(made, tmp_path)
    assert "<script" not in (tmp_path / "evaluation.html").read_text()
    assert "'=cmd()" in (tmp_path / "scans.csv").read_text()
    assert "<script" not in preview_markdown(made.preview())


def test_scans_without_any_nodule(picture, tmp_path):
    rng = np.random.default_rng(1)
    made = evaluate([scan(k, rng, picture) for k in (0, 2, 4)], params=FEW)
    assert made.metrics["froc"]["cpm"] is None
    assert "no nodule in any scan" in made.headline
    export(made, tmp_path)
    made.write(tmp_path)
    assert np.isnan(Evaluation.read(tmp_path).curve[1]).all()


def test_one_scan_with_nothing_in_it():
    made = evaluate([Assessment("1", "p", [], [], np.zeros(0, np.float32))], params=FEW)
    assert made.summary()["nodules"] == 0
    assert made.charts()


def test_no_scan_is_an_error_that_says_why():
    with pytest.raises(InputError, match=r"no scan could be evaluated: 1\.2: no lungs"):
        evaluate([], params=EvaluateParams(skipped=("1.2: no lungs",)))


def test_csv_of_nothing_is_a_line():
    assert as_csv([]) == "\n"
