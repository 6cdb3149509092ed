"""The report: a document that holds its schema, a page that stays a page whatever it is told, files that appear whole."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from artifacts.errors import StoreError, UsageError
from artifacts.report import Report
from artifacts.report_document import FindingRecord, ReportDocument
from artifacts.volume import QCFinding
from tasks.report import ReportParams, report
from tests.artifacts.small_scans import chest, grid, nothing_found

DOCS = Path(__file__).parents[2] / "docs"
SECRET = "DOE^JANE 1951-02-03 /archive/doe-jane"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{ 7 * 7 }}"


def step(stage: str = "segment", **other) -> dict:
    weights = {"name": "phantom", "role": "segmenter", "digest": "ab" * 16, "architecture": "unet2d", "licence": "Apache-2.0"}
    weights |= {"source": "", "training": {"data": {"phantoms": 1200}, "seeds": [0, 1199]}}
    common = {
        "kind": "heatmap",
        "digest": "cd" * 16,
        "version": 1,
        "params": {"threshold": 0.5, "spec": {"shape_zyx": [32, 48, 48]}},
    }
    made = {"precision": "float32", "seconds": 1.5, "software": {"numpy": "2.3.1"}, "made_by": "0.1.0"}
    return {"stage": stage, **common, **made, "weights": weights, **other}


@pytest.fixture(scope="module")
def inputs() -> dict:
    return chest(grid((70, 60, 40), (3.0, 3.5, 5.0)))


@pytest.fixture(scope="module")
def made(inputs) -> Report:
    return report(**inputs, lineage=[step("outline", weights=None, software={"numpy": "2.2.0"}), step()])


class Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


# -- the document ---------------------------------------------------------------------------------------------------------


def test_the_document_holds_its_schema(made):
    assert ReportDocument.model_validate(made.document, strict=False).model_dump(mode="json") == made.document
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(made.document, json.loads((DOCS / "report.schema.json").read_text()))


def test_the_documentation_is_up_to_date():
    published = json.loads((DOCS / "report.schema.json").read_text())
    published.pop("$schema")
    assert published == ReportDocument.model_json_schema()
    page = (DOCS / "report-schema.md").read_text()
    assert all(f"`{name}`" in page for name in (*ReportDocument.model_fields, *FindingRecord.model_fields))


def test_findings_come_most_probable_first_with_all_that_is_known(made, inputs):
    found = made.document["findings"]
    assert [f["rank"] for f in found] == [1, 2, 3]
    assert found[0]["p_nodule"] == 0.998
    assert found[1]["p_malignant"] is None
    assert found[0]["center_lps_mm"] == [-50.0, -10.0, 12.0]
    assert found[0]["side"] == "right"
    assert found[0]["sop_instance_uid"] == f"1.2.3.{found[0]['slice_index']}"
    assert found[0]["slice_number"] == found[0]["slice_index"] + 1
    assert made.document["lungs"]["right_ml"] == pytest.approx(inputs["lung_mask"].volume_ml(1), abs=0.1)
    assert made.document["headline"] == "3 findings; the most suspicious: 18 mm, right, malignant p 0.93"
    assert made.document["notice"] == "Research software, not a medical device; not for clinical use."


def test_provenance_says_what_it_rests_on(made):
    provenance = made.document["provenance"]
    assert [s["stage"] for s in provenance["stages"]] == ["outline", "segment"]
    assert provenance["stages"][1]["weights"]["licence"] == "Apache-2.0"
    assert provenance["software"] == {"numpy": ["2.2.0", "2.3.1"]}


def test_json_is_strict_where_a_measure_is_not_known(inputs):
    findings = inputs["findings"]
    odd = replace(findings.findings[0], mean_hu=float("nan"), pleura_distance_mm=float("inf"), p_malignant=float("nan"))
    r = report(**inputs | {"findings": replace(findings, findings=[odd])})
    text = r.files()["report.json"].decode()
    loaded = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [loaded["findings"][0][n] for n in ("mean_hu", "pleura_distance_mm", "p_malignant")] == [None] * 3


def test_numpy_numbers_are_as_good_as_pythons(inputs):
    findings = inputs["findings"]
    odd = replace(findings.findings[0], p_nodule=np.float32(0.25), slice_index=np.int64(3), center_lps_mm=tuple(np.ones(3)))  # type: ignore[arg-type]
    json.loads(report(**inputs | {"findings": replace(findings, findings=[odd])}).files()["report.json"])


def test_a_probability_above_one_is_a_defect(inputs):
    findings = inputs["findings"]
    with pytest.raises(ValidationError):
        report(**inputs | {"findings": replace(findings, findings=[replace(findings.findings[0], p_nodule=1.2)])})


def test_csv_has_the_numbers_of_the_document(made):
    rows = list(csv.DictReader(io.StringIO(made.csv)))
    assert len(rows) == 3
    for row, f in zip(rows, made.document["findings"], strict=True):
        assert [float(row[f"{a}_lps_mm"]) for a in "xyz"] == f["center_lps_mm"]
        assert all(row[n] == ("" if f[n] is None else str(f[n])) for n in f if n != "center_lps_mm")
        assert row["series_uid"] == "1.2.3"


def test_csv_starts_no_formula(inputs):
    volume = inputs["volume"]
    hostile = replace(volume, series=replace(volume.series, uid="=cmd|' /C calc'!A0"))
    row = next(csv.DictReader(io.StringIO(report(**inputs | {"volume": hostile}).csv)))
    assert row["series_uid"].startswith("'=")
    assert float(row["x_lps_mm"]) == -50.0


def test_the_same_inputs_give_the_same_bytes(made, inputs):
    again = report(**inputs, lineage=[step("outline", weights=None, software={"numpy": "2.2.0"}), step()])
    assert again.files() == made.files()


# -- the page -------------------------------------------------------------------------------------------------------------


def test_the_page_asks_nothing_of_anyone(made):
    page = Page(made.html)
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    assert all(a["src"].startswith("data:image/jpeg;base64,") and a["alt"] for a in page.named("img"))
    assert all(a["href"].startswith("#") for a in page.named("a"))
    assert "url(" not in made.html
    assert "@import" not in made.html
    policy = next(a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_the_page_shows_each_finding_and_says_what_it_is(made):
    page = Page(made.html)
    assert made.document["notice"] in page.text
    assert made.document["headline"] in page.text
    assert [a["id"] for a in page.named("article")] == ["finding-1", "finding-2", "finding-3"]
    assert len(page.named("img")) == 4 + 3 * 6 + 6
    assert "axial, W 1500 L -600" in page.text
    assert "axial, W 400 L 40" in page.text
    assert "not asked" in page.text
    assert "slices are 5 mm apart" in page.text
    assert "Apache-2.0" in page.text
    assert len(made.html) < 3_000_000


def test_hostile_text_stays_text(inputs):
    volume = inputs["volume"]
    series = replace(volume.series, uid=HOSTILE, kernel=HOSTILE, manufacturer=HOSTILE, source_format=HOSTILE, modality=HOSTILE)
    hostile = replace(volume, series=series, qc=[QCFinding(HOSTILE, "warning", HOSTILE)])
    findings = inputs["findings"]
    evil = replace(findings, findings=[replace(findings.findings[0], sop_instance_uid=HOSTILE)])
    weights = dict.fromkeys(("name", "role", "digest", "architecture", "licence", "source"), HOSTILE) | {
        "training": {HOSTILE: HOSTILE}
    }
    lineage = [
        step(HOSTILE, kind=HOSTILE, digest=HOSTILE, weights=weights, params={HOSTILE: {"a": [HOSTILE]}}, precision=HOSTILE)
    ]
    lineage[0] |= {"software": {HOSTILE: HOSTILE}, "made_by": HOSTILE}
    params = ReportParams(title=HOSTILE, series_choice=HOSTILE)
    r = report(**inputs | {"volume": hostile, "findings": evil}, params=params, lineage=lineage)
    page = Page(r.html)
    assert not page.named("script")
    assert all(a["src"].startswith("data:") for a in page.named("img"))
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") >= 15
    assert "{{ 7 * 7 }}" in page.text


def test_a_report_without_findings_says_so_and_is_whole(inputs, tmp_path):
    r = report(**nothing_found(inputs))
    page = Page(r.html)
    assert "No nodule was found" in page.text
    assert "not proof" in page.text
    assert not page.named("article")
    assert r.document["findings"] == []
    assert r.document["headline"] == "No nodule found"
    assert len(r.csv.splitlines()) == 1
    assert len(r.export(tmp_path)) == 4


def test_only_the_asked_number_of_findings_is_pictured(inputs):
    page = Page(report(**inputs, params=ReportParams(key_images=1)).html)
    assert len(page.named("article")) == 1
    assert "2 less probable findings" in page.text


def test_nothing_hidden_travels_with_a_report(inputs):
    r = report(**inputs, lineage=[step(path=SECRET, host=SECRET, scan=SECRET)])
    for content in r.files().values():
        assert not any(part.encode() in content for part in SECRET.split())
    assert b"Exif" not in r.files()["report.html"]


# -- the files ------------------------------------------------------------------------------------------------------------


def test_a_report_reads_back_as_it_was_written(made, tmp_path):
    made.write(tmp_path)
    again = Report.read(tmp_path)
    assert again == made
    assert again.files() == made.files()


def test_the_label_map_lies_on_the_findings(made, tmp_path):
    import SimpleITK as sitk

    made.export(tmp_path)
    image = sitk.ReadImage(str(tmp_path / "nodules.nii.gz"))
    for f in made.document["findings"]:
        assert image.GetPixel(image.TransformPhysicalPointToIndex(f["center_lps_mm"])) == f["label"]


def test_export_makes_the_folder_and_leaves_nothing_else(made, tmp_path):
    made.export(tmp_path / "a" / "b")
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == [
        "findings.csv",
        "nodules.nii.gz",
        "report.html",
        "report.json",
    ]


def test_a_full_disk_leaves_the_earlier_report_whole(made, tmp_path, monkeypatch):
    made.export(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(self, content):
        if "html" in self.name:
            write(self, content[: len(content) // 2])
            raise OSError(28, "No space left on device", str(self))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="the disk of the output folder is full") as e:
        replace(made, html="another").export(tmp_path)
    assert str(tmp_path) not in str(e.value)
    assert e.value.private == str(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_file_where_the_folder_should_be_is_refused(made, tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UsageError, match="--out"):
        made.export(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_report_shows_itself_in_the_ui(made, inputs):
    preview = made.preview(inputs)
    assert "not a medical device" in preview.headline
    assert {"Quality control", "Weights"} <= preview.tables.keys()
    assert made.summary() == {"findings": 3, "nodule_above_0.5": 2, "first_mm": 18.0, "first_p": 0.998}
