"""dataset: what lies in a folder becomes scans with splits, nodules and candidates; what is wrong is said, row by row."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from artifacts.dataset import Candidates, Dataset, DatasetScan, Nodule
from artifacts.errors import InputError
from artifacts.geometry import Geometry
from tasks.datasets import lidc, luna16
from tasks.datasets.raw import Entry, RawDataset
from tasks.datasets.splits import SplitParams, place
from tasks.datasets.table import Notes
from tasks.stage import stage


class DatasetParams(SplitParams):
    """How patients are shared out, and how truth is read off the tables."""

    consensus: int = Field(
        3, ge=1, le=4, title="Consensus", description="LIDC-IDRI: readers that must have outlined a nodule; fewer: excluded"
    )
    benign_to: float = Field(
        2.0, ge=1.0, le=5.0, title="Benign to", description="Median malignancy rating up to which a nodule is benign"
    )
    malignant_from: float = Field(
        4.0, ge=1.0, le=5.0, title="Malignant from", description="Median rating from which it is malignant; between: left out"
    )
    unlisted: Literal["nodule-free", "leave out"] = Field(
        "nodule-free", title="Scans in no table", description="Scans on disk that no table names: without nodules, or not used"
    )

    @model_validator(mode="after")
    def _benign_below_malignant(self) -> DatasetParams:
        if self.benign_to >= self.malignant_from:
            raise ValueError("benign_to must be below malignant_from")
        return self

    def grade(self, rating: float | None, otherwise: bool | None = None) -> bool | None:
        """Malignant, benign, or None: left out; ``otherwise`` where there is no rating."""
        if rating is None:
            return otherwise
        return True if rating >= self.malignant_from else False if rating <= self.benign_to else None


@stage("dataset", version=1, params=DatasetParams)
def dataset(raw: RawDataset, params: DatasetParams = DatasetParams()) -> Dataset:
    """Scans on disk with split, fold, nodules, candidates. Raises InputError where no scan or no usable table is there.

    Scans that tables name and that are not on disk are ``missing``; rows that cannot be used are ``problems``. LUNA16 and plain
    tables know no patients: there the series is the patient.
    """
    notes = Notes(list(raw.problems))
    read = lidc.truth if raw.layout == "lidc" else luna16.truth
    truth = read(raw, params, notes)
    named = truth.named
    entries = _used(raw, named, params, notes)
    if not entries:
        raise InputError(
            f"none of the {len(named)} scans that the tables name is on disk: give the folder that holds the scans too"
        )
    missing = sorted(named - {e.uid for e in raw.entries})
    if missing:
        notes.say(f"{len(missing)} of {len(named)} scans named in the tables are not on disk")
    grids = {e.uid: e.grid for e in entries}
    kept = _inside(truth.nodules, grids, notes)
    return Dataset(
        scans=_scans(entries, params),
        nodules=[truth.nodules[k] for k in kept],
        candidates=_candidates_inside(truth.candidates, grids, notes),
        missing=missing,
        problems=notes.lines,
        layout=raw.layout,
        split_by=params.model_dump(mode="json", include=set(SplitParams.model_fields)) | {"patient": _what_a_patient_is(entries)},
        outlines=truth.outlines.keep(kept),
    )


def _used(raw: RawDataset, named: set[str], params: DatasetParams, notes: Notes) -> list[Entry]:
    """One entry a series UID; those in no table as the parameters say (LIDC-IDRI's without a reading: never)."""
    once: dict[str, Entry] = {}
    for entry in raw.entries:
        once.setdefault(entry.uid, entry)
    if len(once) < len(raw.entries):
        notes.say(f"{len(raw.entries) - len(once)} scans are on disk twice: the first of each is used")
    unlisted = [e for e in once.values() if e.uid not in named]
    if unlisted and raw.layout == "lidc":
        notes.say(f"{len(unlisted)} scans have no reading (XML) beside them: left out")
    elif unlisted and raw.layout == "table":
        done = "taken as free of nodules" if params.unlisted == "nodule-free" else "left out"
        notes.say(f"{len(unlisted)} scans on disk are in no table: {done}")
    leave = raw.layout == "lidc" or (raw.layout == "table" and params.unlisted == "leave out")
    return [e for e in once.values() if not leave or e.uid in named]


def _scans(entries: Sequence[Entry], splits: SplitParams) -> list[DatasetScan]:
    """In the order of their UIDs. A patient goes by a hash of the first UID of their scans: it tells nothing new."""
    of: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        of[entry.identity].append(entry)
    scans = []
    for identity, theirs in of.items():
        official = next((e.official for e in sorted(theirs, key=lambda e: e.uid) if e.official is not None), None)
        at = place(identity, splits, official)
        first = min(e.uid for e in theirs)
        patient = "patient-" + hashlib.blake2b(first.encode(), digest_size=6, person=b"patient").hexdigest()
        scans += [DatasetScan(e.uid, patient, at.split, at.fold, e.slices) for e in theirs]
    return sorted(scans, key=lambda s: s.uid)


def _what_a_patient_is(entries: Sequence[Entry]) -> str:
    from tasks.datasets.splits import identity_of

    own = sum(e.identity == identity_of(e.uid) for e in entries)
    return (
        "the series, for no patient is known" if own == len(entries) else "the patient's ID" if not own else "the ID where known"
    )


def outside(centers_lps_mm: NDArray[np.float64], grid: Geometry | None) -> NDArray[np.bool_]:
    """Which places ``[n, 3]`` lie farther than a voxel beyond the scan's outermost centres."""
    if grid is None or not len(centers_lps_mm):
        return np.zeros(len(centers_lps_mm), bool)
    zyx = grid.zyx_from_lps_mm(centers_lps_mm)
    return np.asarray(((zyx < -1) | (zyx > np.array(grid.shape_zyx))).any(axis=1))


def _inside(nodules: Sequence[Nodule], grids: dict[str, Geometry | None], notes: Notes) -> list[int]:
    """Numbers of the nodules that lie in a scan on disk; those that lie beside theirs are told."""
    kept: list[int] = []
    lost: dict[str, Counter[str]] = defaultdict(Counter)
    for k, n in enumerate(nodules):
        if n.uid not in grids:
            continue
        if outside(np.array([n.center_lps_mm]), grids[n.uid])[0]:
            lost["excluded findings" if n.excluded else "nodules"][n.uid] += 1
        else:
            kept.append(k)
    for what, scans in lost.items():
        notes.say(
            f"{what}: {scans.total()} in {len(scans)} scans lie outside their scan (LPS millimetres are expected); left out"
        )
    return kept


def _candidates_inside(candidates: Candidates, grids: dict[str, Geometry | None], notes: Notes) -> Candidates:
    """Of scans on disk, and inside them."""
    keep = np.zeros(len(candidates), bool)
    lost = 0
    for uid in candidates.uids:
        if uid in grids:
            rows = candidates.rows_of(uid)
            bad = outside(candidates.centers_lps_mm[rows], grids[uid])
            keep[rows[~bad]] = True
            lost += int(bad.sum())
    if lost:
        notes.say(f"candidates: {lost} lie outside their scan; left out")
    return candidates.keep(keep)
