"""Tables as people write them: delimiters, names, decimal commas; what cannot be used is said row by row, the rest is used."""

import numpy as np
import pytest

from artifacts.dataset import Dataset
from artifacts.errors import InputError
from tasks.datasets.dataset import DatasetParams, dataset
from tasks.datasets.raw import RawDataset
from tests.tasks.datasets.made import HEADER, raw, table_of, uid


def rows_of(made: Dataset, k: int = 0):
    return [(n.center_lps_mm, n.diameter_mm) for n in made.nodules_of(uid(k))]


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_delimiter_and_encoding(sep, encoding):
    data = raw()
    data.tables["annotations"] = data.tables["annotations"].decode().replace(",", sep).encode(encoding)
    assert rows_of(dataset(data)) == [((10.0, 20.0, -100.0), 8.0)]


def test_decimal_commas_and_other_names_for_the_columns():
    table = f"Series Instance UID;x (mm);Y_mm;centerZ;Diameter\n{uid(0)};10,5;20,25;-100;8,5\n".encode()
    assert rows_of(dataset(raw(rows=[], annotations=table))) == [((10.5, 20.25, -100.0), 8.5)]


@pytest.mark.parametrize("gone", HEADER.split(","))
def test_a_missing_column_is_named_with_what_is_there(gone):
    header = ",".join(c for c in HEADER.split(",") if c != gone)
    with pytest.raises(InputError) as e:
        dataset(raw(rows=[], annotations=table_of([], header)))
    assert f"no column {gone}" in str(e.value)
    assert "there are" in str(e.value)


@pytest.mark.parametrize("cell", ["nan", "", "inf", "twelve"])
@pytest.mark.parametrize("column", range(1, 5))
def test_a_cell_that_is_no_number_costs_its_row_and_is_told(cell, column):
    good = [uid(0), "1", "2", "-50", "6"]
    bad = [uid(0), "10", "20", "-100", "8"]
    bad[column] = cell
    made = dataset(raw(1, rows=[",".join(good), ",".join(bad)]))
    assert rows_of(made) == [((1.0, 2.0, -50.0), 6.0)]
    assert any("row 3" in p and "left out" in p for p in made.problems), made.problems


def test_repeated_rows_count_once_and_are_told():
    row = f"{uid(0)},10,20,-100,8"
    made = dataset(raw(1, rows=[row, row, row]))
    assert len(made.nodules) == 1
    assert any("rows: 3, 4" in p and "same as an earlier row" in p for p in made.problems)


def test_a_series_that_is_not_on_disk_is_missing_and_counted():
    made = dataset(raw(2, rows=[f"{uid(0)},10,20,-100,8", f"{uid(77)},10,20,-100,8", f"{uid(78)},10,20,-100,8"]))
    assert made.missing == [uid(77), uid(78)]
    assert "2 of 3 scans named in the tables are not on disk" in made.problems
    assert {n.uid for n in made.nodules} == {uid(0)}


def test_a_centre_outside_its_scan_is_left_out_and_told():
    made = dataset(raw(1, rows=[f"{uid(0)},10,20,-100,8", f"{uid(0)},10,20,900,8", f"{uid(0)},-500,20,-100,8"]))
    assert len(made.nodules) == 1
    assert any(p.startswith("nodules: 2 in 1 scans lie outside") for p in made.problems)


def test_nodule_free_scans_are_kept():
    made = dataset(raw(3, rows=[f"{uid(1)},10,20,-100,8"]))
    assert len(made.scans) == 3
    assert made.by_split()[-1]["nodule-free"] == 2


def test_a_row_of_a_uid_alone_says_that_the_scan_has_no_nodule():
    made = dataset(raw(2, rows=[f"{uid(0)},,,,", f"{uid(1)},10,20,-100,8"], layout="table"))
    assert made.nodules_of(uid(0)) == []
    assert not any("no number" in p for p in made.problems)


def test_scans_in_no_table_are_taken_as_free_of_nodules_or_left_out_and_told():
    rows = [f"{uid(0)},10,20,-100,8"]
    kept = dataset(raw(3, rows, layout="table"))
    left = dataset(raw(3, rows, layout="table"), DatasetParams(unlisted="leave out"))
    assert (len(kept.scans), len(left.scans)) == (3, 1)
    assert "2 scans on disk are in no table: taken as free of nodules" in kept.problems
    assert "2 scans on disk are in no table: left out" in left.problems


def test_rows_keep_their_number_in_the_table_whatever_is_left_out():
    rows = [f"{uid(0)},1,2,-50,6", f"{uid(0)},nan,2,-50,6", f"{uid(1)},1,2,-50,6", f"{uid(0)},30,2,-50,6"]
    assert [n.row for n in dataset(raw(2, rows)).nodules_of(uid(0))] == [0, 2]


