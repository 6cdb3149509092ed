"""Dataset: scans with their splits, nodules, candidates, and what is wrong with the tables. No path, no patient's ID."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview
from artifacts.geometry import Vector

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SIZES_MM = (0.0, 3.0, 6.0, 8.0, 15.0, 30.0, float("inf"))  # Fleischner's borders, and LUNA16's least nodule
UNMEASURED = -1.0  # the diameter of an excluded finding that nobody measured, as LUNA16 writes it


@dataclass(frozen=True)
class DatasetScan:
    """One series. patient: a keyed pseudonym, equal for scans of one patient; slices: None where nobody counted them."""

    uid: str
    patient: str
    split: Split
    fold: int
    slices: int | None = None


@dataclass(frozen=True)
class Nodule:
    """One annotated place.

    diameter_mm  > 0; -1 for excluded findings that were not measured
    malignant    None: not known, or left out on purpose; rating: median of the readers' 1..5; readers: how many marked it
    excluded     neither nodule nor background: never a positive, never a negative, never a false positive
    row          which of its scan's rows in the table (or readings in the XML) it was, from 0: label map value minus 1
    kind, margin, place, risk  of phantoms: form, and the true probability 0..1 of being malignant
    """

    uid: str
    center_lps_mm: Vector
    diameter_mm: float
    malignant: bool | None = None
    rating: float | None = None
    readers: int | None = None
    excluded: bool = False
    row: int = 0
    kind: str | None = None
    margin: str | None = None
    place: str | None = None
    risk: float | None = None


@dataclass(frozen=True)
class Candidates:
    """Places that somebody's detector proposed, as columns, for there may be a million.

    uids: the scans they lie in; scan int32 ``[n]``: index into ``uids``; centers_lps_mm float64 ``[n, 3]``;
    labels int8 ``[n]``: 1 nodule, 0 none.
    """

    uids: tuple[str, ...]
    scan: NDArray[np.int32]
    centers_lps_mm: NDArray[np.float64]
    labels: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.scan)

    @cached_property
    def _rows(self) -> dict[str, NDArray[np.intp]]:
        order = np.argsort(self.scan, kind="stable")
        borders = np.searchsorted(self.scan[order], np.arange(len(self.uids) + 1))
        return {uid: order[a:b] for uid, a, b in zip(self.uids, borders[:-1], borders[1:], strict=True)}

    def rows_of(self, uid: str) -> NDArray[np.intp]:
        return self._rows.get(uid, np.zeros(0, np.intp))

    def keep(self, which: NDArray[np.bool_]) -> Candidates:
        used, scan = np.unique(self.scan[which], return_inverse=True)
        uids = tuple(self.uids[k] for k in used)
        return Candidates(uids, scan.astype(np.int32), self.centers_lps_mm[which], self.labels[which])

    def of(self, uid: str) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Centres ``[n, 3]`` LPS mm and labels ``[n]`` of one scan, in the table's order."""
        rows = self.rows_of(uid)
        return self.centers_lps_mm[rows], self.labels[rows]

    @classmethod
    def none(cls) -> Candidates:
        return cls((), np.zeros(0, np.int32), np.zeros((0, 3)), np.zeros(0, np.int8))


