"""A FROC score as files to look at and to work on: froc.html and froc.md for people, froc.csv and froc.png for papers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from artifacts.artifact import Preview
from artifacts.charts import froc as froc_chart
from artifacts.preview_markdown import preview_markdown
from artifacts.store import exporting, write_whole
from tasks.evaluation.froc import RATES, Froc
from tasks.evaluation.page import page


def froc_preview(score: Froc, name: str = "marks") -> Preview:
    """Headline, the table at the seven rates, and the curve with its 95 % band."""
    rows = [
        {"false positives a scan": f"{rate:g}", "sensitivity": round(s, 4), "2.5 %": round(low, 4), "97.5 %": round(high, 4)}
        for rate, s, low, high in zip(RATES, score.sensitivities, score.low, score.high, strict=True)
    ]
    counts = {
        "nodules found": score.tp,
        "missed": score.fn,
        "false positives": score.fp,
        "on excluded findings (ignored)": score.ignored,
        "further marks on found nodules": score.doubles,
    }
    tables = {"Sensitivity": rows, "Marks": [{"what": k, "how many": v} for k, v in counts.items()]}
    if score.said:
        tables["Left out"] = [{"what": line} for line in score.said]
    headline = f"CPM {score.cpm:.4f} (95 % of draws {score.cpm_low:.3f} to {score.cpm_high:.3f}), {score.scans} scans"
    return Preview(headline, tables, {"FROC by LUNA16's rule, 95 % of bootstrap draws": curve_chart({name: score})})


def curve_chart(scores: dict[str, Froc]) -> bytes:
    """Each curve with its band; the band is read off at the seven rates."""
    lines = {}
    for name, s in scores.items():
        rate = np.unique(np.concatenate([np.geomspace(0.11, 9, 400), RATES]))
        sensitivity = np.interp(rate, s.curve[0], s.curve[1])
        band = [np.interp(np.log2(rate), np.log2(RATES), bound) for bound in (s.low, s.high)]
        lines[f"{name}: CPM {s.cpm:.3f}"] = (rate, sensitivity, *band)
    return froc_chart(lines)


def write_curve(score: Froc, folder: Path) -> None:
    """Write the four files into ``folder`` (made if missing)."""
    preview = froc_preview(score)
    with exporting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "froc.html", page("FROC", preview))
        write_whole(folder / "froc.md", preview_markdown(preview))
        points = "\n".join(f"{rate:.9g},{s:.9g}" for rate, s in score.curve.T)
        write_whole(folder / "froc.csv", f"false_positives_a_scan,sensitivity\n{points}\n")
        (folder / "froc.png").write_bytes(next(iter(preview.pictures.values())))
