"""A folder of made scans in LUNA16's shape: ``subset0`` … ``subset9`` and the tables beside them, readable by what reads LUNA16.

Each finished scan leaves a record in ``.made/``; tables are written from the records, so that a folder grows, and goes on after
a kill. Nothing in it comes from a patient unless a real scan was planted into.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from artifacts.geometry import Vector
from artifacts.nifti import label_map
from artifacts.volume import Volume
from tasks.phantom.dicom import write_dicom_series
from tasks.phantom.metaimage import write_metaimage
from tasks.phantom.nodules import PhantomNodule

Format = Literal["mhd", "dicom"]
Record = dict[str, Any]
RECORDS, LABELS, SUBSETS = ".made", "labels", 10
CENTER = ("coordX", "coordY", "coordZ")
ANNOTATIONS = ("seriesuid", *CENTER, "diameter_mm", "kind", "margin", "place", "p_malignant", "volume_mm3")
BOX = ("bboxLowX", "bboxLowY", "bboxLowZ", "bboxHighX", "bboxHighY", "bboxHighZ")
MALIGNANCY = ("seriesuid", *CENTER, "diameter_mm", "mal_bool", "mal_details", *BOX, "len_mal_details")
BRIGHT = 60  # candidates of class 0 drawn where the lungs are bright: vessels, their crossings, airways' walls


def write_scan(
    volume: Volume,
    nodules: Sequence[PhantomNodule],
    labels: NDArray[np.uint8],
    others_lps_mm: Sequence[Sequence[float]],
    folder: Path,
    number: int,
    how: Format,
    facts: Record,
    excluded: Sequence[tuple[Vector, float]] = (),
) -> Record:
    """One scan into its subset (``number`` modulo ten), its nodules' label map into ``labels``, its record into ``.made``.

    others_lps_mm: what is no nodule and looks like one; excluded: centres (LPS mm) and diameters of what is neither. The record
    is written last: what has none is written again.
    """
    subset = folder / f"subset{number % SUBSETS}"
    if how == "mhd":
        write_metaimage(volume, subset)
    else:
        write_dicom_series(
            volume, subset / volume.series.uid, patient_name=f"PHANTOM-{number}"
        )  # a patient each: splits go by it
    (folder / LABELS).mkdir(exist_ok=True)
    (folder / LABELS / f"{volume.series.uid}.nii.gz").write_bytes(label_map(labels, volume.geometry, "nodules"))
    record = {
        "seriesuid": volume.series.uid,
        "number": number,
        "scan": {"subset": number % SUBSETS, **facts, **_grid(volume)},
        "nodules": [_nodule(n) for n in nodules],
        "others": [list(p) for p in dict.fromkeys(tuple(round(float(v), 3) for v in p) for p in others_lps_mm)],
        "excluded": [[*center, diameter] for center, diameter in excluded],
    }
    (folder / RECORDS).mkdir(exist_ok=True)
    path = folder / RECORDS / f"{number}.json"
    path.with_suffix(".part").write_text(json.dumps(record), encoding="utf-8")
    path.with_suffix(".part").replace(path)
    return record


def _grid(volume: Volume) -> Record:
    g = volume.geometry
    straight = all(abs(g.directions_zyx[k][2 - k]) > 1 - 1e-6 for k in range(3))
    return {
        "slices": g.shape_zyx[0],
        "spacing_z_mm": g.spacing_zyx[0],
        "spacing_x_mm": g.spacing_zyx[2],
        "oblique": int(not straight),
    }


def _nodule(n: PhantomNodule) -> Record:
    r = 0.5 * n.diameter_mm
    box = [round(v + s * r, 3) for s in (-1, 1) for v in n.center_lps_mm]
    return {
        **dict(zip(CENTER, (round(v, 4) for v in n.center_lps_mm), strict=True)),
        "diameter_mm": round(n.diameter_mm, 3),
        "volume_mm3": round(n.volume_mm3, 2),
        "kind": n.kind,
        "margin": n.margin,
        "place": n.place,
        "malignant": int(n.malignant),
        "p_malignant": round(n.p_malignant, 4),
        **dict(zip(BOX, box, strict=True)),
    }


def read_records(folder: Path) -> dict[int, Record]:
    """Number -> record of the scans that are whole."""
    records = [json.loads(p.read_text(encoding="utf-8")) for p in (folder / RECORDS).glob("*.json")]
    return {r["number"]: r for r in sorted(records, key=lambda r: r["number"])}


def bright_places(
    rng: np.random.Generator, volume: Volume, lungs: NDArray[np.uint8], nodules: Sequence[PhantomNodule], n: int = BRIGHT
) -> list[list[float]]:
    """Up to ``n`` places (LPS mm) where the lungs are bright, none of them in or within 5 mm of a nodule."""
    flat = np.flatnonzero((lungs > 0) & (volume.hu > -550))
    some = rng.choice(flat, min(2 * n, len(flat)), replace=False)
    places = volume.geometry.lps_mm_from_zyx(np.stack(np.unravel_index(some, lungs.shape), axis=1))
    free = [all(np.linalg.norm(p - q.center_lps_mm) > 0.75 * q.diameter_mm + 5 for q in nodules) for p in places]
    return places[np.array(free, dtype=bool)][:n].tolist()  # type: ignore[no-any-return]


def write_tables(folder: Path) -> dict[int, Record]:
    """All tables from all records, each written whole; returns the records."""
    records = read_records(folder)
    nodules = [{"seriesuid": r["seriesuid"], "number": r["number"], **n} for r in records.values() for n in r["nodules"]]
    graded = [{**n, "mal_bool": bool(n["malignant"])} for n in nodules]
    candidates = [{"seriesuid": n["seriesuid"], **{c: n[c] for c in CENTER}, "class": 1} for n in nodules]
    candidates += [
        {"seriesuid": r["seriesuid"], **dict(zip(CENTER, p, strict=True)), "class": 0}
        for r in records.values()
        for p in r["others"]
    ]
    scans = [
        {"seriesuid": r["seriesuid"], "number": r["number"], "nodules": len(r["nodules"]), **r["scan"]} for r in records.values()
    ]
    _table(folder / "annotations.csv", ANNOTATIONS, nodules)
    excluded = ("seriesuid", *CENTER, "diameter_mm")
    _table(
        folder / "annotations_excluded.csv",
        excluded,
        [dict(zip(excluded, (r["seriesuid"], *e), strict=True)) for r in records.values() for e in r["excluded"]],
    )
    _table(folder / "annotations_with_malignancy.csv", MALIGNANCY, graded)
    _table(folder / "candidates_V2.csv", ("seriesuid", *CENTER, "class"), candidates)
    _table(folder / "truth.csv", tuple(dict.fromkeys(k for n in nodules for k in n if k not in BOX)), nodules)
    _table(folder / "scans.csv", tuple(dict.fromkeys(k for s in scans for k in s)), scans)
    _whole(folder / "seriesuids.csv", "".join(f"{r['seriesuid']}\n" for r in records.values()))
    return records


def _table(path: Path, columns: Sequence[str], rows: Iterable[Record]) -> None:
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _whole(path, text.getvalue())


def _whole(path: Path, text: str) -> None:
    path.with_name(f".{path.name}.part").write_text(text, encoding="utf-8")
    path.with_name(f".{path.name}.part").replace(path)
