"""`hounsfield froc` and `hounsfield marks` as a user types them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from artifacts.evaluation import Evaluation
from artifacts.recipe import Recipe
from artifacts.store import Store
from tests.flows.in_process import InProcess

KEYS = ["tp", "fp", "fn", "ignored", "doubles", "sensitivities", "cpm", "cpm_low", "cpm_high"]


@pytest.fixture
def hounsfield(tmp_path):
    return InProcess(tmp_path / "home")


@pytest.fixture
def tables(tmp_path):
    written = {
        "submission": "seriesuid,coordX,coordY,coordZ,probability\n1.2,0,0,1,0.9\n1.3,5,5,5,0.2\n",
        "annotations": "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,0,0,0,6\n",
        "scans": "1.2\n1.3\n",
    }
    for name, text in written.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def arguments(tables, *more):
    return (
        "froc", tables / "submission.csv", "--annotations", tables / "annotations.csv", "--scans", tables / "scans.csv", *more
    )  # fmt: skip


@pytest.mark.data
def test_json_has_the_official_counts(hounsfield, data_dir):
    d = data_dir / "tables" / "froc-reference"
    excluded = ("--excluded", d / "annotations_excluded.csv", "--json")
    done = hounsfield(
        "froc", d / "submission.csv", "--annotations", d / "annotations.csv", "--scans", d / "seriesuids.csv", *excluded
    )
    assert (done.code, done.err) == (0, "")
    assert list(done.json) == KEYS
    assert [done.json[k] for k in KEYS[:5]] == [104, 986, 1, 358, 51]
    assert round(done.json["cpm"], 4) == 0.9088


def test_the_table_and_the_curve(hounsfield, tables):
    done = hounsfield(*arguments(tables, "--out", tables / "curve"))
    assert done.code == 0, done.err
    assert "1 of 1 nodules found in 2 scans, 1 false positives" in done.out
    page = (tables / "curve" / "froc.html").read_text()
    assert "not for clinical use" in page
    assert "data:image/png;base64," in page
    assert "http://" not in page
    assert "https://" not in page
    assert (tables / "curve" / "froc.csv").read_text().startswith("false_positives_a_scan,sensitivity\n")
    assert (tables / "curve" / "froc.md").read_text().startswith("**CPM ")


@pytest.mark.parametrize("name", ["submission", "annotations", "scans"])
@pytest.mark.parametrize("text", [None, "", "\0\0\0", "a,b\n1,2\n", "seriesuid,coordX\n1.2\n"])
def test_a_bad_table_is_one_line_and_exit_code_3(hounsfield, tables, name, text):
    path = tables / f"{name}.csv"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    done = hounsfield(*arguments(tables, "--json"))
    if name == "scans" and text in ("a,b\n1,2\n", "seriesuid,coordX\n1.2\n"):
        return  # any first column will do
    assert done.code == 3
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("hounsfield: the ")


def test_what_was_left_out_is_a_note_on_stderr(hounsfield, tables):
    (tables / "scans.csv").write_text("1.3\n1.3\n")
    done = hounsfield(*arguments(tables, "--json"))
    assert done.code == 0
    assert [line.partition(":")[0] for line in done.err.splitlines()] == ["note"] * 3
    assert done.json["cpm"] is None


def test_findings_become_marks(screened, tmp_path):
    home = InProcess(screened.home)
    report = json.loads((screened.home / "out" / "report.json").read_text())
    stored = [next((screened.home / "store" / "artifacts" / kind).iterdir()) for kind in ("report", "findings")]
    for given in (screened.home / "out", screened.home / "out" / "report.json", *(f"{p.parent.name}:{p.name}" for p in stored)):
        done = home("marks", given, "--out", tmp_path / "s.csv")
        assert done.code == 0, done.err
        rows = (tmp_path / "s.csv").read_text().splitlines()
        assert rows[0] == "seriesuid,coordX,coordY,coordZ,probability"
        assert len(rows) == 1 + len(report["findings"])
        assert all(r.startswith(report["series_uid"] + ",") for r in rows[1:])


def test_an_evaluation_becomes_marks(hounsfield, tmp_path):
    rows = [
        {"uid": "1.2", "center_lps_mm": [0, 0, 1], "p_nodule": 0.9},
        {"uid": "1.3", "center_lps_mm": [5, 5, 5], "p_nodule": 0.2},
    ]
    made = Evaluation(
        {}, {"froc": {"cpm": None}, "threshold": {"found": 0, "false_positives_a_scan": 0}}, [], [], rows, np.zeros((4, 0))
    )
    (tmp_path / "page").mkdir()
    made.write(tmp_path / "page")
    store = Store(tmp_path / "home" / "store")
    ref = store.ref("evaluation", Recipe("evaluate", 1).digest)
    about = {
        "scan": "",
        "parents": {},
        "summary": {},
        "weights": None,
        "seconds": 0.0,
        "made_at": "",
        "made_by": "",
        "software": {},
    }
    store.put(ref, made, "", recipe=Recipe("evaluate", 1), **about)
    for given in tmp_path / "page", str(ref):
        done = hounsfield("marks", given, "--out", tmp_path / "s.csv")
        assert done.code == 0, done.err
        assert (tmp_path / "s.csv").read_text().splitlines()[1:] == [
            "1.2,0.000000,0.000000,1.000000,0.9",
            "1.3,5.000000,5.000000,5.000000,0.2",
        ]
        assert done.out.startswith("2 marks in 2 scans")


def test_what_holds_no_findings_is_refused(screened, tmp_path):
    lumps = next((screened.home / "store" / "artifacts" / "lumps").iterdir())
    done = InProcess(screened.home)("marks", f"lumps:{lumps.name}", "--out", tmp_path / "s.csv")
    assert done.code == 3
    assert "holds no findings" in done.err
    assert not (tmp_path / "s.csv").exists()
