"""Evaluation: how well a weights set finds, tells apart and grades the nodules of a data set, down to each nodule and mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview

Row = dict[str, Any]
SHOWN = 24  # pictures in a montage of the preview
RATES = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


@dataclass
class Evaluation:
    """Every number in ``metrics`` follows from the rows.

    about     weights, checkpoints (role -> digest), data, split, n, thresholds, what was skipped and why
    metrics   froc, threshold, confusion, lost_by, segmentation, malignancy, calibration, by: see docs/evaluation.md
    scans     a row a scan: uid, patient, nodules, found, false, filtered (candidates on nothing known, not called), and its facts
    nodules   a row a nodule (``artifacts.assessment.Known`` without the excluded ones): its scan's uid, found, lost_by, picture
    marks     a row a finding (``artifacts.assessment.Mark``), most probable first
    curve     float64 ``[4, n]``: false positives a scan, sensitivity, its 2.5 and 97.5 percentiles over draws of the scans
    pictures  name as in the rows -> JPEG
    """

    kind: ClassVar[str] = "evaluation"

    about: Row
    metrics: Row
    scans: list[Row]
    nodules: list[Row]
    marks: list[Row]
    curve: NDArray[np.float64]
    pictures: dict[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        rows = {"scans": self.scans, "nodules": self.nodules, "marks": self.marks}
        curve = [[None if np.isnan(v) else float(v) for v in line] for line in self.curve]
        write_json(folder / "evaluation.json", {"about": self.about, "metrics": self.metrics, "curve": curve} | rows)
        (folder / "pictures").mkdir(exist_ok=True)
        for name, body in self.pictures.items():
            (folder / "pictures" / f"{name}.jpg").write_bytes(body)

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = read_json(folder / "evaluation.json")
        curve = np.array([[np.nan if v is None else v for v in line] for line in meta.pop("curve")], dtype=np.float64)
        return cls(**meta, curve=curve, pictures={p.stem: p.read_bytes() for p in sorted((folder / "pictures").glob("*.jpg"))})

    def summary(self) -> dict[str, Any]:
        f, t = self.metrics["froc"], self.metrics["threshold"]
        return {
            "scans": len(self.scans),
            "nodules": len(self.nodules),
            "cpm": _rounded(f["cpm"]),
            "found": t["found"],
            "false_a_scan": _rounded(t["false_positives_a_scan"]),
        }

    @property
    def missed(self) -> list[Row]:
        """Nodules without a finding above the threshold, largest first."""
        return sorted((n for n in self.nodules if not n["found"]), key=lambda n: -n["diameter_mm"])

    @property
    def false(self) -> list[Row]:
        """Findings above the threshold that are nothing known, most probable first."""
        return [m for m in self.marks if m["role"] == "false" and m["called"]]

    def preview(self, inputs: Mapping[str, Any] | None = None) -> Preview:
        montages = {
            f"Missed nodules, largest first ({_of(self.missed, 'nodules')})": self._montage(self.missed, _missed_caption),
            f"False findings, most probable first ({_of(self.false, 'findings')})": self._montage(self.false, _false_caption),
        }
        return Preview(self.headline, self.tables(), self.charts() | {k: v for k, v in montages.items() if v})

    @property
    def headline(self) -> str:
        f, t, n = self.metrics["froc"], self.metrics["threshold"], len(self.scans)
        cpm = (
            "no nodule in any scan"
            if f["cpm"] is None
            else f"CPM {f['cpm']:.3f} (95 % of draws {f['cpm_low']:.3f} to {f['cpm_high']:.3f})"
        )
        found = f"{t['found']} of {t['found'] + t['missed']} nodules found at {t['false_positives_a_scan']:.2f} false a scan"
        return f"{self.about.get('weights') or 'weights'} on {n} scans: {cpm}; {found}"

    def tables(self) -> dict[str, list[Row]]:
        m = self.metrics
        f = m["froc"]
        rates = [
            {"false positives a scan": r, "sensitivity": _rounded(s), "2.5 %": _rounded(low), "97.5 %": _rounded(high)}
            for r, s, low, high in zip(RATES, f["sensitivities"], f["low"], f["high"], strict=True)
        ]
        tables = {"Sensitivity (FROC, LUNA16's rule)": rates, "Confusion of nodules": m["confusion"]}
        if lost := [{"stage": k, "nodules lost": v} for k, v in m["lost_by"].items() if v]:
            tables["Where missed nodules were lost"] = lost
        if m["segmentation"]:
            tables["Segmentation"] = [{k: _rounded(v) for k, v in m["segmentation"].items()}]
        if malignancy := _malignancy_rows(m["malignancy"]):
            tables["Malignancy of nodules found"] = malignancy
        if calibrated := [_calibration_row(k, c) for k, c in m["calibration"].items() if c]:
            tables["Calibration"] = calibrated
        for name, rows in m["by"].items():
            tables[f"By {name}"] = [{k: _rounded(v) for k, v in r.items()} for r in rows]
        tables["What was evaluated"] = self._about_rows()
        if skipped := self.about.get("skipped"):
            tables["Not evaluated"] = [{"what": s} for s in skipped[:100]]
        return tables

    def _about_rows(self) -> list[Row]:
        a = self.about
        said = {
            "weights": a.get("weights") or "not named",
            "checkpoints": ", ".join(f"{role} {d[:8]}" for role, d in a.get("checkpoints", {}).items()) or "not noted",
            "data": a.get("data") or "not named",
            "scans": f"{a['scans']} of {a['patients']} patients, {sum(not s['nodules'] for s in self.scans)} without a nodule",
            "found": f"a finding whose nodule probability is above {a['nodule_threshold']:.3g}",
            "malignant": f"a malignancy above {a['malignant_threshold']:.3g}",
            "ranges": f"{a['bootstraps']} draws of the scans, seed {a['seed']}",
        }
        return [{"what": k, "": v} for k, v in said.items()]

    def charts(self) -> dict[str, bytes]:
        from artifacts.charts import confusion_matrix, froc, reliability, roc

        shown = {}
        if np.isfinite(self.curve).any():
            shown["FROC: sensitivity by false positives a scan, with 95 % of draws"] = froc({"all scans": tuple(self.curve)})
        y, scores = self.graded()
        graded = y.any() and not y.all()
        if graded:
            shown["Malignancy of nodules found"] = roc({name: _roc_curve(s, y) for name, s in scores.items()})
        rows = self.metrics["confusion"]
        said = [k for k in rows[0] if k != "truth"]
        counts = [[r[k] or 0 for k in said] for r in rows]
        shown["Confusion of nodules; non-nodules: candidates on nothing known"] = confusion_matrix(
            counts, [r["truth"] for r in rows], said
        )
        p, right = self.sure()
        if right.any() and not right.all():
            shown["Reliability of the nodule probability of findings"] = reliability(p, right)
        if graded:
            shown["Reliability of the malignancy probability"] = reliability(next(iter(scores.values())), y)
        return shown

    def graded(self) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float64]]]:
        """Of found nodules whose nature is known: malignant ``[n]``, and what says so by name: the grader, the diameter alone."""
        rows = [n for n in self.nodules if n["malignant"] is not None and n["mark"] is not None and n["p_malignant"] is not None]
        y = np.array([n["malignant"] for n in rows], dtype=bool)
        columns = {"the grader": "p_malignant", "diameter alone": "diameter_mm"}
        if rows and all(n["risk"] is not None for n in rows):
            columns["the risk itself"] = "risk"
        return y, {name: np.array([n[c] for n in rows], dtype=np.float64) for name, c in columns.items()}

    def sure(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Nodule probability of the findings that are either a nodule or nothing known, and which."""
        rows = [m for m in self.marks if m["role"] in ("hit", "double", "false")]
        return np.array([m["p_nodule"] for m in rows]), np.array([m["role"] != "false" for m in rows], dtype=bool)

    def _montage(self, rows: Sequence[Row], caption: Any) -> bytes | None:
        import io

        from PIL import Image

        from artifacts.charts import montage

        some = [r for r in rows if r["picture"] in self.pictures][:SHOWN]
        images = [np.asarray(Image.open(io.BytesIO(self.pictures[r["picture"]])).convert("RGB")) for r in some]
        return montage(images, [caption(r) for r in some], columns=3) if images else None


