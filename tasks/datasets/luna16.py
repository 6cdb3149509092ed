"""LUNA16 as it unpacks, and any table beside scans: annotations, excluded findings, candidates, malignancy, as CSV.

Setio et al., Medical Image Analysis 42 (2017). Coordinates are LPS millimetres; LUNA16 has no patient IDs, so that each series
counts as a patient of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from artifacts.dataset import UNMEASURED, Candidates, Nodule, Outlines
from artifacts.errors import InputError
from tasks.datasets import table as tables
from tasks.datasets.raw import Entry, LookAtImage, RawDataset
from tasks.datasets.splits import identity_of
from tasks.datasets.table import CENTER, Notes, Table, optional, read_table, with_centers, without_repeated
from tasks.reading.images import IMAGE_SUFFIXES, image_suffix

if TYPE_CHECKING:
    from tasks.datasets.dataset import DatasetParams

# What a table is -> file names it goes by, the better one first.
FILES = {
    "annotations": ("annotations.csv",),
    "excluded": ("annotations_excluded.csv",),
    "candidates": ("candidates_v2.csv", "candidates.csv"),
    "malignancy": ("annotations_with_malignancy.csv",),
    "scans": ("seriesuids.csv",),
}
SUBSET = re.compile(r"subset(\d+)", re.IGNORECASE)
LABELS = "labels"  # a folder of label maps of nodules that are named like their scans
NOT_SCANS = ("seg-lungs", "masks", LABELS)
SAME_MM = 1.0  # two tables mean the same nodule


@dataclass
class Truth:
    """nodules: excluded ones too; named: every series that a table names."""

    nodules: list[Nodule]
    candidates: Candidates = field(default_factory=Candidates.none)
    named: set[str] = field(default_factory=set)
    outlines: Outlines = field(default_factory=Outlines.none)


def recognise(files: list[Path]) -> bool:
    """``annotations.csv`` beside image files, or folders called subset0 … subset9."""
    names = {f.name.lower() for f in files}
    images = [f for f in files if image_suffix(f) and not f.parent.name.lower().startswith(NOT_SCANS)]
    return bool(images) and ("annotations.csv" in names or any(SUBSET.fullmatch(f.parent.name) for f in images))


def gather(folder: Path, files: list[Path], look: LookAtImage) -> RawDataset:
    """Every image but lung segmentations, and the tables by their names, wherever they lie below ``folder``."""
    raw = RawDataset("luna16", [], tables_in(files))
    if "annotations" not in raw.tables:
        raise InputError("LUNA16's annotations.csv is not in the folder: put it beside the subsets")
    for path in files:
        if is_scan(path, folder):
            inner = path.relative_to(folder).parts[:-1]
            subset = next((int(m[1]) for part in reversed(inner) if (m := SUBSET.fullmatch(part))), None)
            add_image(raw, path, look, subset)
    add_labels(raw, folder, files)
    return raw


def is_scan(path: Path, folder: Path) -> bool:
    """An image that does not lie in a folder of masks."""
    inner = path.relative_to(folder).parts[:-1]
    return bool(image_suffix(path)) and not any(part.lower().startswith(NOT_SCANS) for part in inner)


def add_labels(raw: RawDataset, folder: Path, files: list[Path]) -> None:
    """``labels/<series UID, or the scan's file name>.<any image suffix>``: value 1 + row of the nodule among its scan's."""
    for path in files:
        if image_suffix(path) and any(part.lower() == LABELS for part in path.relative_to(folder).parts[:-1]):
            stem = path.name[: -len(image_suffix(path) or "")]
            raw.labels.setdefault(raw.names.get(stem, stem), path)


def tables_in(files: list[Path]) -> dict[str, bytes]:
    """What it is -> bytes of the table; of several with one name the one nearest to the top."""
    found = {}
    by_name: dict[str, Path] = {}
    for path in sorted(files, key=lambda f: (len(f.parts), str(f))):
        by_name.setdefault(path.name.lower(), path)
    for what, names in FILES.items():
        there = next((by_name[n] for n in names if n in by_name), None)
        if there:
            found[what] = there.read_bytes()
    return found


def add_image(raw: RawDataset, path: Path, look: LookAtImage, official: int | None = None) -> None:
    """One image file as an entry; one whose header cannot be read is a problem, and kept, so that it is told when it is cut."""
    series, grid = look(path)
    if grid is None:
        raw.problems.append(f"scan {series.uid}: its header cannot be read")
    raw.entries.append(Entry(series.uid, identity_of(series.uid), series.n_slices, grid, official))
    raw.series.setdefault(series.uid, series)
    raw.names[path.name[: -len(image_suffix(path) or "")]] = series.uid


def truth(raw: RawDataset, params: DatasetParams, notes: Notes) -> Truth:
    """Nodules of the annotations (graded by the malignancy table too), excluded findings, candidates."""
    needs = (*CENTER, "diameter")
    annotated = _table(raw, "annotations", needs, notes)
    named = {str(u) for u in annotated.columns["uid"] if u}
    nodules = _nodules(annotated, params, notes)
    if "malignancy" in raw.tables:
        nodules = _graded(nodules, _nodules(_table(raw, "malignancy", needs, notes), params, notes), notes)
    if "excluded" in raw.tables:
        table = _table(raw, "excluded", CENTER, notes)
        nodules += _nodules(table, params, notes, excluded=True, first=Counter(map(str, annotated.columns["uid"])))
    candidates = Candidates.none()
    if "candidates" in raw.tables:
        candidates = _candidates(_table(raw, "candidates", (*CENTER, "class"), notes), notes)
    if "scans" in raw.tables:
        named |= set(_listed(raw.tables["scans"]))
    return Truth(nodules, candidates, named | set(candidates.uids) | {n.uid for n in nodules})


def _table(raw: RawDataset, what: str, needs: Iterable[str], notes: Notes) -> Table:
    """A table whose scans go by their uid, also where it names them by their file."""
    table = read_table(raw.tables[what], what, needs, notes)
    suffixes = sorted(IMAGE_SUFFIXES, key=len, reverse=True)

    def uid(text: str) -> str:
        stem = next((text[: -len(s)] for s in suffixes if text.lower().endswith(s)), text)
        return raw.names.get(stem, stem)

    table.columns["uid"] = np.array([uid(str(t)) for t in table.columns["uid"]], dtype=object)
    return table


def _listed(data: bytes) -> list[str]:
    """seriesuids.csv: a UID a line, with or without a header."""
    lines = data.decode("utf-8-sig", "replace").split()
    return [t.strip(',"') for t in lines if re.fullmatch(r"[0-9.]{3,64}", t.strip(',"'))]


def _nodules(
    table: Table, params: DatasetParams, notes: Notes, *, excluded: bool = False, first: Counter[str] | None = None
) -> list[Nodule]:
    """One nodule a usable row. A row that has a series UID and no centre says that the scan is free of nodules."""
    row_of = _rows_in_scan(table, first or Counter())
    filled = np.array([any(table.columns[c][k] for c in "xyz") for k in range(len(table))], bool)
    table, row_of = table.keep(filled), row_of[filled]
    kept, centers = with_centers(table, notes)
    row_of = row_of[np.isin(table.rows, kept.rows)]
    diameters = kept.numbers("diameter") if kept.has("diameter") else np.full(len(kept), UNMEASURED)
    measured = np.isfinite(diameters) & (diameters > 0)
    if excluded:
        diameters = np.where(measured, diameters, UNMEASURED)
    else:
        notes.rows(kept.name, kept.rows[~measured], "no diameter above 0 mm")
        kept, centers, row_of, diameters = kept.keep(measured), centers[measured], row_of[measured], diameters[measured]
    once = without_repeated(kept, np.column_stack([centers, diameters]), notes)
    return _records(kept.keep(once), centers[once], diameters[once], row_of[once], params, notes, excluded)


def _records(
    table: Table,
    centers: NDArray[np.float64],
    diameters: NDArray[np.float64],
    row_of: NDArray[np.int64],
    params: DatasetParams,
    notes: Notes,
    excluded: bool,
) -> list[Nodule]:
    said = optional(table, "malignant", tables.as_bool, notes)
    ratings = optional(table, "ratings", tables.as_ratings, notes)
    rating = [
        float(np.median(many)) if many else one
        for many, one in zip(ratings, optional(table, "rating", tables.as_rating, notes), strict=True)
    ]
    readers = [
        len(many) if many and n is None else n
        for many, n in zip(ratings, optional(table, "readers", tables.as_count, notes), strict=True)
    ]
    out = optional(table, "excluded", tables.as_bool, notes)
    risk = optional(table, "risk", tables.as_share, notes)
    words = {c: optional(table, c, str, notes) for c in ("kind", "margin", "place")}
    return [
        Nodule(
            uid=str(table.columns["uid"][k]),
            center_lps_mm=tuple(map(float, centers[k])),  # type: ignore[arg-type]
            diameter_mm=float(diameters[k]),
            malignant=params.grade(rating[k], said[k]),
            rating=rating[k],
            readers=readers[k],
            excluded=excluded or bool(out[k]),
            row=int(row_of[k]),
            risk=risk[k],
            **{c: words[c][k] for c in words},
        )
        for k in range(len(table))
    ]


def _rows_in_scan(table: Table, first: Counter[str]) -> NDArray[np.int64]:
    """Which of its scan's rows each row is, from 0, unusable ones counted too."""
    seen = Counter(first)
    out = np.zeros(len(table), np.int64)
    for k, uid in enumerate(table.columns["uid"]):
        out[k] = seen[uid]
        seen[uid] += 1
    return out


