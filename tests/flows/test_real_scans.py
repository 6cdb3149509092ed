"""The whole line on every real scan at hand, with the book's published weights: what must come out, or which refusal."""

from __future__ import annotations

import csv
import html
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.flows.conftest import Done
from tests.flows.in_process import InProcess

pytestmark = pytest.mark.data
LESION_LPS_MM = (-83, -192, -195)  # of cptac-c3n-00247: spiculated, about 20 mm
CPTAC = "ct/cptac-c3n-00247"
LIDC_1, LIDC_3 = "ct/lidc-partial/LIDC-IDRI-0001", "ct/lidc-partial/LIDC-IDRI-0003"


@dataclass(frozen=True)
class Expected:
    """What must come of one path.

    reports    how many; said: words of the one line on stderr where the exit code is not 0
    qc         codes in the (first) report; near: (LPS mm, within mm, at least p) that a finding must meet
    most       findings with p > 0.5 at most, over all reports
    """

    path: str
    options: tuple[str, ...] = ()
    code: int = 0
    reports: int = 1
    said: tuple[str, ...] = ()
    qc: frozenset[str] = frozenset()
    near: tuple[tuple[tuple[float, float, float], float, float], ...] = ()
    most: int = 7
    chosen: str = ""


@dataclass(frozen=True)
class Came:
    done: Done
    out: Path
    shown: list[dict[str, Any]] = field(default_factory=list)

    @property
    def report(self) -> dict[str, Any]:
        return self.shown[0]["report"]


SLOW = pytest.mark.slow
LIDC_NODULE_1 = ((56.2, 86.3, -115.9), 5.0, 0.9)  # 23.4 mm, tables/luna16/annotations.csv
LIDC_NODULE_3 = ((72.3, 76.9, -190.5), 8.0, 0.9)  # 21.5 mm; two others of this scan lie outside the kept slices
PART = frozenset({"part-of-chest", "lungs-cut-off"})
BOTH = (LIDC_NODULE_1, LIDC_NODULE_3)
TABLE = {
    "a diagnostic chest, float32": Expected(CPTAC, ("--precision", "float32"), near=((LESION_LPS_MM, 5.0, 0.99),)),
    "a diagnostic chest, bfloat16": Expected(CPTAC, ("--precision", "bfloat16"), near=((LESION_LPS_MM, 5.0, 0.99),)),
    # the 9 cm mass is no nodule: nobody promises to find it
    "radiotherapy planning": Expected("ct/4d-lung-113", qc=frozenset({"uneven-lungs"}), most=3),
    "CT of a PET/CT, JPEG-LS, padded": Expected("ct/acrin-nsclc-042", qc=frozenset({"thick-slices"}), most=5),
    "a coarse DICOM": Expected("ct/cip-64/dicom", qc=frozenset({"thick-slices"}), most=2),
    "the same as NRRD": Expected("ct/cip-64/ct-64.nrrd", qc=frozenset({"thick-slices", "modality"}), most=2),
    "beside its label maps": Expected("ct/cip-64", qc=frozenset({"thick-slices"}), most=2),
    "16 slices": Expected(LIDC_1, code=4, reports=0, said=("covers 40 mm, a part of a chest", "--partial")),
    "11 slices": Expected(LIDC_3, code=4, reports=0, said=("covers 28 mm, a part of a chest", "--partial")),
    "two parts": Expected("ct/lidc-partial", code=4, reports=0, said=("part of a chest", "--partial")),
    "16 slices, admitted": Expected(LIDC_1, ("--partial",), qc=PART, near=(LIDC_NODULE_1,)),
    "11 slices, admitted": Expected(LIDC_3, ("--partial",), qc=PART, near=(LIDC_NODULE_3,)),
    "two parts, admitted": Expected("ct/lidc-partial", ("--partial",), qc=PART, chosen="of 2 eligible", near=(LIDC_NODULE_1,)),
    "both parts": Expected("ct/lidc-partial", ("--partial", "--series", "all"), reports=2, qc=PART, near=BOTH),
    "outlines alone": Expected("ct/4d-lung-113-rtstruct", code=3, reports=0, said=("RTSTRUCT, not CT",)),
    # five are CT; the two label maps in cip-64 are left out
    "everything": Expected("ct", ("--series", "all"), reports=5, most=20),
    "the best of everything": Expected("ct", chosen="eligible series"),
}  # fmt: skip
ALWAYS = ("a diagnostic chest, float32", "16 slices", "11 slices", "two parts", "16 slices, admitted", "11 slices, admitted",
          "the same as NRRD", "outlines alone")  # fmt: skip
ROWS = [pytest.param(n, marks=() if n in ALWAYS else SLOW) for n in TABLE]


