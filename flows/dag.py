"""Draw the line of stages from the stages themselves: ``python -m flows.dag`` writes docs/dag.svg, ``--check`` fails if stale."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from flows.nodule_line import STAGES, edges

TARGET = Path(__file__).parents[1] / "docs" / "dag.svg"
BOX_W, BOX_H, GAP, LANE = 150, 44, 26, 16


def svg() -> str:
    """One box a stage from top to bottom, and an arrow for every input; a network's stage has a double border."""
    names = list(STAGES)
    row = {name: i for i, name in enumerate(["scan", *names])}
    links = sorted({(maker, name) for name, _, maker in edges()}, key=lambda e: (row[e[1]] - row[e[0]], row[e[0]]))
    lanes = {link: i for i, link in enumerate(e for e in links if row[e[1]] - row[e[0]] > 1)}
    width = 40 + BOX_W + 190 + LANE * (len(lanes) + 1)
    height = (BOX_H + GAP) * len(row) + GAP
    parts = [_box("scan", "DICOM, MHD, NIfTI, NRRD, zip", row["scan"], False)]
    for name, stage in STAGES.items():
        made = stage.produces.__name__
        parts.append(_box(name, made, row[name], stage.network is not None))
    parts += [_arrow(row[a], row[b], lanes.get((a, b))) for a, b in links]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">'
    marker = (
        '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#456"/></marker></defs><rect width="100%" height="100%" fill="#fff"/>'
    )
    return "\n".join([head, marker, *parts, "</svg>", ""])


def _top(row: int) -> int:
    return GAP + row * (BOX_H + GAP)


def _box(name: str, made: str, row: int, network: bool) -> str:
    y = _top(row)
    frame = f'<rect x="20" y="{y}" width="{BOX_W}" height="{BOX_H}" rx="6" fill="#eef4fa" stroke="#456"/>'
    if network:
        frame += f'<rect x="23" y="{y + 3}" width="{BOX_W - 6}" height="{BOX_H - 6}" rx="4" fill="none" stroke="#456"/>'
    middle = 20 + BOX_W / 2
    text = f'<text x="{middle}" y="{y + 19}" text-anchor="middle" font-weight="bold">{escape(name)}</text>'
    return frame + text + f'<text x="{middle}" y="{y + 35}" text-anchor="middle" fill="#456">{escape(made)[:24]}</text>'


def _arrow(start: int, end: int, lane: int | None) -> str:
    if lane is None:
        x = 20 + BOX_W / 2
        path = f"M{x} {_top(start) + BOX_H}V{_top(end)}"
    else:
        x = 20 + BOX_W + LANE * (lane + 1)
        path = f"M{20 + BOX_W} {_top(start) + BOX_H / 2 + 6}H{x}V{_top(end) + BOX_H / 2 - 6}H{20 + BOX_W}"
    return f'<path d="{path}" fill="none" stroke="#456" marker-end="url(#a)"/>'


def main() -> int:
    drawn = svg()
    if "--check" in sys.argv:
        stale = not TARGET.is_file() or TARGET.read_text() != drawn
        if stale:
            print("docs/dag.svg is stale: run `make dag` and commit it", file=sys.stderr)
        return int(stale)
    TARGET.write_text(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
