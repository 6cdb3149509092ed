"""`hounsfield diff` and `hounsfield lineage` on a scan that was screened twice."""

import json
import shutil

import numpy as np
import pytest

from artifacts.findings import Finding
from artifacts.geometry import Geometry
from artifacts.lineage_picture import Box, _depths, _direct, lineage_picture
from artifacts.lumps import NO_LUMP, Candidate, Lumps
from artifacts.scores import Scores
from flows.trace import _candidates
from tests.flows.in_process import InProcess


@pytest.fixture(scope="module")
def twice(screened, phantom_series, tmp_path_factory):
    """A home in which the phantom was screened with the default, then with a lower bar; and both reports."""
    home = shutil.copytree(screened.home, tmp_path_factory.mktemp("twice") / "home")
    run = InProcess(home)
    out = home / "second"
    again = run("screen", phantom_series, "--direct", "--json", "--out", out, "--set", "measure.min_probability=0.01")
    assert again.code == 0, again.err
    (first,) = [p for p in (home / "store" / "artifacts" / "report").iterdir() if p.name[:12] not in again.json[0]["ref"]]
    return run, f"report:{first.name[:12]}", again.json[0]["ref"]


def test_two_runs_of_a_scan(twice):
    run, first, second = twice
    done = run("diff", first, second, "--direct", "--json")
    assert done.code == 0, done.err
    (comparison,) = done.json
    assert comparison["differs"] == ["measure: params: min_probability None -> 0.01"]
    assert comparison["summary"]["appeared"] == sum("appeared" in c["what"] for c in comparison["changes"]) > 0
    back = run("diff", second, first, "--direct", "--json").json[0]
    assert back["summary"]["vanished"] == comparison["summary"]["appeared"]
    text = run("diff", first, second, "--direct")
    assert "reused" in text.err
    assert "appeared" in text.out
    preview = run.home / "store" / "artifacts" / "comparison"
    assert any("data:image/jpeg" in (p / "preview.md").read_text() for p in preview.iterdir())


def test_two_weights_over_every_scan_that_was_screened_with_both(twice, phantom_series):
    run, *_ = twice
    assert run("diff", "phantom", "phantom", "--direct", "--json").json[0]["summary"]["same"] >= 1
    other = shutil.copytree("weights/phantom", run.home / "weights" / "other")
    card = json.loads((other / "nodule.json").read_text()) | {"positive_class": 0}  # says the contrary of each
    (other / "nodule.json").write_text(json.dumps(card))
    none = run("diff", "phantom", "other", "--direct")
    assert none.code == 2
    assert "screened with both" in none.err
    assert run("screen", phantom_series, "--direct", "--weights", "other", "--out", run.home / "other").code == 0
    done = run("diff", "phantom", "other", "--direct", "--json")
    assert done.code == 0, done.err
    assert any(d.startswith("classify: weights: another checkpoint (phantom -> other)") for d in done.json[0]["differs"])
    assert "measure: params: min_probability 0.01 -> None" in done.json[0]["differs"]
    summary = done.json[0]["summary"]
    assert summary["appeared"] + summary["vanished"] + summary.get("shifted", 0) >= 1, summary


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nope", "phantom"), "no artifact and no weights"),
        (("volume:", "phantom"), "no artifact 'volume:'"),
        (("a", "b"), "'a' is no artifact and no weights"),
        (("report:a", "report:b"), "give at least 4 digits"),
    ],
)
def test_what_cannot_be_compared_is_one_line(twice, arguments, said):
    run, *_ = twice
    done = run("diff", *arguments, "--direct")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_run_and_weights_or_checkpoints_of_two_roles_are_not_compared(twice):
    run, first, _ = twice
    mixed = run("diff", first, "phantom", "--direct")
    assert mixed.code == 2
    assert "is one run, 'phantom' are weights" in mixed.err
    digests = {w["role"]: w["digest"] for w in run("weights", "list", "--json").json if w["name"] == "phantom"}
    roles = run("diff", digests["nodule"], digests["malignancy"], "--direct")
    assert roles.code == 2
    assert "of two roles (malignancy, nodule)" in roles.err


def test_a_volume_is_no_run(twice):
    run, first, _ = twice
    (volume,) = (run.home / "store" / "artifacts" / "volume").iterdir()
    done = run("diff", first, f"volume:{volume.name}", "--direct")
    assert done.code == 2
    assert "is no report and no findings" in done.err