@pytest.fixture(scope="session")
def book(tmp_path_factory, data_dir) -> InProcess:
    """A home with the published weights as `book`, imported as a user does."""
    cli, weights = InProcess(tmp_path_factory.mktemp("real")), data_dir / "weights"
    files = {"segmenter": "dlwpt/seg_*", "nodule": "dlwpt/cls_*", "malignancy": "gregorytomy/mal_*"}
    found = {role: next(weights.glob(pattern)) for role, pattern in files.items()}
    done = cli("weights", "import", "--name", "book", *(a for role, p in found.items() for a in (f"--{role}", p)))
    assert done.code == 0, done.err
    return cli


@pytest.fixture(scope="session")
def came_of(book, data_dir) -> Callable[[str], Came]:
    """A row of the table, screened once."""
    kept: dict[str, Came] = {}

    def run(name: str) -> Came:
        if name not in kept:
            row, out = TABLE[name], book.home / f"out-{len(kept)}"
            where = data_dir / row.path
            done = book("screen", where, "--direct", "--weights", "book", "--out", out, "--json", *row.options)
            kept[name] = Came(done, out, done.json if done.out else [])
        return kept[name]

    return run


def nearest(findings: list[dict[str, Any]], at: tuple[float, float, float]) -> dict[str, Any]:
    return min(findings, key=lambda f: math.dist(f["center_lps_mm"], at))


@pytest.mark.parametrize("name", ROWS)
def test_what_must_come_out(name, came_of):
    row, came = TABLE[name], came_of(name)
    lines = [line for line in came.done.err.splitlines() if line.startswith("hounsfield: ")]
    assert came.done.code == row.code, came.done.err
    assert len(lines) == (row.code != 0), came.done.err
    for words in row.said:
        assert words in lines[0]
    assert len(list(came.out.rglob("report.json"))) == row.reports
    assert len(came.shown) == row.reports
    if row.reports == 0:
        assert not came.out.exists()
        return
    assert row.qc <= {q["code"] for q in came.report["qc"]}
    assert row.chosen in came.report["series"]["chosen_because"]
    findings = [f for shown in came.shown for f in shown["report"]["findings"]]
    assert sum(f["p_nodule"] > 0.5 for f in findings) <= row.most
    for at, within_mm, least_p in row.near:
        assert findings, "nothing was found"
        near = nearest(findings, at)
        assert math.dist(near["center_lps_mm"], at) <= within_mm
        assert near["p_nodule"] >= least_p


# -- the diagnostic chest ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chest(came_of) -> Came:
    return came_of("a diagnostic chest, float32")


def artifact(book: InProcess, came: Came, kind: Any) -> Any:
    """The artifact of ``kind`` that the report was made of."""
    from artifacts.store import Store

    store = Store(book.home / "store")
    (found,) = [m for m in store.lineage(store.resolve(came.shown[0]["ref"])) if m.kind == kind.kind]
    return store.open(store.ref(found.kind, found.digest), kind)


def heat_in_lungs(book: InProcess, came: Came, data_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """(ours, the book's own) in steps of 1/255 inside the lungs."""
    from artifacts.heatmap import HeatMap
    from artifacts.lungmask import LungMask

    inside = artifact(book, came, LungMask).labels > 0
    with np.load(data_dir / "reference" / "cptac-c3n-00247-heat.npz") as f:
        want = f["probability_u8"].astype(int)[inside]
    assert (want > 127).sum() > 100_000, "there is something to see"
    return artifact(book, came, HeatMap).probability.astype(int)[inside], want


def test_the_heat_map_is_the_book_s(book, chest, data_dir):
    heat, want = heat_in_lungs(book, chest, data_dir)
    assert np.abs(heat - want).max() <= 2


@pytest.mark.slow
def test_in_bfloat16_it_lies_on_the_same_side_of_half(book, came_of, data_dir):
    heat, want = heat_in_lungs(book, came_of("a diagnostic chest, bfloat16"), data_dir)
    assert ((heat > 127) == (want > 127)).mean() >= 0.999


def test_the_lesion_is_called_malignant_and_measured_like_a_lesion_of_2_cm(chest):
    lesion = nearest(chest.report["findings"], LESION_LPS_MM)
    assert lesion["side"] == "right"
    assert lesion["p_malignant"] > 0.9
    assert 17 <= lesion["diameter_mm"] <= 27
    assert lesion["sop_instance_uid"].startswith("1.3.6.1.4.1.14519.")


def test_the_slice_named_is_the_lesion_s_slice_in_the_files(chest, data_dir):
    import pydicom

    lesion = nearest(chest.report["findings"], LESION_LPS_MM)
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in (data_dir / CPTAC).glob("*.dcm")]
    (named,) = [h for h in headers if h.SOPInstanceUID == lesion["sop_instance_uid"]]
    assert named.InstanceNumber == lesion["slice_number"]
    assert abs(float(named.ImagePositionPatient[2]) - lesion["center_lps_mm"][2]) <= 1.51


