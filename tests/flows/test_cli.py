"""The commands a user types, on a small phantom."""

import csv
import json
import shutil

import pytest

from tests.flows.conftest import Cli

STAGES = ["load", "outline", "segment", "group", "crop", "classify", "grade", "measure", "report"]


@pytest.fixture
def copied(screened, tmp_path) -> Cli:
    """The screened home, to be changed."""
    shutil.copytree(screened.home, tmp_path / "home")
    return Cli(tmp_path / "home")


def actions(cli, series, *more):
    done = cli("plan", series, "--json", *more)
    assert done.code == 0, done.err
    (steps,) = done.json.values()
    return {s["stage"]: (s["action"], s["because"]) for s in steps}


def ref_of(cli, kind):
    (folder,) = [p for p in (cli.home / "store" / "artifacts" / kind).iterdir() if not p.name.startswith(".")]
    return f"{kind}:{folder.name[:12]}"


def test_the_version_is_said(cli):
    done = cli("--version")
    assert done.code == 0
    assert done.out.startswith("hounsfield 0.")


def test_a_screening_leaves_a_report(screened):
    out = screened.home / "out"
    assert {p.name for p in out.iterdir()} >= {"report.json", "findings.csv", "report.html", "nodules.nii.gz"}
    document = json.loads((out / "report.json").read_text())
    assert {"findings", "qc", "provenance", "notice"} <= document.keys()
    probabilities = [f["p_nodule"] for f in document["findings"]]
    assert probabilities == sorted(probabilities, reverse=True)
    rows = list(csv.DictReader((out / "findings.csv").open()))
    assert len(rows) == len(document["findings"])
    assert "not a medical device" in (out / "report.html").read_text()