def test_from_a_finding_back_to_voxels_weights_parameters_and_code(twice, tmp_path):
    run, _, second = twice
    done = run("lineage", f"{second}#1", "--json", "--picture", tmp_path / "back.png")
    assert done.code == 0, done.err
    about = done.json
    report = json.loads((run.home / "second" / "report.json").read_text())["findings"][0]
    finding = about["finding"]
    assert finding["voxels"]["count"] > 0
    assert finding["voxels"]["sop_instance_uid"] == report["sop_instance_uid"]
    assert finding["p_nodule"] == pytest.approx(report["p_nodule"], abs=1e-5)
    (z0, z1), *_ = finding["voxels"]["box_zyx"]
    assert z0 <= report["slice_index"] <= z1
    assert max(c["p_nodule"] for c in finding["candidates"]) == pytest.approx(report["p_nodule"], abs=1e-3)
    stages = {a["stage"]: a for a in about["artifacts"]}
    assert {s: bool(a["weights"]) for s, a in stages.items() if a["weights"]} == {
        "segment": True,
        "classify": True,
        "grade": True,
    }
    assert stages["measure"]["params"]["min_probability"] == 0.01
    assert all(a["code"] and a["software"] for a in about["artifacts"])
    assert [a["stage"] for a in about["artifacts"]].index("load") == 0
    assert (tmp_path / "back.png").read_bytes().startswith(b"\x89PNG")
    assert run("lineage", second, "--finding", "1", "--json").json["finding"] == finding
    text = run("lineage", f"{second}#1")
    for part in ("finding 1", "voxels: ", "weights phantom nodule", "scan:"):
        assert part in text.out


def test_a_finding_of_a_blob_is_told_as_one_and_the_blobs_elsewhere_are_not():
    grid = Geometry((50, 50, 50), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    middle, near, far = (10.0, 10.0, 10.0), (10.0, 11.0, 10.0), (30.0, 30.0, 30.0)
    places = [Candidate(NO_LUMP, "blob", p, p, 2.0, 0.1) for p in (near, far)] + [Candidate(1, "center", far, far, 2.0, 0.9)]
    scores = Scores("nodule", np.array([0.75, 0.2, 0.1], np.float32), np.ones(3, np.int32))
    finding = Finding(1, 1, middle, middle, 5.0, 6.0, 4.0, 65.0, 10.0, 0.75, None, "left", 5.0, 10, None, None)
    (row,) = _candidates(Lumps([], places, grid), finding, [scores])
    assert (row["candidate"], row["lump"], row["p_nodule"]) == (1, "blob", 0.75)


def test_from_a_scan_forward_to_all_that_was_made_of_it(twice, phantom_series):
    run, first, second = twice
    by_path = run("lineage", phantom_series, "--json")
    assert by_path.code == 0, by_path.err
    made = {a["ref"] for a in by_path.json["artifacts"]}
    there = {
        f"{p.parent.name}:{p.name[:12]}" for p in (run.home / "store" / "artifacts").glob("*/*") if not p.name.startswith(".")
    }
    assert made == there
    scan = by_path.json["scan"]
    assert run("lineage", f"scan:{scan[:10]}", "--json").json["artifacts"] == by_path.json["artifacts"]
    (volume,) = (run.home / "store" / "artifacts" / "volume").iterdir()
    assert {a["ref"] for a in run("lineage", f"volume:{volume.name}", "--forward", "--json").json["artifacts"]} == made
    assert {a["stage"] for a in run("lineage", first, "--forward", "--json").json["artifacts"]} == {"report"}
    text = run("lineage", phantom_series).out
    assert all(ref in text for ref in (first, second))
    assert str(phantom_series) not in text


def test_what_is_gone_is_drawn_as_gone(twice, tmp_path):
    run, _, second = twice
    home = shutil.copytree(run.home, tmp_path / "home")
    (heat,) = (home / "store" / "artifacts" / "heatmap").iterdir()
    shutil.rmtree(heat)
    done = InProcess(home)("lineage", second)
    assert done.code == 0
    assert "gone or damaged" in done.out


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("{second}#99", "has no finding #99"),
        ("{second}#x", "no finding's number"),
        ("scan:ffffffffffff", "no scan"),
        ("nope:12", "no artifact"),
    ],
)
def test_a_wrong_reference_is_one_line(twice, ref, said):
    run, _, second = twice
    done = run("lineage", ref.format(second=second))
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_scan_that_was_never_screened(twice, tmp_path):
    from flows.demo import make_series

    run, *_ = twice
    done = run("lineage", make_series(tmp_path / "other", seed=4, small=True))
    assert done.code == 2
    assert "never screened" in done.err


def test_the_picture_has_every_box_below_what_it_needs_and_no_arrow_that_others_imply():
    needs = {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["c", "a"]}
    assert _depths(needs) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert _direct(needs) == [("a", "b"), ("b", "c"), ("c", "d")]
    many = [Box(str(i), f"stage {i}" * 9, ("x", "y"), ("0",) if i else ()) for i in range(40)]
    assert lineage_picture(many).startswith(b"\x89PNG")
    assert len(lineage_picture(many)) < 600_000
