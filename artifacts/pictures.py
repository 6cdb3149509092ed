"""What each artifact looks like: a headline, tables, pictures. One function an artifact, called by its ``preview``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from artifacts.artifact import Preview
from artifacts.drawing import (
    LEFT_LUNG,
    LUNG_WINDOW,
    OUTLINE,
    RIGHT_LUNG,
    SPOT,
    Frame,
    Picture,
    grey,
    jpeg,
    montage,
    tile,
)
from artifacts.geometry import Geometry
from artifacts.planes import PLANES, Cut, Plane

if TYPE_CHECKING:
    from PIL import Image as PIL

    from artifacts.crops import Crops
    from artifacts.findings import Finding, Findings
    from artifacts.heatmap import HeatMap
    from artifacts.lumps import Lump, Lumps
    from artifacts.lungmask import LungMask
    from artifacts.report import Report
    from artifacts.scores import Scores
    from artifacts.volume import Volume

ROWS_SHOWN = 25
TILES_SHOWN = 24
FINDINGS_DRAWN = 8
ZOOM_MM = 60.0
LUNG_MARGIN_MM = 15.0


def volume_preview(volume: Volume) -> Preview:
    """Quality control, what the series is, and three planes."""
    s, g = volume.series, volume.geometry
    worst = sum(q.severity != "info" for q in volume.qc)
    about = {
        "series": s.uid,
        "modality": s.modality,
        "format": s.source_format,
        "maker": s.manufacturer,
        "kernel": s.kernel,
        "slice thickness, mm": None if s.slice_thickness_mm is None else round(s.slice_thickness_mm, 2),
        "voxels z, y, x": " x ".join(map(str, g.shape_zyx)),
        "spacing z, y, x, mm": " x ".join(f"{v:.3g}" for v in g.spacing_zyx),
    }
    checks = [{"severity": q.severity, "check": q.code, "what": q.message} for q in volume.qc]
    return Preview(
        f"{g.shape_zyx[0]} x {g.shape_zyx[1]} x {g.shape_zyx[2]} voxels; "
        + (f"quality control: {worst} to look at" if worst else "quality control: nothing to object to"),
        {
            "Quality control": checks or [{"severity": "info", "check": "all", "what": "nothing to object to"}],
            "Series": [{"what": k, "value": v} for k, v in about.items() if v not in (None, "")],
        },
        {"Three planes; the patient's right is on the left": jpeg(three_planes(volume))},
    )


def lungmask_preview(mask: LungMask, volume: Volume) -> Preview:
    """Both lungs outlined on slices, and their volumes."""
    right, left = mask.volume_ml(1), mask.volume_ml(2)
    lungs = Lungs(mask.labels, mask.geometry)
    cuts = [*(lungs.cut("axial", s) for s in (0.85, 0.6, 0.35, 0.15)), lungs.cut("coronal", 0.5), lungs.cut("coronal", 0.65)]
    drawn = [lungs.picture(volume, cut, 1.0).marks(plane_name(cut, volume)).image for cut in cuts]
    checks = [{"severity": q.severity, "check": q.code, "what": q.message} for q in mask.qc]
    sides = [{"side": "right", "volume, ml": round(right)}, {"side": "left", "volume, ml": round(left)}]
    return Preview(
        f"right lung {right:.0f} ml, left lung {left:.0f} ml",
        {"Lungs": sides} | ({"Quality control": checks} if checks else {}),
        {"Right lung blue, left lung orange": jpeg(montage(drawn, 2))},
    )


def heatmap_preview(heat: HeatMap, volume: Volume, mask: LungMask) -> Preview:
    """The slices with most suspicion, in colour, inside the outlined lungs."""
    lungs = Lungs(mask.labels, mask.geometry)
    counts = np.array([np.count_nonzero(plane > 127) for plane in heat.probability])
    above = float(counts.sum() * heat.geometry.voxel_mm3 / 1000)
    drawn = [
        lungs.picture(volume, cut, 1.0, width=1.0).heat(heat.probability).marks(plane_name(cut, volume)).image
        for cut in _hottest(heat, lungs, counts)
    ]
    headline = f"{above:.2f} ml above probability 0.5" if counts.any() else "nothing above probability 0.5"
    table = [{"suspicious volume, ml": round(above, 2), "highest probability": round(float(heat.probability.max()) / 255, 3)}]
    caption = "Suspicion: yellow low, red high" if counts.any() else "No suspicion: slices through the lungs"
    return Preview(headline, {"Heat map": table}, {caption: jpeg(montage(drawn, 2))})


def lumps_preview(lumps: Lumps, volume: Volume) -> Preview:
    """Every candidate projected on two planes, and the most suspicious lumps close up."""
    by_lump: dict[int, list[Any]] = {}
    for c in lumps.candidates:
        by_lump.setdefault(c.lump_id, []).append(c)
    rows = [_lump_row(x, len(by_lump.get(x.id, ()))) for x in lumps.lumps[:ROWS_SHOWN]]
    headline = f"{len(lumps.lumps)} lumps, {len(lumps.candidates)} candidates"
    if not lumps.candidates:
        return Preview("no lump above the threshold, no blob", {}, {"Three planes": jpeg(three_planes(volume))})
    maps = []
    for cut in three_cuts(volume.geometry)[1:]:
        picture = Picture(volume.hu, Frame.whole(cut, 1.0))
        for c in lumps.candidates[:1500]:
            picture.ring(c.center_zyx, c.radius_mm, OUTLINE if c.probability > 0.9 else SPOT)
        maps.append(picture.marks("projected").image)
    tiles = []
    for x in lumps.lumps[:12]:
        picture = Picture(volume.hu, Frame.around(Cut.through(volume.geometry, "axial", x.center_zyx), x.center_zyx, 50, 150))
        for c in by_lump.get(x.id, ()):
            picture.ring(c.center_zyx, 0, OUTLINE, least_px=3)
        tiles.append(picture.marks(f"{x.id}: {x.volume_mm3:.0f} mm3", letters=False).image)
    pictures = {"All candidates; yellow: probability above 0.9": jpeg(montage(maps, 2))}
    if tiles:
        pictures["Most suspicious lumps, 50 mm wide; rings: candidates"] = jpeg(montage(tiles, 4))
    return Preview(headline, {f"Lumps{_first(len(rows), len(lumps.lumps))}": rows}, pictures)


def crops_preview(crops: Crops) -> Preview:
    """What the classifier gets to see: the middle slices of the first crops."""
    n = len(crops.hu)
    size = " x ".join(map(str, crops.hu.shape[1:]))
    shown = range(min(n, TILES_SHOWN))
    pictures = {}
    if n:
        tiles = [crop_tile(crops, i, f"{i + 1}") for i in shown]
        pictures[f"Middle slices{_first(len(tiles), n)}, by number, as stored"] = jpeg(montage(tiles, 8))
    return Preview(
        f"{n} crops of {size} voxels" if n else "no candidate, no crop",
        {
            "Crops": [
                {"crops": n, "voxels z, y, x": size, "spacing z, y, x, mm": _mm(crops.spacing_zyx_mm), "layout": crops.layout}
            ]
        },
        pictures,
    )


def scores_preview(scores: Scores, crops: Crops) -> Preview:
    """The candidates in the order of their probability, each with its number."""
    p = scores.probability
    asked = np.flatnonzero(~np.isnan(p))
    order = asked[np.argsort(-p[asked], kind="stable")]
    yes = int((p[asked] > scores.threshold).sum())
    shares = [(0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 1.0)]
    spread = [
        {"probability": f"{low:g} to {high:g}", "candidates": int(((p[asked] > low) | (low == 0)) @ (p[asked] <= high))}
        for low, high in shares
    ]
    rows = [
        {
            "candidate": int(i) + 1,
            f"p {scores.meaning}": round(float(p[i]), 3),
            "views": int(scores.flips[i]),
            "center LPS, mm": _vector(crops.centers_lps_mm[i]),
        }
        for i in order[:ROWS_SHOWN]
    ]
    tables = {"Spread": spread}
    pictures = {}
    if len(order):
        tables[f"Candidates{_first(len(rows), len(order))}, most probable first"] = rows
        tiles = [crop_tile(crops, int(i), f"{int(i) + 1}: p {p[i]:.2f}") for i in order[:TILES_SHOWN]]
        pictures[f"Candidates{_first(len(tiles), len(order))}: number and p {scores.meaning}"] = jpeg(montage(tiles, 8))
    headline = (
        f"{yes} of {len(asked)} candidates above p {scores.meaning} {scores.threshold:g}"
        if len(asked)
        else "no candidate was scored"
    )
    return Preview(headline, tables, pictures)


def findings_preview(findings: Findings, volume: Volume) -> Preview:
    """The nodules: a table, and three planes through each."""
    found = findings.findings
    if not found:
        return Preview("no nodule found", {}, {"Three planes": jpeg(three_planes(volume))})
    images = [
        zoom(volume, findings, f, plane, 170).marks(f"{f.rank}: p {probability(f.p_nodule)}" if plane == "axial" else "").image
        for f in found[:FINDINGS_DRAWN]
        for plane in PLANES
    ]
    rows = [finding_row(f) for f in found[:ROWS_SHOWN]]
    drawn = _first(min(len(found), FINDINGS_DRAWN), len(found))
    return Preview(
        findings_headline(found, findings.nodule_threshold),
        {f"Findings{_first(len(rows), len(found))}": rows},
        {f"Findings{drawn}: axial, coronal, sagittal, {ZOOM_MM:.0f} mm wide": jpeg(montage(images, 6 if len(found) > 1 else 3))},
    )


def report_preview(report: Report, findings: Findings, volume: Volume) -> Preview:
    """The findings, quality control, and what the report rests on."""
    d, shown = report.document, findings_preview(findings, volume)
    weights = {s["weights"]["digest"]: s["weights"] for s in d["provenance"]["stages"] if s["weights"]}
    checks = [{"severity": q["severity"], "check": q["code"], "what": q["message"]} for q in d["qc"]]
    rests = [
        {"role": w["role"], "name": w["name"], "licence": w["licence"], "digest": w["digest"][:12]} for w in weights.values()
    ]
    return Preview(
        f"{d['headline']}. {d['notice']}", {**shown.tables, "Quality control": checks, "Weights": rests}, shown.pictures
    )


# -- shared with the report -------------------------------------------------------------------------------------------------


def findings_headline(found: Sequence[Finding], threshold: float = 0.5) -> str:
    """``3 findings; the most suspicious: 21 mm, right, malignant p 0.96``: of the likely nodules, the one graded worst."""
    if not found:
        return "No nodule found"
    worst = max(found, key=lambda f: (f.p_nodule > threshold, f.p_malignant or 0.0, f.p_nodule))
    count = "1 finding" if len(found) == 1 else f"{len(found)} findings"
    lead = ":" if len(found) == 1 else "; the most suspicious:"
    graded = worst.p_malignant is not None
    p = f"malignant p {probability(worst.p_malignant)}" if graded else f"nodule p {probability(worst.p_nodule)}"
    return f"{count}{lead} {worst.diameter_mm:.0f} mm, {worst.side}, {p}"


def probability(p: float | None) -> str:
    """Two digits, never rounded to certainty."""
    if p is None or not np.isfinite(p):
        return "–"
    return "> 0.99" if p >= 0.995 else "< 0.01" if p < 0.005 else f"{p:.2f}"


def finding_row(f: Finding) -> dict[str, Any]:
    return {
        "#": f.rank,
        "diameter, mm": round(f.diameter_mm, 1),
        "axes, mm": f"{f.long_axis_mm:.1f} x {f.short_axis_mm:.1f}",
        "volume, mm3": round(f.volume_mm3),
        "p nodule": probability(f.p_nodule),
        "p malignant": probability(f.p_malignant),
        "side": f.side,
        "slice": f.slice_index + 1 if f.slice_number is None else f.slice_number,
        "center LPS, mm": _vector(f.center_lps_mm),
    }


def three_planes(volume: Volume, window: tuple[float, float] = LUNG_WINDOW) -> PIL.Image:
    cuts = three_cuts(volume.geometry)
    scale = min(330 / max(n * d for n, d in zip(c.shape, c.spacing_mm, strict=True)) for c in cuts)
    return montage([Picture(volume.hu, Frame.whole(c, scale), window).marks(plane_name(c, volume)).image for c in cuts], 3)


def zoom(
    volume: Volume,
    findings: Findings,
    f: Finding,
    plane: Plane,
    pixels: int,
    field_mm: float = ZOOM_MM,
    window: tuple[float, float] = LUNG_WINDOW,
    outlined: bool = True,
) -> Picture:
    """One plane through a finding's centre, with its outline, and ticks that point at the centre."""
    cut = Cut.through(volume.geometry, plane, f.center_zyx)
    frame = Frame.around(cut, f.center_zyx, max(field_mm, 2.2 * f.long_axis_mm), pixels)
    picture = Picture(volume.hu, frame, window)
    if outlined:
        picture.contour(findings.labels, f.label)
    return picture.ticks(f.center_zyx)


