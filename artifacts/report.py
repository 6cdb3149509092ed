"""Report: what a person takes home. JSON for programs, CSV for tables, HTML for eyes, a label map for viewers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from artifacts.arrays import read_json
from artifacts.artifact import Preview
from artifacts.store import exporting

JSON, CSV, HTML, LABELS = "report.json", "findings.csv", "report.html", "nodules.nii.gz"


@dataclass
class Report:
    """document: a valid ``ReportDocument`` as plain values; label_map: bytes of a ``.nii.gz`` on the volume's grid."""

    kind: ClassVar[str] = "report"

    document: dict[str, Any]
    csv: str
    html: str
    label_map: bytes

    def files(self) -> dict[str, bytes]:
        """Name -> content."""
        text = json.dumps(self.document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return {JSON: text.encode(), CSV: self.csv.encode(), HTML: self.html.encode(), LABELS: self.label_map}

    def write(self, folder: Path) -> None:
        for name, content in self.files().items():
            (folder / name).write_bytes(content)

    @classmethod
    def read(cls, folder: Path) -> Self:
        csv, html = ((folder / name).read_bytes().decode() for name in (CSV, HTML))  # text mode would change line ends
        return cls(read_json(folder / JSON), csv, html, (folder / LABELS).read_bytes())

    def export(self, folder: Path) -> list[Path]:
        """The four files in ``folder``, made where it is missing.

        Each appears whole or not at all, and none before all are written. Raises UsageError where
        ``folder`` is a file, StoreError where it cannot be written.
        """
        mark = uuid.uuid4().hex[:8]
        waiting: list[tuple[Path, Path]] = []
        try:
            with exporting(folder):
                folder.mkdir(parents=True, exist_ok=True)
                for name, content in self.files().items():
                    temporary = folder / f".{name}.{mark}.tmp"
                    waiting.append((temporary, folder / name))
                    temporary.write_bytes(content)
                for temporary, target in waiting:
                    temporary.replace(target)
        finally:
            for temporary, _ in waiting:
                temporary.unlink(missing_ok=True)
        return [target for _, target in waiting]

    def summary(self) -> dict[str, Any]:
        found, yes = self.document["findings"], self.document["thresholds"]["nodule"]
        summary: dict[str, Any] = {"findings": len(found), f"nodule_above_{yes:g}": sum(f["p_nodule"] > yes for f in found)}
        if found:
            summary |= {"first_mm": round(found[0]["diameter_mm"], 1), "first_p": round(found[0]["p_nodule"], 3)}
        return summary

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.pictures import report_preview

        return report_preview(self, inputs["findings"], inputs["volume"])