def test_screening_again_reuses_every_stage_and_gives_the_same_report(screened, phantom_series, tmp_path):
    done = screened("screen", phantom_series, "--direct", "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert done.err.count("reused") == len(STAGES)
    assert (tmp_path / "out" / "report.json").read_text() == (screened.home / "out" / "report.json").read_text()


def test_the_same_scan_in_another_folder_or_a_zip_is_the_same_artifact(copied, phantom_series, tmp_path):
    before = sorted((copied.home / "store" / "artifacts").glob("volume/*"))
    elsewhere = shutil.copytree(phantom_series, tmp_path / "Doe^Jane")
    zipped = shutil.make_archive(str(tmp_path / "scan"), "zip", phantom_series)
    for place in (elsewhere, zipped):
        done = copied("screen", place, "--direct", "--out", tmp_path / "out")
        assert done.code == 0, done.err
        assert done.err.count("reused") == len(STAGES) - ("ran" in done.err)  # the reason for the choice may differ
    assert sorted((copied.home / "store" / "artifacts").glob("volume/*")) == before


def test_the_plan_before_after_and_for_a_changed_threshold(screened, phantom_series, cli):
    assert actions(cli, phantom_series)["load"] == ("run", "input: files not read before; reading them decides")
    assert {a for a, _ in actions(screened, phantom_series).values()} == {"reuse"}
    changed = actions(screened, phantom_series, "--set", "group.threshold=0.3")
    assert [changed[s][0] for s in STAGES] == ["reuse"] * 3 + ["run"] * 6
    assert changed["group"][1] == "params: threshold 0.5 -> 0.3"
    assert changed["crop"][1].startswith("input: lumps")
    again = actions(screened, phantom_series, "--from", "classify")
    assert [again[s][0] for s in STAGES] == ["reuse"] * 5 + ["run"] * 4
    assert actions(screened, phantom_series, "--refresh", "group")["group"] == ("run", "asked: refresh")


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_runs_alone_from_the_report(copied, name):
    done = copied("stage", name, ref_of(copied, "report"), "--direct", "--refresh")
    assert done.code == 0, done.err
    assert "ran" in done.err
    assert ":" in done.out


def test_a_stage_alone_with_another_parameter_makes_another_artifact(copied):
    done = copied("stage", "group", ref_of(copied, "volume"), "--direct", "--set", "threshold=0.3")
    assert done.code == 0, done.err
    assert done.out.strip() != ref_of(copied, "findings")
    # now there are two lumps beside the volume: what follows must be told which
    ambiguous = copied("stage", "crop", ref_of(copied, "volume"), "--direct")
    assert ambiguous.code == 2
    assert ambiguous.err.count("--input lumps=lumps:") == 2
    assert ambiguous.err.count("(phantom, 20") == 2
    told = copied("stage", "crop", ref_of(copied, "volume"), "--direct", "--input", f"lumps={done.out.strip()}")
    assert told.code == 0, told.err
    # the scores that are there were made of the other lumps: they are not taken for these
    mixed = copied("stage", "measure", ref_of(copied, "volume"), "--direct", "--input", f"lumps={done.out.strip()}")
    assert mixed.code == 2
    assert "needs nodule_scores" in mixed.err
    wrong = copied("stage", "group", ref_of(copied, "report"), "--direct", "--input", f"volume={ref_of(copied, 'heatmap')}")
    assert wrong.code == 2
    assert "takes volume from the stage load" in wrong.err


def test_show_prints_manifest_lineage_and_preview(screened):
    done = screened("show", ref_of(screened, "findings"))
    assert done.code == 0, done.err
    for text in ("made by", "measure version", "whole", "volume:", "lungmask:", "heatmap:"):
        assert text in done.out
    as_json = screened("show", ref_of(screened, "findings"), "--json").json
    assert as_json["recipe"]["stage"] == "measure"
    assert len(as_json["lineage"]) == 8


def test_weights_list_names_what_ships(cli):
    rows = cli("weights", "list", "--json").json
    assert {(r["name"], r["role"]) for r in rows} >= {("phantom", "segmenter"), ("phantom", "nodule"), ("phantom", "malignancy")}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["screen", "/nowhere"], 3, "nothing at the given path"),
        (["screen", "EMPTY"], 3, ""),
        (["screen", "SERIES", "--series", "1.2.3"], 3, "no series with the UID"),
        (["screen", "SERIES", "--weights", "nope"], 5, "no weights called 'nope'"),
        (["screen", "SERIES", "--set", "group.treshold=0.4"], 2, "it has threshold"),
        (["screen", "SERIES", "--set", "group.threshold=7"], 2, "group.threshold"),
        (["screen", "SERIES", "--refresh", "grop"], 2, "the stages are load"),
        (["screen", "SERIES", "--device", "cuda:9"], 2, "cuda:9"),
        (["screen", "SERIES", "--precision", "float8"], 2, "float8"),
        (["screen", "SERIES", "--frobnicate"], 2, "No such option"),
        (["show", "volume:ffff"], 2, "no artifact"),
        (["show", "f"], 2, "at least 4 digits"),
        (["inbox", "run", "EMPTY", "--direct", "--dask", "local"], 2, "leave --direct out"),
        (["stage", "segmant", "volume:ffff"], 2, "the stages are load"),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_its_exit_code(cli, phantom_series, tmp_path, arguments, code, said):
    (tmp_path / "empty").mkdir()
    places = {"SERIES": phantom_series, "EMPTY": tmp_path / "empty"}
    arguments = [places.get(a, a) for a in arguments]
    done = cli(*arguments, *(["--direct"] if arguments[0] in ("screen", "stage") else []))
    assert done.code == code, done.err
    lines = [x for x in done.err.splitlines() if x.startswith("hounsfield: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in done.err


def test_help_teaches(cli):
    text = cli("--help").out
    for word in ("screen", "plan", "stage", "show", "weights", "Exit codes", "not a medical device"):
        assert word in text


def test_no_patient_reaches_artifacts_or_logs(cli, phantom_series, tmp_path):
    named = shutil.copytree(phantom_series, tmp_path / "DOEMANNIKOV^JANELLE_1961")
    done = cli("screen", named, "--direct", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    kept = [p for place in (cli.home / "store", tmp_path / "out") for p in place.rglob("*") if p.is_file()]
    assert len(kept) > 20
    for secret in (b"DOEMANNIKOV", b"JANELLE", b"PHANTOM^"):
        assert [p for p in kept if secret in p.read_bytes()] == []
    assert "DOEMANNIKOV" not in done.err
