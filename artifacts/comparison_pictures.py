"""What a comparison looks like: a table of what differs, and a close-up of every place that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifacts.artifact import Preview
from artifacts.drawing import OUTLINE, RIGHT_LUNG, Frame, Picture, jpeg, montage
from artifacts.pictures import ROWS_SHOWN, ZOOM_MM, probability
from artifacts.planes import PLANES, Cut

if TYPE_CHECKING:
    from PIL import Image as PIL

    from artifacts.comparison import Change, Comparison
    from artifacts.findings import Findings
    from artifacts.volume import Volume

SHOWN = 8
BEFORE, AFTER = RIGHT_LUNG, OUTLINE


def comparison_preview(comparison: Comparison, volume: Volume, before: Findings, after: Findings) -> Preview:
    """Before is blue, after is yellow."""
    changed = [c for c in comparison.changes if c.what]
    tables: dict[str, list[dict[str, Any]]] = {
        "What the two did differently": [{"what": d} for d in comparison.differs],
        "Findings": [change_row(c) for c in comparison.changes[:ROWS_SHOWN]],
    }
    pictures = {}
    if changed:
        tiles = [tile for c in changed[:SHOWN] for tile in _close_up(c, volume, before, after)]
        more = f" (first {SHOWN} of {len(changed)})" if len(changed) > SHOWN else ""
        caption = f"What changed{more}; outlines before blue, after yellow; axial, coronal, sagittal, {ZOOM_MM:.0f} mm wide"
        pictures[caption] = jpeg(montage(tiles, 6 if len(changed) > 1 else 3))
    return Preview(headline(comparison.summary()), tables, pictures)


def headline(summary: dict[str, Any]) -> str:
    """``1 appeared, 2 shifted, 3 the same``"""
    said = [f"{n} {what}" for what, n in summary.items() if n and what != "same"]
    same = [f"{summary['same']} the same"] if summary["same"] else []
    return ", ".join([*said, *same]) if said else "both found the same"


def change_row(c: Change) -> dict[str, Any]:
    b, a = c.before, c.after
    return {
        "what": ", ".join(c.what) or "same",
        "# before": b.rank if b else None,
        "# after": a.rank if a else None,
        "p nodule": _both(*(probability(s.p_nodule) if s else None for s in (b, a))),
        "p malignant": _both(*(probability(s.p_malignant) if s else None for s in (b, a))),
        "diameter, mm": _both(*(f"{s.diameter_mm:.1f}" if s else None for s in (b, a))),
        "moved, mm": None if c.distance_mm is None else round(c.distance_mm, 1),
        "center LPS, mm": ", ".join(f"{v:.1f}" for v in c.side.center_lps_mm),
    }


def _both(before: str | None, after: str | None) -> str:
    if before is None or after is None:
        return f"{before or 'none'} → {after or 'none'}"
    return after if before == after else f"{before} → {after}"


def _close_up(c: Change, volume: Volume, before: Findings, after: Findings) -> list[PIL.Image]:
    """Three planes through the place, each screening's outline in its colour where it lies on the volume's grid."""
    zyx = volume.geometry.zyx_from_lps_mm(c.side.center_lps_mm)
    tiles = []
    for plane in PLANES:
        picture = Picture(volume.hu, Frame.around(Cut.through(volume.geometry, plane, zyx), zyx, ZOOM_MM, 170))
        for side, findings, color in ((c.before, before, BEFORE), (c.after, after, AFTER)):
            if side and findings.labels.shape == volume.hu.shape:
                picture.contour(findings.labels, side.label, color)
        text = f"{', '.join(c.what)}: p {_p(c)}" if plane == "axial" else ""
        tiles.append(picture.ticks(zyx).marks(text).image)
    return tiles


def _p(c: Change) -> str:
    """In letters that every font has."""
    return " to ".join(probability(s.p_nodule) for s in (c.before, c.after) if s)
