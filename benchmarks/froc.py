"""Evaluation of 100 scans' marks: read the tables, match, the curve and 1,000 draws of the scans. `python -m benchmarks.froc`."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SCANS, MARKS, NODULES, EXCLUDED = 100, 100, 2, 40  # of each scan; LUNA16 has 1.3 nodules and 40 excluded findings a scan
ROUNDS = 5


def tables(folder: Path, rng: np.random.Generator) -> tuple[Path, Path, Path, Path]:
    """Submission, annotations, excluded, scans: marks near half of the nodules and anywhere."""
    uids = [f"1.3.6.1.4.1.{k}" for k in range(SCANS)]
    where = rng.uniform(-150, 150, (SCANS, NODULES, 3))
    paths = tuple(folder / f"{n}.csv" for n in ("submission", "annotations", "excluded", "scans"))
    anywhere = rng.uniform(-150, 150, (SCANS, MARKS + EXCLUDED, 3))
    anywhere[:, :NODULES] = where + rng.normal(0, 2, where.shape)
    head = "seriesuid,coordX,coordY,coordZ,"

    def rows(points: np.ndarray, last: np.ndarray) -> str:
        return "".join(
            f"{u},{x},{y},{z},{v}\n"
            for u, p, q in zip(uids, points, last, strict=True)
            for (x, y, z), v in zip(p, q, strict=True)
        )

    paths[0].write_text(head + "probability\n" + rows(anywhere[:, :MARKS], rng.random((SCANS, MARKS))))
    paths[1].write_text(head + "diameter_mm\n" + rows(where, rng.uniform(3, 30, (SCANS, NODULES))))
    paths[2].write_text(head + "diameter_mm\n" + rows(anywhere[:, MARKS:], np.full((SCANS, EXCLUDED), -1.0)))
    paths[3].write_text("\n".join(uids))
    return paths  # type: ignore[return-value]


def run() -> list[dict[str, Any]]:
    from tasks.evaluation.froc import froc
    from tasks.evaluation.marks import read_nodules, read_scans, read_submission

    took = []
    with tempfile.TemporaryDirectory() as name:
        submission, annotations, excluded, scans = tables(Path(name), np.random.default_rng(0))
        for _ in range(ROUNDS + 1):
            started = time.perf_counter()
            froc(read_submission(submission), read_nodules(annotations, excluded), read_scans(scans)[0])
            took.append(time.perf_counter() - started)
    note = f"{SCANS * MARKS:,} marks, {SCANS * EXCLUDED:,} excluded findings, 1,000 bootstraps; tables read"
    row = {"what": "FROC of 100 scans' marks", "ours_s": statistics.median(took[1:]), "theirs_s": None, "ratio": None}
    return [row | {"reach": "< 2 s", "n": ROUNDS, "note": note}]


if __name__ == "__main__":
    for row in run():
        print(f"{row['what']}: {row['ours_s']:.2f} s ({row['note']}; median of {row['n']})")