def test_a_table_that_is_empty_or_no_text_is_one_clear_line():
    for data, why in ((b"", "empty"), (b"\n\n", "empty"), (b"\0\1\2" * 99, "no text")):
        with pytest.raises(InputError, match=why):
            dataset(raw(rows=[], annotations=data))


def test_where_no_scan_of_the_table_is_on_disk_that_is_said():
    with pytest.raises(InputError, match="none of the 1 scans"):
        dataset(RawDataset("luna16", [], {"annotations": table_of([f"{uid(5)},1,2,-50,6"])}))


# -- malignancy, excluded findings, candidates ---------------------------------------------------------------------------------


def test_ratings_by_their_median_and_the_malignancy_table_by_place():
    header = HEADER + ",mal_bool,mal_details"
    rows = [f"{uid(0)},{x},20,-100,8" for x in (10, 40, 70, -60)]
    rated = [
        f'{uid(0)},{x}.00001,20,-100,8,{b},"{r}"'
        for x, b, r in ((10, True, [4, 2, 4, 4]), (40, True, [3, 2, 5]), (70, False, [1, 2, 2]))
    ]
    made = dataset(raw(1, rows, malignancy=table_of(rated, header)))
    assert [(n.malignant, n.rating, n.readers) for n in made.nodules] == [
        (True, 4.0, 4),
        (None, 3.0, 3),
        (False, 2.0, 3),
        (None, None, None),
    ]
    assert any("1 annotated nodules are not in the table" in p for p in made.problems)
    wider = dataset(raw(1, rows, malignancy=table_of(rated, header)), DatasetParams(malignant_from=3.0, benign_to=2.0))
    assert [n.malignant for n in wider.nodules] == [True, True, False, None]


def test_a_plain_label_is_taken_as_it_is_and_nonsense_told():
    rows = [f"{uid(0)},{x},20,-100,8,{label}" for x, label in ((10, 1), (30, "benign"), (50, ""), (70, "perhaps"))]
    made = dataset(raw(1, rows=[], layout="table", annotations=table_of(rows, HEADER + ",label")))
    assert [n.malignant for n in made.nodules] == [True, False, None, None]
    assert any("row 5" in p and "not understood" in p for p in made.problems)


def test_excluded_findings_need_no_diameter():
    table = table_of([f"{uid(0)},1,2,-50,-1", f"{uid(0)},5,2,-50,7.5", f"{uid(0)},9,2,-50,"])
    made = dataset(raw(1, excluded=table))
    assert [n.diameter_mm for n in made.nodules_of(uid(0), excluded=True)] == [-1, 7.5, -1]
    assert len(made.nodules_of(uid(0))) == 1
    assert made.summary()["excluded"] == 3


def test_candidates_are_kept_by_scan_in_order():
    rows = [f"{uid(k % 2)},{k},0,-50,{int(k == 4)}" for k in range(10)] + [
        f"{uid(9)},0,0,-50,0",
        f"{uid(0)},0,0,5000,0",
        f"{uid(0)},0,0,-50,2",
    ]
    made = dataset(raw(2, candidates=table_of(rows, "seriesuid,coordX,coordY,coordZ,class")))
    centers, labels = made.candidates.of(uid(0))
    assert centers[:, 0].tolist() == [0, 2, 4, 6, 8]
    assert labels.tolist() == [0, 0, 1, 0, 0]
    assert made.candidates.of("none")[0].shape == (0, 3)
    assert made.missing == [uid(9)]
    assert "candidates: 1 lie outside their scan; left out" in made.problems
    assert any("class is neither 0 nor 1" in p for p in made.problems)


def test_what_is_written_comes_back(tmp_path):
    rows = [f"{uid(0)},10.123456789012,20,-100,8.000000001"]
    table = table_of([f"{uid(1)},{k},0.1,-50,0" for k in range(5)], "seriesuid,coordX,coordY,coordZ,class")
    made = dataset(raw(3, rows, candidates=table, excluded=table_of([f"{uid(2)},1,2,-50,-1"])))
    made.write(tmp_path)
    back = Dataset.read(tmp_path)
    for name in ("scans", "nodules", "missing", "problems", "layout", "split_by"):
        assert getattr(back, name) == getattr(made, name), name
    np.testing.assert_array_equal(back.candidates.centers_lps_mm, made.candidates.centers_lps_mm)
    assert len(back.outlines) == 0
    assert back.preview({}).headline.startswith("luna16: 3 scans of 3 patients, 1 nodules")


def test_the_digest_tells_truths_apart_and_not_places():
    assert raw().digest == raw().digest
    assert raw().digest != raw(4).digest
    assert raw().digest != raw(rows=[f"{uid(0)},10,20,-100,9"]).digest