@dataclass(frozen=True)
class Outlines:
    """What readers drew around nodules: closed rings, each in one slice, as columns.

    nodule int32 ``[n]``: index into the data set's nodules; reader uint8 ``[n]``; hole bool ``[n]``: what it encloses is *not*
    nodule; start int64 ``[n + 1]``: ring k is ``points_lps_mm[start[k]:start[k + 1]]``, float32 ``[m, 3]``. As LIDC-IDRI has
    it, the outline itself lies just outside of what it encloses.
    """

    nodule: NDArray[np.int32]
    reader: NDArray[np.uint8]
    hole: NDArray[np.bool_]
    start: NDArray[np.int64]
    points_lps_mm: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.nodule)

    def of(self, nodule: int) -> list[Ring]:
        return [
            Ring(int(self.reader[k]), bool(self.hole[k]), self.points_lps_mm[self.start[k] : self.start[k + 1]])
            for k in self._of.get(nodule, ())
        ]

    @cached_property
    def _of(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for k, nodule in enumerate(self.nodule.tolist()):
            found[nodule].append(k)
        return found

    def keep(self, nodules: Sequence[int]) -> Outlines:
        """Those of ``nodules``, which are numbered anew from 0 in the order given."""
        return Outlines.of_rings([(new, ring) for new, old in enumerate(nodules) for ring in self.of(old)]) if len(self) else self

    @classmethod
    def none(cls) -> Outlines:
        return cls.of_rings([])

    @classmethod
    def of_rings(cls, rings: Sequence[tuple[int, Ring]]) -> Outlines:
        """``(index of the nodule, ring)``, in any order."""
        start = np.cumsum([0, *(len(r.points_lps_mm) for _, r in rings)], dtype=np.int64)
        points = np.concatenate([np.zeros((0, 3), np.float32), *(r.points_lps_mm for _, r in rings)])
        return cls(
            np.array([k for k, _ in rings], np.int32),
            np.array([r.reader for _, r in rings], np.uint8),
            np.array([r.hole for _, r in rings], bool),
            start,
            points.astype(np.float32),
        )


@dataclass(frozen=True)
class Ring:
    """reader: 0, 1, …; hole: encloses what is not nodule; points_lps_mm float32 ``[m, 3]``, all in one slice."""

    reader: int
    hole: bool
    points_lps_mm: NDArray[np.float32]


@dataclass
class Dataset:
    """missing: series UIDs in the tables without a scan on disk; problems: what was wrong, one line each."""

    kind: ClassVar[str] = "dataset"

    scans: list[DatasetScan]
    nodules: list[Nodule]
    candidates: Candidates = field(default_factory=Candidates.none)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    layout: str = "table"  # luna16, lidc, table
    split_by: dict[str, Any] = field(default_factory=dict)  # salt, shares, folds: what a checkpoint's card keeps
    outlines: Outlines = field(default_factory=Outlines.none)

    def scan(self, uid: str) -> DatasetScan:
        return self._scans[uid]

    def in_split(self, *splits: Split) -> list[DatasetScan]:
        return [s for s in self.scans if s.split in splits]

    def in_fold(self, *folds: int) -> list[DatasetScan]:
        return [s for s in self.scans if s.fold in folds]

    def nodules_of(self, uid: str, *, excluded: bool | None = False) -> list[Nodule]:
        """The nodules of one scan; ``excluded`` True: what is excluded instead; None: both."""
        return [n for _, n in self.numbered(uid) if excluded is None or n.excluded == excluded]

    def numbered(self, uid: str) -> list[tuple[int, Nodule]]:
        """All of one scan's, excluded ones too, each with its index into ``nodules``."""
        return self._nodules.get(uid, [])

    @cached_property
    def _scans(self) -> dict[str, DatasetScan]:
        return {s.uid: s for s in self.scans}

    @cached_property
    def _nodules(self) -> dict[str, list[tuple[int, Nodule]]]:
        found: dict[str, list[tuple[int, Nodule]]] = defaultdict(list)
        for k, n in enumerate(self.nodules):
            found[n.uid].append((k, n))
        return found

    # -- on disk: CSV that pandas reads -------------------------------------------------------------------------------------

    def write(self, folder: Path) -> None:
        write_rows(folder / "scans.csv", DatasetScan, self.scans)
        write_rows(folder / "nodules.csv", Nodule, self.nodules)
        _write_candidates(folder / "candidates.csv", self.candidates)
        with (folder / "outlines.npz").open("wb") as f:
            np.savez_compressed(f, **{c.name: getattr(self.outlines, c.name) for c in fields(Outlines)})
        meta = {"layout": self.layout, "missing": self.missing, "problems": self.problems, "split_by": self.split_by}
        write_json(folder / "dataset.json", meta)

    @classmethod
    def read(cls, folder: Path) -> Self:
        with np.load(folder / "outlines.npz", allow_pickle=False) as columns:
            outlines = Outlines(**columns)
        return cls(
            outlines=outlines,
            scans=[DatasetScan(**{**r, "fold": int(r["fold"])}) for r in _read_rows(folder / "scans.csv")],
            nodules=[_nodule(r) for r in _read_rows(folder / "nodules.csv")],
            candidates=_read_candidates(folder / "candidates.csv"),
            **read_json(folder / "dataset.json"),
        )

    def summary(self) -> dict[str, Any]:
        nodules = [n for n in self.nodules if not n.excluded]
        return {
            "scans": len(self.scans),
            "patients": len({s.patient for s in self.scans}),
            "nodules": len(nodules),
            "excluded": len(self.nodules) - len(nodules),
            "candidates": len(self.candidates),
            "missing": len(self.missing),
            "problems": len(self.problems),
        }

    def by_split(self) -> list[dict[str, Any]]:
        """One row a split: what lies in it."""
        return [self._counts(name, self.in_split(name)) for name in SPLITS] + [self._counts("all", self.scans)]

    def by_fold(self) -> list[dict[str, Any]]:
        counted = [self._counts(str(fold), self.in_fold(fold)) for fold in sorted({s.fold for s in self.scans})]
        return [{"fold": row.pop("split"), **row} for row in counted]

    def by_size(self) -> list[dict[str, Any]]:
        """Nodules by diameter: lower border included, upper not."""
        sizes = [n.diameter_mm for n in self.nodules if not n.excluded]
        return [
            {"from_mm": low, "below_mm": high if np.isfinite(high) else None, "nodules": sum(low <= d < high for d in sizes)}
            for low, high in pairwise(SIZES_MM)
        ]

    def _counts(self, name: str, scans: Sequence[DatasetScan]) -> dict[str, Any]:
        inside = [self.nodules_of(s.uid) for s in scans]
        nodules = [n for found in inside for n in found]
        grades = Counter(n.malignant for n in nodules)
        return {
            "split": name,
            "scans": len(scans),
            "patients": len({s.patient for s in scans}),
            "nodule-free": sum(not found for found in inside),
            "nodules": len(nodules),
            "malignant": grades[True],
            "benign": grades[False],
            "not graded": grades[None],
            "candidates": sum(len(self.candidates.of(s.uid)[0]) for s in scans),
        }

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.charts import histogram

        s = self.summary()
        words = f"{s['scans']} scans of {s['patients']} patients, {s['nodules']} nodules, {s['candidates']} candidates"
        missing = f"; {s['missing']} scans named in the tables are not on disk" if self.missing else ""
        tables = {"By split": self.by_split(), "By fold": self.by_fold()}
        if self.problems:
            tables["Problems"] = [{"what": p} for p in self.problems[:100]]
        sizes = {"nodules": [n.diameter_mm for n in self.nodules if not n.excluded]}
        pictures = {"Diameter of the nodules, mm": histogram(sizes, xlabel="diameter, mm")} if sizes["nodules"] else {}
        return Preview(f"{self.layout}: {words}{missing}", tables, pictures)


# -- rows ------------------------------------------------------------------------------------------------------------------------


def write_rows(path: Path, record: type, rows: Iterable[Any]) -> None:
    """Dataclass records as CSV; a centre becomes coordX, coordY, coordZ as in LUNA16's tables, None an empty cell."""
    names = [f.name for f in fields(record)]
    columns = [c for n in names for c in (("coordX", "coordY", "coordZ") if n == "center_lps_mm" else (n,))]
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            values = asdict(row)
            cells = [v for n in names for v in (values[n] if n == "center_lps_mm" else (values[n],))]
            writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in cells])


