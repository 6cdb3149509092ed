"""The stage ``report``: everything that was found, as one document for programs and one page for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from artifacts import NOTICE
from artifacts.findings import Finding, Findings
from artifacts.heatmap import HeatMap
from artifacts.lumps import Lumps
from artifacts.lungmask import LEFT, RIGHT, LungMask
from artifacts.nifti import label_map
from artifacts.pictures import findings_headline
from artifacts.report import Report
from artifacts.report_document import SCHEMA_VERSION, FindingRecord, ReportDocument
from artifacts.volume import Volume
from tasks.report_page import report_page
from tasks.report_pictures import report_pictures
from tasks.stage import Params, stage

DIGITS = {"p_nodule": 6, "p_malignant": 6}  # of everything else in millimetres and HU: 3


class ReportParams(Params):
    title: str = Field("Chest CT: lung nodules", max_length=120, description="Heading of the page; name no patient here")
    key_images: int = Field(10, ge=0, le=30, description="Number of findings that are shown in pictures, most probable first")
    window_center_hu: float = Field(-600, ge=-1000, le=3000, description="Middle of the grey scale of the pictures, HU")
    window_width_hu: float = Field(1500, ge=1, le=4000, description="Width of the grey scale of the pictures, HU")
    field_mm: float = Field(60, ge=20, le=200, description="Width of a finding's close-up, mm")
    series_choice: SkipJsonSchema[str | None] = Field(None, description="Why this series was screened")


@stage("report", version=3, params=ReportParams)
def report(
    volume: Volume,
    lung_mask: LungMask,
    heat_map: HeatMap,
    lumps: Lumps,
    findings: Findings,
    *,
    params: ReportParams = ReportParams(),
    lineage: Sequence[dict[str, Any]] = (),
) -> Report:
    """The report of a screened volume; all inputs on the volume's grid.

    ``lineage``: what the report rests on, one mapping a stage (see ``artifacts.report_document.StageRecord``).
    """
    document = report_document(volume, lung_mask, lumps, findings, params, lineage)
    pictures = report_pictures(volume, lung_mask, heat_map, findings, params)
    return Report(
        document=document,
        csv=findings_csv(document),
        html=report_page(document, pictures),
        label_map=label_map(findings.labels, findings.geometry, "Hounsfield: nodule outlines, value = number of the finding"),
    )


def report_document(
    volume: Volume, lung_mask: LungMask, lumps: Lumps, findings: Findings, params: ReportParams, lineage: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Plain values of a valid ``ReportDocument``: no NaN, no patient, no path."""
    s, g = volume.series, volume.geometry
    found = sorted(findings.findings, key=lambda f: f.rank)
    document = ReportDocument.model_validate(
        {
            "schema_version": SCHEMA_VERSION,
            "notice": NOTICE,
            "title": params.title,
            "series_uid": s.uid,
            "headline": findings_headline(found, findings.nodule_threshold),
            "findings": [_record(f) for f in found],
            "thresholds": {"nodule": findings.nodule_threshold, "malignant": findings.malignant_threshold},
            "qc": [asdict(q) for q in (*volume.qc, *lung_mask.qc)],
            "lungs": {"right_ml": round(lung_mask.volume_ml(RIGHT), 1), "left_ml": round(lung_mask.volume_ml(LEFT), 1)},
            "candidates": {"lumps": len(lumps.lumps), "candidates": len(lumps.candidates)},
            "series": {
                "modality": s.modality,
                "source_format": s.source_format,
                "manufacturer": s.manufacturer,
                "kernel": s.kernel,
                "slice_thickness_mm": _finite(s.slice_thickness_mm),
                "shape_zyx": g.shape_zyx,
                "spacing_zyx_mm": tuple(round(v, 6) for v in g.spacing_zyx),
                "chosen_because": params.series_choice or "",
            },
            "provenance": {"stages": list(lineage), "software": _versions(lineage)},
        }
    )
    return document.model_dump(mode="json")


def findings_csv(document: dict[str, Any]) -> str:
    """One line a finding under a line of names; the centre as three columns, the series first."""
    columns = [c for c in FindingRecord.model_fields if c != "center_lps_mm"]
    at = columns.index("label") + 1
    names = ["series_uid", *columns[:at], "x_lps_mm", "y_lps_mm", "z_lps_mm", *columns[at:]]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")  # RFC 4180
    writer.writerow(names)
    for f in document["findings"]:
        row = [document["series_uid"], *(f[c] for c in columns[:at]), *f["center_lps_mm"], *(f[c] for c in columns[at:])]
        writer.writerow([_cell(v) for v in row])
    return stream.getvalue()


def _record(f: Finding) -> dict[str, Any]:
    values = asdict(f)
    record = {n: values[n] for n in FindingRecord.model_fields}
    for name, value in record.items():
        if isinstance(value, float | np.floating):
            record[name] = _finite(round(float(value), DIGITS.get(name, 3)))
    record["center_lps_mm"] = tuple(round(float(v), 3) for v in f.center_lps_mm)
    return record


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _versions(lineage: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    used: dict[str, set[str]] = {}
    for step in lineage:
        for name, number in step.get("software", {}).items():
            used.setdefault(name, set()).add(number)
    return {name: sorted(numbers) for name, numbers in sorted(used.items())}


def _cell(value: Any) -> Any:
    """A spreadsheet would run a text that begins like a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
