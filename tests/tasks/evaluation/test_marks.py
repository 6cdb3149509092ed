"""LUNA16's tables as people hand them in: what is read, and what is refused with one line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import InputError
from tasks.evaluation.marks import marks_of, read_nodules, read_scans, read_submission, submission_csv

HEADER = "seriesuid,coordX,coordY,coordZ,probability\n"
GOOD = HEADER + "1.2.3,-1.5,2,3e1,0.9\n1.2.4,0,0,0,0.1\n"


@pytest.fixture
def table(tmp_path):
    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace(",", "|"),
        GOOD.replace(",", ";").replace(".5", ",5").replace("0.", "0,"),
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        "\n\n" + GOOD + "\n\n",
        GOOD.replace("seriesuid,coordX,coordY,coordZ", "Series_UID,x,y,z"),
        "\n".join(",".join(reversed(line.split(","))) for line in GOOD.splitlines()),
        GOOD.replace("probability", "probability,remark").replace("0.9\n", '0.9,"a, b"\n').replace("0.1\n", "0.1,\n"),
        GOOD.encode("utf-16"),
    ],
)
def test_a_submission_is_read_however_it_is_written(table, text):
    marks = read_submission(table(text))
    assert marks.series.tolist() == ["1.2.3", "1.2.4"]
    assert marks.center_lps_mm.tolist() == [[-1.5, 2, 30], [0, 0, 0]]
    assert marks.probability.tolist() == [0.9, 0.1]
    assert marks.said == []


def test_rows_that_are_there_twice_count_once_and_are_said(table):
    marks = read_submission(table(GOOD + "1.2.3,-1.5,2,30,0.9\n"))
    assert len(marks) == 2
    assert "1 row is there twice" in marks.said[0]


def test_a_submission_without_marks_is_one_that_found_nothing(table):
    marks = read_submission(table(HEADER))
    assert len(marks) == 0
    assert "no marks" in marks.said[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("  \n \n", "empty"),
        ("hello\n", "no column seriesuid"),
        (GOOD.replace("probability", "words"), "no column probability"),
        (GOOD.replace("0.9", "nan"), "row 2: probability is 'nan', not a finite number"),
        (GOOD.replace("0.9", "inf"), "row 2: probability is 'inf'"),
        (GOOD.replace("0.1", ""), "row 3: probability is ''"),
        (GOOD.replace("3e1", "left"), "row 2: coordZ is 'left'"),
        (GOOD.replace("1.2.4,", ","), "row 3: no series UID"),
        (GOOD + "1.2.5,1\n", "row 4: coordY is ''"),
        (GOOD + "1.2.5,1,2,3,0.5,6,7\n", "row 4: more cells than the 5 columns"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "no text"),
    ],
)
def test_what_would_change_a_score_is_refused_with_one_line(table, text, says):
    with pytest.raises(InputError) as e:
        read_submission(table(text))
    assert says in str(e.value)
    assert "\n" not in str(e.value)


def test_what_is_not_there_is_said_without_its_path(tmp_path):
    with pytest.raises(InputError, match="the submission is not there") as e:
        read_submission(tmp_path / "Mr-Smith.csv")
    assert "Smith" not in str(e.value)


@pytest.mark.parametrize("mm", ["0", "-1", "-3"])
def test_a_nodule_that_counts_has_a_diameter(table, mm):
    with pytest.raises(InputError, match="row 2: a diameter of"):
        read_nodules(table(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n1,0,0,0,{mm}\n"))


def test_excluded_findings_may_have_none(table):
    counted = table("seriesuid,coordX,coordY,coordZ,diameter_mm\n1,0,0,0,5\n1,0,0,0,5\n", "a.csv")
    out = table("seriesuid,coordX,coordY,coordZ,diameter_mm\n1,9,0,0,-1\n", "e.csv")
    nodules = read_nodules(counted, out)
    assert nodules.diameter_mm.tolist() == [5, -1]
    assert nodules.excluded.tolist() == [False, True]
    assert "1 row is there twice" in nodules.said[0]


@pytest.mark.parametrize(
    "text", ["1.2\n3.4\n1.2\n", "seriesuid\n1.2\n3.4\n1.2\n", "n,seriesuid\n0,1.2\n1,3.4\n2,1.2\n", "1.2,a\n3.4,b\n1.2,c"]
)
def test_a_scan_list_with_or_without_a_header(table, text):
    uids, said = read_scans(table(text))
    assert uids == ["1.2", "3.4"]
    assert "there twice" in said[0]


def test_an_empty_scan_list_is_refused(table):
    with pytest.raises(InputError, match="names no series"):
        read_scans(table("seriesuid\n"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-500, 500)] * 3, st.floats(0, 1)), max_size=10, unique=True))
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    marks = marks_of([f"1.{i}" for i in range(len(rows))], [r[:3] for r in rows], [r[3] for r in rows])
    path = tmp_path_factory.mktemp("marks") / "s.csv"
    path.write_text(submission_csv(marks))
    back = read_submission(path)
    order = np.argsort(-marks.probability, kind="stable")
    assert back.series.tolist() == marks.series[order].tolist()
    assert back.probability.tolist() == marks.probability[order].tolist()
    assert np.abs(back.center_lps_mm - marks.center_lps_mm[order]).max(initial=0) <= 5e-7