def _read_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as f:
        rows: list[dict[str, Any]] = [{k: v or None for k, v in row.items()} for row in csv.DictReader(f)]
    for row in rows:
        if "slices" in row:
            row["slices"] = None if row["slices"] is None else int(row["slices"])
    return rows


def _nodule(row: dict[str, Any]) -> Nodule:
    center = tuple(float(row.pop(c)) for c in ("coordX", "coordY", "coordZ"))
    row["diameter_mm"], row["row"] = float(row["diameter_mm"]), int(row["row"])
    for name in ("rating", "risk"):
        row[name] = None if row[name] is None else float(row[name])
    row["readers"] = None if row["readers"] is None else int(row["readers"])
    row["malignant"] = None if row["malignant"] is None else row["malignant"] == "True"
    row["excluded"] = row["excluded"] == "True"
    return Nodule(center_lps_mm=center, **row)  # type: ignore[arg-type]


def _write_candidates(path: Path, candidates: Candidates) -> None:
    import pandas as pd

    columns: dict[str, Any] = {"uid": np.array(candidates.uids, dtype=object)[candidates.scan] if len(candidates) else []}
    columns |= {f"coord{c}": candidates.centers_lps_mm[:, k] for k, c in enumerate("XYZ")}
    pd.DataFrame(columns | {"class": candidates.labels}).to_csv(path, index=False, lineterminator="\n")


def _read_candidates(path: Path) -> Candidates:
    import pandas as pd

    frame = pd.read_csv(path, dtype={"uid": str}, float_precision="round_trip")
    scan, uids = pd.factorize(frame["uid"])
    centers = frame[["coordX", "coordY", "coordZ"]].to_numpy(np.float64)
    return Candidates(tuple(map(str, uids)), scan.astype(np.int32), centers, frame["class"].to_numpy(np.int8))
