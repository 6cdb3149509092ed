"""Data sets of planted scans: one real scan, many seeds, LUNA16's shape. Its own nodules are kept clear of, and excluded."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from artifacts.errors import InputError
from artifacts.geometry import Vector
from flows.phantom_data import claim, make_each, tell
from tasks.phantom.folder import Format, bright_places, read_records, write_scan, write_tables

if TYPE_CHECKING:
    from artifacts.lungmask import LungMask
    from artifacts.volume import Volume

Known = list[tuple[Vector, float]]  # centres LPS mm, diameters mm


def plant_into(
    scan: Path,
    folder: Path,
    seeds: Sequence[int],
    nodules: int | None,
    known: Path | None,
    series: str,
    how: Format,
    as_json: bool,
) -> None:
    """Load and outline ``scan`` once, then plant for every seed that ``folder`` lacks."""
    from tasks.outline import outline

    volume = loaded(scan, series)
    there = known_nodules(known, volume.series.uid) if known else []
    claim(folder, {"planted_into": volume.series.uid, "format": how, "nodules": nodules, "known": len(there)})
    missing = [s for s in seeds if s not in read_records(folder)]
    if missing:
        work = partial(one_planted, folder, how, volume, outline(volume), nodules, there)
        make_each(work, missing, 1, "planted scans", folder)
    tell(folder, write_tables(folder), as_json)


def loaded(scan: Path, series: str) -> Volume:
    from flows.scans import scans_in
    from flows.settle import open_index
    from tasks.load import LoadParams, load

    with scans_in(scan, open_index(), series=series, kernel="any", partial=False) as scans:
        return load(next(scans).open(), LoadParams())


def known_nodules(table: Path, uid: str) -> Known:
    """Centres and diameters of one series in a table of LUNA16's columns. Raises InputError."""
    columns = ("coordX", "coordY", "coordZ", "diameter_mm")
    try:
        with table.open(newline="", encoding="utf-8-sig") as f:
            rows = [r for r in csv.DictReader(f) if r["seriesuid"] == uid]
        numbers = [[float(r[c]) for c in columns] for r in rows]
    except (OSError, KeyError, ValueError):
        raise InputError(f"the table of known nodules cannot be read: give a CSV with seriesuid, {', '.join(columns)}") from None
    return [((x, y, z), max(d, 3.0)) for x, y, z, d in numbers]


def one_planted(folder: Path, how: Format, volume: Volume, lungs: LungMask, nodules: int | None, known: Known, seed: int) -> None:
    from tasks.phantom.plant import plant

    planted = plant(volume, lungs, seed, nodules, [(center, 0.5 * d) for center, d in known])
    rng = np.random.default_rng([0xCA4D, seed])
    places = bright_places(rng, planted.volume, lungs.labels, planted.nodules)
    clear = [p for p in places if all(np.linalg.norm(np.subtract(p, c)) > d + 5 for c, d in known)]
    facts = {"kernel": volume.series.kernel or "", "thickness_mm": volume.series.slice_thickness_mm or ""}
    write_scan(planted.volume, planted.nodules, planted.labels, clear, folder, seed, how, facts, known)