def _graded(nodules: list[Nodule], graded: list[Nodule], notes: Notes) -> list[Nodule]:
    """The annotations with the ratings of the malignancy table, matched by place."""
    by_scan: dict[str, list[Nodule]] = {}
    for g in graded:
        by_scan.setdefault(g.uid, []).append(g)
    out = []
    for n in nodules:
        near = min(by_scan.get(n.uid, ()), key=lambda g: _gap(g, n), default=None)
        if near is not None and _gap(near, n) <= SAME_MM:
            n = replace(n, malignant=near.malignant, rating=near.rating, readers=near.readers if n.readers is None else n.readers)
        out.append(n)
    lacking = sum(n.rating is None and n.malignant is None for n in out)
    if lacking:
        notes.say(f"malignancy: {lacking} annotated nodules are not in the table: taken as not graded")
    return out


def _gap(a: Nodule, b: Nodule) -> float:
    return float(np.linalg.norm(np.subtract(a.center_lps_mm, b.center_lps_mm)))


def _candidates(table: Table, notes: Notes) -> Candidates:
    import pandas as pd

    kept, centers = with_centers(table, notes)
    labels = kept.numbers("class")
    bad = ~np.isin(labels, (0, 1))
    notes.rows(kept.name, kept.rows[bad], "class is neither 0 nor 1")
    kept, centers, labels = kept.keep(~bad), centers[~bad], labels[~bad]
    frame = pd.DataFrame({"uid": kept.columns["uid"], "x": centers[:, 0], "y": centers[:, 1], "z": centers[:, 2]})
    repeated = frame.duplicated().to_numpy()
    notes.rows(kept.name, kept.rows[repeated], "the same as an earlier row")
    scan, uids = pd.factorize(frame["uid"][~repeated])
    return Candidates(tuple(map(str, uids)), scan.astype(np.int32), centers[~repeated], labels[~repeated].astype(np.int8))