def crop_tile(crops: Crops, i: int, text: str, pixels: int = 84) -> PIL.Image:
    """The slice of a crop that goes through the candidate, as stored."""
    z = min(max(int(crops.offset_zyx[i, 0]), 0), crops.hu.shape[1] - 1)
    return tile(grey(crops.hu[i, z]), crops.spacing_zyx_mm[1:], pixels, text)


def plane_name(cut: Cut, volume: Volume) -> str:
    """``axial, slice 31``: the scanner's number of the slice, where the plane is one; else the plane alone."""
    source = volume.slice_of(cut.array_index) if cut.stands_on == 0 else None
    if source is None or source.instance_number is None:
        return cut.plane
    return f"{cut.plane}, slice {source.instance_number}"


def three_cuts(geometry: Geometry) -> list[Cut]:
    """The middle axial and coronal plane and a sagittal one through the right lung."""
    return [Cut.at_share(geometry, plane, 0.3 if plane == "sagittal" else 0.5) for plane in PLANES]


class Lungs:
    """Where in the grid the lungs are, found on every few voxels, so that pictures show them and little else."""

    def __init__(self, labels: NDArray[np.uint8], geometry: Geometry):
        self.labels, self.geometry = labels, geometry
        step = tuple(max(1, n // 64) for n in geometry.shape_zyx)
        coarse = labels[:: step[0], :: step[1], :: step[2]] != 0
        self.bounds: list[tuple[int, int]] = []
        for axis in range(3):
            used = np.flatnonzero(coarse.any(axis=tuple(a for a in range(3) if a != axis)))
            n = geometry.shape_zyx[axis]
            self.bounds.append(
                (int(used[0]) * step[axis], min(int(used[-1] + 1) * step[axis], n) - 1) if len(used) else (0, n - 1)
            )

    def cut(self, plane: Plane, share: float) -> Cut:
        """The plane at a share of the lungs' extent, from the right, the front or below."""
        zyx = np.array([(low + high) / 2 for low, high in self.bounds])
        axis, sign = self.geometry.patient_axes[{"sagittal": 0, "coronal": 1, "axial": 2}[plane]]
        low, high = self.bounds[axis]
        zyx[axis] = low + (share if sign > 0 else 1 - share) * (high - low)
        return Cut.through(self.geometry, plane, zyx)

    def frame(self, cut: Cut, px_per_mm: float) -> Frame:
        """The lungs' box with a margin, kept inside the plane."""
        ends = [cut.place([b[i] for b in self.bounds]) for i in (0, 1)]
        (r0, r1), (c0, c1) = sorted(e[0] for e in ends), sorted(e[1] for e in ends)
        mr, mc = (LUNG_MARGIN_MM / d for d in cut.spacing_mm)
        box = (max(r0 - mr, 0), max(c0 - mc, 0), min(r1 + 1 + mr, cut.shape[0]), min(c1 + 1 + mc, cut.shape[1]))
        return Frame.part(cut, box, px_per_mm)

    def square(self, cut: Cut, pixels: int) -> Frame:
        """All of the lungs in a square picture."""
        middle = [(low + high) / 2 for low, high in self.bounds]
        frame = self.frame(cut, 1.0)
        return Frame.around(cut, middle, max(frame.size), pixels)

    def picture(
        self, volume: Volume, cut: Cut, px_per_mm: float, window: tuple[float, float] = LUNG_WINDOW, width: float = 1.4
    ) -> Picture:
        """The cut with both lungs outlined."""
        picture = Picture(volume.hu, self.frame(cut, px_per_mm), window)
        return picture.contour(self.labels, 1, RIGHT_LUNG, width).contour(self.labels, 2, LEFT_LUNG, width)


def _hottest(heat: HeatMap, lungs: Lungs, counts: NDArray[np.intp]) -> list[Cut]:
    """Four axial planes and a coronal one: those with most suspicion, not too close to each other; else an even spread."""
    axis, sign = heat.geometry.patient_axes[2]
    if axis != 0:  # counts are by array z; another axis runs to the head
        counts = np.array([np.count_nonzero(plane > 127) for plane in np.moveaxis(heat.probability, axis, 0)])
    n, left = len(counts), counts.astype(float)
    chosen: list[int] = []
    while len(chosen) < 4 and left.max() > 0:
        best = int(left.argmax())
        chosen.append(best)
        left[max(best - max(n // 20, 1), 0) : best + max(n // 20, 1) + 1] = 0
    if not chosen:
        return [lungs.cut("axial", s) for s in (0.8, 0.6, 0.4, 0.2)]
    planes = sorted((c if sign > 0 else n - 1 - c for c in chosen), reverse=True)
    return [Cut(heat.geometry, "axial", p) for p in planes]


def _lump_row(x: Lump, candidates: int) -> dict[str, Any]:
    return {
        "lump": x.id,
        "peak p": round(x.peak_probability, 3),
        "mean p": round(x.mean_probability, 3),
        "volume, mm3": round(x.volume_mm3),
        "axes, mm": f"{x.long_axis_mm:.1f} x {x.short_axis_mm:.1f}",
        "to the pleura, mm": round(x.pleura_distance_mm, 1),
        "candidates": candidates,
        "center LPS, mm": _vector(x.center_lps_mm),
    }


def _vector(v: Sequence[float] | NDArray[Any]) -> str:
    return ", ".join(f"{float(x):.1f}" for x in v)


def _mm(v: Sequence[float]) -> str:
    return " x ".join(f"{x:.3g}" for x in v)


def _first(shown: int, total: int) -> str:
    return f" (first {shown} of {total})" if shown < total else ""