def test_the_label_map_lies_on_the_scan(chest, data_dir):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(data_dir / CPTAC)))
    scan = reader.Execute()
    labels = sitk.ReadImage(str(chest.out / "nodules.nii.gz"))
    lesion = nearest(chest.report["findings"], LESION_LPS_MM)
    on_scan = sitk.Resample(labels, scan, sitk.Transform(), sitk.sitkNearestNeighbor)
    of_lesion = sitk.GetArrayFromImage(on_scan) == lesion["label"]
    assert of_lesion.sum() * np.prod(scan.GetSpacing()) == pytest.approx(lesion["volume_mm3"], rel=0.03)
    z, y, x = np.argwhere(of_lesion).mean(axis=0)
    assert math.dist(scan.TransformContinuousIndexToPhysicalPoint((x, y, z)), lesion["center_lps_mm"]) <= 3
    hu = sitk.GetArrayFromImage(scan)
    assert np.median(hu[of_lesion]) > -300, "it lies on tissue, not on air"


def test_the_table_and_the_json_say_the_same(chest):
    rows = list(csv.DictReader((chest.out / "findings.csv").open()))
    assert [float(r["p_nodule"]) for r in rows] == [f["p_nodule"] for f in chest.report["findings"]]


@pytest.fixture(scope="session")
def dom(tmp_path_factory) -> Callable[[Path], str]:
    """A page as headless chromium has it after running its scripts, in a window 1280 pixels wide."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium here")
    profile = tmp_path_factory.mktemp("chromium")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--window-size=1280,1000"]

    def shown(page: Path) -> str:
        return subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=60).stdout

    return shown


def test_a_browser_shows_the_lesion(chest, dom):
    shown = dom(chest.out / "report.html")
    text = "".join(part.partition(">")[2] for part in html.unescape(shown).split("<"))
    lesion = nearest(chest.report["findings"], LESION_LPS_MM)
    for words in (f"{lesion['diameter_mm']:.1f} mm, right lung", f"slice {lesion['slice_number']}", lesion["sop_instance_uid"]):
        assert words in text
    assert shown.count("data:image/") > 5 * len(chest.report["findings"])
    assert "http://" not in shown.replace("http://www.w3.org", "")
    assert "https://" not in shown


def test_the_report_fits_the_window(chest, dom, tmp_path):
    measure = "document.body.dataset.over = document.documentElement.scrollWidth - document.documentElement.clientWidth"
    page = (chest.out / "report.html").read_text()
    open_to_scripts = page.replace("Content-Security-Policy", "x-none")
    (tmp_path / "page.html").write_text(open_to_scripts.replace("</body>", f"<script>{measure}</script></body>"))
    assert 'data-over="0"' in dom(tmp_path / "page.html"), "nobody scrolls sideways"


def test_screening_it_again_computes_nothing(book, chest, data_dir, tmp_path):
    again = book(
        "screen",
        data_dir / CPTAC,
        "--direct",
        "--weights",
        "book",
        "--out",
        tmp_path,
        *TABLE["a diagnostic chest, float32"].options,
    )
    assert again.code == 0
    assert " ran " not in again.err
    assert (tmp_path / "report.json").read_text() == (chest.out / "report.json").read_text()


# -- the parts of LIDC scans -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "inside"), [("16 slices, admitted", 1), ("11 slices, admitted", 1)])
def test_the_radiologists_nodules_inside_the_kept_slices_are_found(came_of, data_dir, name, inside):
    report = came_of(name).report
    table = csv.DictReader((data_dir / "tables" / "luna16" / "annotations.csv").open())
    nodules = [r for r in table if r["seriesuid"] == report["series_uid"]]
    heights = [float(p.stem) for p in (data_dir / TABLE[name].path).glob("*.dcm")]
    kept = [r for r in nodules if min(heights) <= float(r["coordZ"]) <= max(heights)]
    assert len(kept) == inside
    for r in kept:
        at = (float(r["coordX"]), float(r["coordY"]), float(r["coordZ"]))
        assert report["findings"], "nothing was found"
        found = nearest(report["findings"], at)
        assert math.dist(found["center_lps_mm"], at) <= float(r["diameter_mm"]) / 2


# -- the same scan, stored otherwise -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_dicom_and_nrrd_of_one_scan_give_the_same_findings(came_of):
    one, other = came_of("a coarse DICOM").report, came_of("the same as NRRD").report
    assert len(one["findings"]) == len(other["findings"])
    assert one["lungs"] == other["lungs"]
    assert one["candidates"] == other["candidates"]