def _missed_caption(n: Row) -> str:
    kind = f"{n['kind']}, " if n["kind"] else ""
    return f"{n['diameter_mm']:.1f} mm, {kind}lost by {n['lost_by']}" + (
        "" if n["p_nodule"] is None else f", p {n['p_nodule']:.2f}"
    )


def _false_caption(m: Row) -> str:
    return f"p {m['p_nodule']:.3f}, {m['diameter_mm']:.1f} mm"


def _of(rows: Sequence[Row], what: str) -> str:
    pictured = min(sum(r["picture"] is not None for r in rows), SHOWN)
    return f"{pictured} of {len(rows)} {what}"


def _malignancy_rows(m: Row) -> list[Row]:
    rows = [_auc_row(f"(n = {m['nodules']}, {m['malignant']} malignant)"), *_auc_rows(m)]
    if expected := m.get("expected"):
        rows += [_auc_row("(expected over all labels that the risks may give)"), *_auc_rows(expected)]
    return rows if len(rows) > 1 else []


def _auc_rows(m: Row) -> list[Row]:
    rows = [_auc_row(name, **v) for name, v in m.items() if isinstance(v, dict) and "value" in v]
    share = m.get("share of the gap closed")
    return rows if share is None else [*rows, _auc_row("share of the gap from diameter to risk closed", share)]


def _auc_row(name: str, value: float | None = None, low: float | None = None, high: float | None = None) -> Row:
    return {"AUC of": name, "": _rounded(value), "2.5 %": _rounded(low), "97.5 %": _rounded(high)}


def _calibration_row(name: str, c: Row) -> Row:
    row = {"probability": name, "of": c["n"], "of which yes": c["positive"], "temperature": c["temperature"]}
    row |= {"ECE": c["ece_before"], "ECE after scaling": c["ece_after"]}
    return {k: _rounded(v) for k, v in row.items()}


def _roc_curve(score: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(false positive rate, sensitivity) at each distinct threshold, from (0, 0) to (1, 1)."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    hits, false = np.cumsum(y[order])[last], np.cumsum(~y[order])[last]
    return np.append(0, false / max((~y).sum(), 1)), np.append(0, hits / max(y.sum(), 1))


def _rounded(value: Any, digits: int = 4) -> Any:
    return round(value, digits) if isinstance(value, float) else value
