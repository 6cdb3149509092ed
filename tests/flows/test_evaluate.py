"""`hounsfield evaluate` on a LUNA16-shaped folder of small phantoms: from a folder to a page of results, and on from there."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from artifacts.errors import UsageError
from artifacts.home import SHIPPED_WEIGHTS, find_weights
from artifacts.nifti import label_map
from flows.evaluating import check_evaluated
from tests.flows.in_process import InProcess
from tests.luna_folder import luna_folder

FEW = ("--direct", "--set", "evaluate.bootstraps=20")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """(command line, folder, what it printed): two phantoms with nodules, one without, and one scan that is broken."""
    home = tmp_path_factory.mktemp("evaluate")
    folder = luna_folder(home / "luna", (1, 2), (3, 4))
    (folder.root / "labels").mkdir()
    for p in folder.phantoms.values():
        body = label_map(p.nodule_labels, p.volume.geometry, "nodules")
        (folder.root / "labels" / f"{p.volume.series.uid}.nii.gz").write_bytes(body)
    broken = next((folder.root / "subset4").glob("*.raw"))
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    cli = InProcess(home / "home")
    done = cli("evaluate", folder.root, "--split", "all", "--out", home / "out", "--json", *FEW)
    assert done.code == 0, done.err
    return cli, folder, done


def test_every_scan_counts_and_the_broken_one_is_said(evaluated):
    _, folder, done = evaluated
    about, metrics = done.json["about"], done.json["metrics"]
    nodules = sum(len(p.nodules) for p in folder.phantoms.values())
    assert (about["scans"], about["weights"]) == (3, "phantom")
    assert metrics["threshold"]["found"] + metrics["threshold"]["missed"] == nodules
    (skipped,) = about["skipped"]
    assert skipped.startswith(folder.phantoms[4].volume.series.uid)
    assert str(folder.root) not in json.dumps(done.json)


def test_label_maps_say_how_well_it_segments(evaluated):
    done = evaluated[2]
    segmentation = done.json["metrics"]["segmentation"]
    assert segmentation["scans"] == 3
    assert 0 < segmentation["dice"] < 1


def test_the_page_and_the_ledger_are_there(evaluated):
    cli, folder, done = evaluated
    out = cli.home.parent / "out"
    page = (out / "evaluation.html").read_text()
    assert "not for clinical use" in page
    assert "Not evaluated" in page
    missed = list(csv.DictReader((out / "missed.csv").open()))
    assert len(missed) == done.json["metrics"]["threshold"]["missed"]
    assert all(r["lost_by"] for r in missed)
    truth = {(round(x, 3) for x in n.center_lps_mm) for p in folder.phantoms.values() for n in p.nodules}
    assert len(truth) >= len(missed)


def test_again_nothing_is_screened(evaluated, tmp_path):
    cli, folder, done = evaluated
    again = cli("evaluate", folder.root, "--split", "all", "--out", tmp_path, "--json", *FEW)
    assert again.json["ref"] == done.json["ref"]
    assert " ran " not in again.err


def test_its_marks_score_the_same_by_the_froc_command(evaluated, tmp_path):
    cli, folder, done = evaluated
    scans = [folder.phantoms[k].volume.series.uid for k in (1, 2, 3)]
    (tmp_path / "scans.csv").write_text("\n".join(scans))
    out = cli.home.parent / "out"
    scored = cli(
        "froc", out / "submission.csv", "--annotations", folder.root / "annotations.csv", "--scans", tmp_path / "scans.csv",
        "--json", "--bootstraps", "20",
    )  # fmt: skip
    assert scored.code == 0, scored.err
    for name in ("tp", "fp", "fn", "sensitivities", "cpm"):
        assert scored.json[name] == pytest.approx(done.json["metrics"]["froc"][name])


def test_an_empty_split_says_what_there_is(evaluated):
    cli, folder, _ = evaluated
    done = cli("evaluate", folder.root, "--fold", "77", *FEW)
    assert done.code == 3
    assert len([line for line in done.err.splitlines() if line.startswith("hounsfield: ")]) == 1
    assert "--split all" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--weights", "nobody"), 5, "no weights called"),
        (("--set", "evaluate.threshold=2"), 2, "evaluate.threshold"),
        (("--set", "report.title=x"), 2, "report.title"),
        (("--device", "abacus"), 2, "unknown device"),
    ],
)
def test_what_is_asked_wrongly_ends_at_once(evaluated, arguments, code, says):
    cli, folder, _ = evaluated
    done = cli("evaluate", folder.root, *FEW, *arguments)
    assert done.code == code
    assert says in done.err


def test_a_folder_that_is_not_there(evaluated, tmp_path):
    done = evaluated[0]("evaluate", tmp_path / "Mr-Smith", *FEW)
    assert done.code == 3


# -- compared and calibrated -------------------------------------------------------------------------------------------------


def test_an_evaluation_does_not_differ_from_itself(evaluated, tmp_path):
    cli, _, done = evaluated
    out = str(cli.home.parent / "out")
    found = cli("compare-evaluations", done.json["ref"], out, "--json", "--bootstraps", "20", "--out", tmp_path)
    assert found.code == 0, found.err
    assert found.json["scans"] == 3
    assert all(r["difference"] in (0, None) and r["low"] in (0, None) for r in found.json["rows"])
    assert "not for clinical use" in (tmp_path / "comparison.html").read_text()


def test_what_is_no_evaluation_is_refused(evaluated, tmp_path):
    cli = evaluated[0]
    (tmp_path / "evaluation.json").write_text("{}")
    assert cli("compare-evaluations", tmp_path, tmp_path).code == 3
    assert cli("compare-evaluations", "evaluation:ffff", "evaluation:ffff").code == 2


def test_calibrated_weights_find_the_same_with_other_probabilities(evaluated, tmp_path):
    cli, folder, done = evaluated
    made = cli("calibrate", done.json["ref"], "--weights", "phantom", "--as", "calibrated")
    assert made.code == 0, made.err
    fitted = done.json["metrics"]["calibration"]["nodule"]["temperature"]
    card = json.loads((cli.home / "weights" / "calibrated" / "nodule.json").read_text())
    assert card["temperature"] == pytest.approx(min(max(fitted, 0.05), 20), rel=1e-6)
    again = cli("evaluate", folder.root, "--split", "all", "--weights", "calibrated", "--out", tmp_path / "b", "--json", *FEW)
    assert again.code == 0, again.err
    assert " segment " not in "".join(line for line in again.err.splitlines() if " ran " in line), "only the classifiers ran"
    assert again.json["metrics"]["threshold"]["found"] == done.json["metrics"]["threshold"]["found"]
    assert cli("calibrate", done.json["ref"], "--weights", "phantom", "--as", "calibrated").code == 2, "it is there already"
    assert cli("calibrate", again.json["ref"], "--weights", "phantom", "--as", "other").code == 2, "it is of other weights"


def test_a_retrained_set_of_the_same_name_is_not_calibrated(evaluated):
    cli, _, done = evaluated
    own = cli.home / "weights" / "phantom"
    shutil.copytree(SHIPPED_WEIGHTS / "phantom", own)
    try:
        same = cli("calibrate", done.json["ref"], "--weights", "phantom", "--as", "same")
        assert same.code == 0, "a copy holds the very checkpoints that were evaluated"
        card = json.loads((own / "nodule.json").read_text())
        (own / "nodule.json").write_text(json.dumps(card | {"threshold": 0.123}))
        made = cli("calibrate", done.json["ref"], "--weights", "phantom", "--as", "retrained")
    finally:
        shutil.rmtree(own)
    assert made.code == 2
    assert made.err.strip().endswith("(another nodule): evaluate 'phantom' first")
    assert not (cli.home / "weights" / "retrained").exists()


def test_what_is_calibrated_is_what_was_evaluated_whatever_it_is_called():
    there = find_weights("phantom")
    about = {"weights": "mine", "checkpoints": {role: c.digest for role, c in there.items()}}
    check_evaluated(about, "phantom", there)
    with pytest.raises(UsageError, match=r"not of weights 'mine' as they are now \(another segmenter\)"):
        check_evaluated({**about, "checkpoints": {**about["checkpoints"], "segmenter": "ff"}}, "mine", there)
    with pytest.raises(UsageError, match="evaluate again"):
        check_evaluated({"weights": "phantom"}, "phantom", there)
