"""The pictures of a report: where the findings are, close-ups of each, and an overview of lungs and heat map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifacts.drawing import OUTLINE, Picture, jpeg
from artifacts.findings import Finding, Findings
from artifacts.heatmap import HeatMap
from artifacts.lungmask import LungMask
from artifacts.pictures import Lungs, plane_name, zoom
from artifacts.planes import PLANES, Cut
from artifacts.volume import Volume

if TYPE_CHECKING:
    from tasks.report import ReportParams

PIXELS = 320  # a close-up's side: 5 px/mm at 60 mm
OVERVIEW_PX_PER_MM = 1.25
SOFT_TISSUE = (40.0, 400.0)  # centre and width, HU: calcium, fat, what is solid


@dataclass(frozen=True)
class Shown:
    """A JPEG and what to write below it."""

    caption: str
    jpeg: bytes
    size: tuple[int, int]

    @classmethod
    def of(cls, picture: Picture, caption: str, quality: int = 82) -> Shown:
        return cls(caption, jpeg(picture.image, quality), picture.image.size)


@dataclass(frozen=True)
class ReportPictures:
    where: list[Shown]
    findings: dict[int, list[Shown]]  # rank -> close-ups
    overview: list[Shown]


def report_pictures(
    volume: Volume, lung_mask: LungMask, heat_map: HeatMap, findings: Findings, params: ReportParams
) -> ReportPictures:
    window = (params.window_center_hu, params.window_width_hu)
    lungs = Lungs(lung_mask.labels, lung_mask.geometry)
    shown = sorted(findings.findings, key=lambda f: f.rank)[: params.key_images]
    return ReportPictures(
        where=_where(volume, lungs, findings, window),
        findings={f.rank: _close_ups(volume, lungs, findings, f, params.field_mm, window) for f in shown},
        overview=_overview(volume, lungs, heat_map, window),
    )


def _where(volume: Volume, lungs: Lungs, findings: Findings, window: tuple[float, float]) -> list[Shown]:
    """All findings projected on an axial and a coronal plane, those of each lung on a sagittal plane through it."""
    everywhere = findings.findings
    views = [
        (lungs.cut("axial", 0.45), everywhere, "axial"),
        (lungs.cut("coronal", 0.5), everywhere, "coronal"),
        (lungs.cut("sagittal", 0.25), [f for f in everywhere if f.side == "right"], "sagittal, right lung"),
        (lungs.cut("sagittal", 0.75), [f for f in everywhere if f.side == "left"], "sagittal, left lung"),
    ]
    pictures = []
    for cut, shown, name in views:
        picture = Picture(volume.hu, lungs.square(cut, PIXELS), window)
        for f in reversed(shown):
            picture.box(f.center_zyx, max(f.diameter_mm, 10) + 6, OUTLINE, str(f.rank))
        what = "finding" if len(shown) == 1 else "findings"
        pictures.append(Shown.of(picture.marks(), f"{name}: {len(shown) or 'no'} {what}" + (", projected" if shown else "")))
    return pictures


def _close_ups(
    volume: Volume, lungs: Lungs, findings: Findings, f: Finding, field_mm: float, window: tuple[float, float]
) -> list[Shown]:
    """Where it is on its axial slice; that place plain, and in a soft-tissue window; then outlined in the three planes."""
    cut = Cut.through(volume.geometry, "axial", f.center_zyx)
    around = lungs.square(cut, PIXELS)
    place = Picture(volume.hu, around, window).box(f.center_zyx, max(f.long_axis_mm, 10) + 8).marks()
    plain, soft = (zoom(volume, findings, f, "axial", PIXELS, field_mm, w, outlined=False).marks() for w in (window, SOFT_TISSUE))
    outlined = [zoom(volume, findings, f, plane, PIXELS, field_mm, window).marks() for plane in PLANES]
    return [
        Shown.of(place, plane_name(cut, volume)),
        Shown.of(plain, f"axial, {window_name(window)}"),
        Shown.of(soft, f"axial, {window_name(SOFT_TISSUE)}"),
        *(Shown.of(picture, f"{plane}, outlined") for picture, plane in zip(outlined, PLANES, strict=True)),
    ]


def window_name(window: tuple[float, float]) -> str:
    """``W 1500 L -600``: width and level of the grey scale, HU."""
    return f"W {window[1]:g} L {window[0]:g}"


def _overview(volume: Volume, lungs: Lungs, heat_map: HeatMap, window: tuple[float, float]) -> list[Shown]:
    cuts = [*(lungs.cut("axial", s) for s in (0.85, 0.65, 0.45, 0.25)), lungs.cut("coronal", 0.4), lungs.cut("coronal", 0.65)]
    return [
        Shown.of(
            lungs.picture(volume, cut, OVERVIEW_PX_PER_MM, window, width=1.2).heat(heat_map.probability).marks(),
            plane_name(cut, volume),
        )
        for cut in cuts
    ]
