"""Draw the line of stages from the stages themselves: ``python -m flows.dag`` writes docs/dag.svg, ``--check`` fails if stale."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from flows.nodule_line import STAGES, edges

TARGET = Path(__file__).parents[1] / "docs" / "dag.svg"
BOX_W, BOX_H, GAP, LANE = 170, 44, 24, 18


def svg() -> str:
    """One box a stage from top to bottom, one lane for each artifact that later stages take; a double border is a network."""
    row = {name: i for i, name in enumerate(["scan", *STAGES])}
    links = {(maker, name) for name, _, maker in edges()}
    takers = {maker: sorted(row[n] for m, n in links if m == maker and row[n] - row[m] > 1) for maker in row}
    lanes = [maker for maker in reversed(row) if takers[maker]]
    width = 2 * 20 + BOX_W + LANE * (len(lanes) + 1)
    height = (BOX_H + GAP) * len(row) + GAP
    parts = [_box("scan", "DICOM, NIfTI, MHD, …", row["scan"], False)]
    parts += [_box(name, stage.produces.__name__, row[name], stage.network is not None) for name, stage in STAGES.items()]
    parts += [_down(row[a]) for a, b in sorted(links, key=lambda link: row[link[0]]) if row[b] - row[a] == 1]
    parts += [_lane(row[maker], takers[maker], i, len(lanes)) for i, maker in enumerate(lanes)]
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


def _down(row: int) -> str:
    x = 20 + BOX_W / 2
    return _path(f"M{x} {_top(row) + BOX_H}V{_top(row + 1)}")


def _lane(start: int, takers: list[int], lane: int, lanes: int) -> str:
    """From a box to the right, down, and back into every box that takes its artifact, each lane at a height of its own."""
    edge, x = 20 + BOX_W, 20 + BOX_W + LANE * (lane + 1)
    height = BOX_H * (lane + 1) / (lanes + 1)
    out = f"M{edge} {_top(start) + height:.1f}H{x}V{_top(takers[-1]) + height:.1f}H{edge}"
    return "".join([_path(out), *(_path(f"M{x} {_top(t) + height:.1f}H{edge}") for t in takers[:-1])])


def _path(d: str) -> str:
    return f'<path d="{d}" fill="none" stroke="#456" marker-end="url(#a)"/>'


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
