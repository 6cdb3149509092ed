"""Lineage: from a finding back to its voxels, weights, parameters and code; from a scan forward to all that was made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from prefect.artifacts import create_markdown_artifact

from artifacts.artifact import Preview
from artifacts.errors import UsageError
from artifacts.findings import Finding, Findings
from artifacts.lineage_picture import Box, lineage_picture
from artifacts.lumps import Lumps
from artifacts.manifest import Damaged, Manifest
from artifacts.preview_markdown import preview_markdown
from artifacts.scores import Scores
from artifacts.store import LEAST_DIGITS, Ref, Store
from flows.flow import flow
from flows.form import form
from flows.settle import open_store


@dataclass
class Node:
    """One artifact of a lineage; ``manifest`` is None where it is gone or damaged."""

    ref: Ref
    manifest: Manifest | None
    parents: dict[str, Ref] = field(default_factory=dict)  # argument -> what it was made of

    def facts(self) -> dict[str, Any]:
        m = self.manifest
        if m is None:
            return {"ref": str(self.ref), "digest": self.ref.digest, "gone": True}
        weights = {k: m.weights[k] for k in ("name", "role", "digest", "licence")} if m.weights else None
        return {
            "ref": str(self.ref),
            "digest": m.digest,
            "stage": m.recipe.stage,
            "version": m.recipe.version,
            "params": m.recipe.params,
            "precision": m.recipe.precision,
            "weights": weights,
            "code": m.made_by,
            "software": m.software,
            "made_at": m.made_at,
            "seconds": m.seconds,
            "summary": m.summary,
            "parents": {n: f"{r.kind}:{r.digest}" for n, r in self.parents.items()},
            "scan": m.scan,
        }


@dataclass
class Traced:
    """A lineage. nodes: what came first stands first; finding: what is known of the one asked for."""

    anchor: Ref | None
    scan: str
    nodes: list[Node]
    forward: bool
    finding: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        anchor = f"{self.anchor.kind}:{self.anchor.digest}" if self.anchor else None
        about = {"anchor": anchor, "scan": self.scan, "direction": "forward" if self.forward else "back"}
        return about | {"finding": self.finding, "artifacts": [n.facts() for n in self.nodes]}

    def picture(self) -> bytes:
        return lineage_picture([_box(n, self.anchor) for n in self.nodes])


def trace(store: Store, text: str, *, rank: int | None = None, forward: bool = False) -> Traced:
    """``text``: an artifact (``kind:digest``), a finding (``report:digest#3``), or, forward, a scan (``scan:digest``)."""
    text, hash_, number = text.partition("#")
    if hash_:
        if not number.isdigit():
            raise UsageError(f"'#{number}' is no finding's number: write report:digest#3")
        rank = int(number)
    if forward:
        return _forward(store, text)
    anchor = store.resolve(text)
    nodes = _back(store, anchor)
    scan = nodes[-1].manifest.scan if nodes[-1].manifest else store.scan_of(anchor)
    about = _finding(store, nodes, anchor, rank) if rank is not None else None
    return Traced(anchor, scan, nodes, False, about)


def _node(store: Store, ref: Ref) -> Node:
    try:
        m = store.manifest(ref)
    except Damaged:
        return Node(ref, None)
    return Node(ref, m, {n: store.ref(*p.split(":")) for n, p in m.parents.items()})


def _back(store: Store, anchor: Ref) -> list[Node]:
    seen: dict[str, Node] = {}

    def visit(ref: Ref) -> None:
        if ref.digest not in seen:
            node = _node(store, ref)
            for parent in node.parents.values():
                visit(parent)
            seen.setdefault(ref.digest, node)

    visit(anchor)
    return list(seen.values())


def _forward(store: Store, text: str) -> Traced:
    """All that was made of an artifact, or of a scan, with what came in between; oldest first."""
    everything = {n.ref.digest: n for n in (_node(store, r) for r in store.refs()) if n.manifest}
    if text.startswith("scan:") or not _is_ref(store, text):
        prefix = text.removeprefix("scan:")
        scans = (
            {n.manifest.scan for n in everything.values() if n.manifest and n.manifest.scan.startswith(prefix)}
            if len(prefix) >= LEAST_DIGITS
            else set()
        )
        if len(scans) != 1:
            why = "no scan" if not scans else f"{len(scans)} scans"
            raise UsageError(f"{why} '{text}' in the store: give its path, scan:digest, or any artifact made of it")
        anchor, scan = None, scans.pop()
        of = {d for d, n in everything.items() if n.manifest and n.manifest.scan == scan}
    else:
        anchor = store.resolve(text)
        scan = everything[anchor.digest].manifest.scan if anchor.digest in everything else ""  # type: ignore[union-attr]
        of = {anchor.digest}
    while grown := {d for d, n in everything.items() if d not in of and of & {p.digest for p in n.parents.values()}}:
        of |= grown
    return Traced(anchor, scan, _parents_first([n for d, n in everything.items() if d in of]), True)


def _is_ref(store: Store, text: str) -> bool:
    try:
        store.resolve(text)
    except UsageError:
        return False
    return True


def _parents_first(nodes: list[Node]) -> list[Node]:
    left, placed = {n.ref.digest: n for n in nodes}, dict[str, Node]()

    def place(node: Node) -> None:
        left.pop(node.ref.digest, None)
        for parent in node.parents.values():
            if parent.digest in left:
                place(left[parent.digest])
        placed.setdefault(node.ref.digest, node)

    while left:
        place(next(iter(left.values())))
    return list(placed.values())


def _finding(store: Store, nodes: list[Node], anchor: Ref, rank: int) -> dict[str, Any]:
    """Where finding ``rank`` lies in the voxels, which candidates it was made of, and what each network said of them."""
    refs = {n.ref.kind: n.ref for n in nodes if n.manifest and n.ref.kind != "scores"}
    if anchor.kind not in ("report", "findings") or "findings" not in refs:
        raise UsageError(f"{anchor} has no findings: give a report or findings")
    findings: Findings = store.open(refs["findings"], Findings)
    found = next((f for f in findings.findings if f.rank == rank), None)
    if found is None:
        raise UsageError(f"{anchor} has no finding #{rank}: it has {len(findings.findings)}")
    about: dict[str, Any] = {
        "rank": rank,
        "diameter_mm": found.diameter_mm,
        "p_nodule": found.p_nodule,
        "p_malignant": found.p_malignant,
        "side": found.side,
        "voxels": _voxels(findings, found, refs.get("volume")),
        "lumps": list(found.lump_ids),
    }
    if "lumps" in refs:
        said = [store.open(n.ref, Scores) for n in nodes if n.manifest and n.ref.kind == "scores"]
        about["candidates"] = _candidates(store.open(refs["lumps"], Lumps), found, said)
    return about


def _voxels(findings: Findings, f: Finding, volume: Ref | None) -> dict[str, Any]:
    """Where its outline lies: label, how many voxels, the box that holds them (z, y, x, last one included), its slices."""
    import numpy as np

    where = np.argwhere(findings.labels == f.label)
    box = [[int(a), int(b)] for a, b in zip(where.min(0), where.max(0), strict=True)] if len(where) else []
    return {
        "volume": str(volume) if volume else "gone",
        "label": f.label,
        "count": len(where),
        "box_zyx": box,
        "center_zyx": [round(float(v), 2) for v in f.center_zyx],
        "center_lps_mm": [round(float(v), 2) for v in f.center_lps_mm],
        "slice_index": f.slice_index,
        "slice_number": f.slice_number,
        "sop_instance_uid": f.sop_instance_uid,
    }


def _candidates(lumps: Lumps, f: Finding, said: list[Scores]) -> list[dict[str, Any]]:
    import numpy as np

    rows = []
    for i, c in enumerate(lumps.candidates):
        blob = c.source == "blob" and math.dist(c.center_lps_mm, f.center_lps_mm) < f.long_axis_mm / 2
        if blob or c.lump_id in f.lump_ids:
            lump = "blob" if blob else c.lump_id
            row: dict[str, Any] = {"candidate": i + 1, "lump": lump, "center_lps_mm": [round(v, 1) for v in c.center_lps_mm]}
            row["p_segment"] = round(float(c.probability), 3)
            for scores in said:
                p = float(scores.probability[i])
                row[f"p_{scores.meaning}"] = None if np.isnan(p) else round(p, 3)
            rows.append(row)
    return rows


def _box(node: Node, anchor: Ref | None) -> Box:
    m = node.manifest
    small = f"{m.weights['name']} {m.weights['role']}" if m and m.weights else (m.made_at[:16].replace("T", " ") if m else "")
    return Box(
        node.ref.digest,
        m.recipe.stage if m else node.ref.kind,
        (str(node.ref), small),
        tuple(p.digest for p in node.parents.values()),
        chosen=bool(anchor and anchor.digest == node.ref.digest),
        gone=m is None,
    )


def preview(traced: Traced) -> Preview:
    """As a page: the picture, where the finding is, and every artifact with its parameters, weights and code."""
    start, n = str(traced.anchor or f"scan:{traced.scan[:12]}"), sum(x.ref != traced.anchor for x in traced.nodes)
    said = f"{n} artifacts made of {start}" if traced.forward else f"what {start} was made of: {n} artifacts"
    tables: dict[str, list[dict[str, Any]]] = {}
    if traced.finding:
        tables["Finding"] = [{"what": k, "value": _plain(v)} for k, v in _told(traced.finding).items() if v not in (None, "")]
        if traced.finding.get("candidates"):
            tables["Candidates that it was found in"] = [
                {k: _plain(v) for k, v in c.items()} for c in traced.finding["candidates"]
            ]
    tables["Artifacts"] = [artifact_row(n) for n in traced.nodes]
    picture = (
        {"From what came in, down to what came out; arrows that follow from others are left out": traced.picture()}
        if traced.nodes
        else {}
    )
    return Preview(said, tables, picture)


def _told(finding: dict[str, Any]) -> dict[str, Any]:
    """A finding in a few lines for people."""
    v, malignant = finding["voxels"], finding["p_malignant"]
    graded = "" if malignant is None else f", malignant p {malignant:.3f}"
    return {
        "finding": f"{finding['rank']}: {finding['diameter_mm']:.1f} mm, {finding['side']}",
        "says": f"nodule p {finding['p_nodule']:.3f}{graded}",
        "voxels": f"{v['count']} of {v['volume']}, label {v['label']}",
        "box z, y, x": " x ".join(f"{a}..{b}" for a, b in v["box_zyx"]),
        "center LPS, mm": v["center_lps_mm"],
        "slice number": v["slice_number"],
        "SOP instance": v["sop_instance_uid"],
        "lumps": finding["lumps"],
    }


def artifact_row(node: Node) -> dict[str, Any]:
    m = node.manifest
    if m is None:
        return {"artifact": str(node.ref), "stage": "gone or damaged"}
    return {
        "artifact": str(node.ref),
        "stage": f"{m.recipe.stage} {m.recipe.version}",
        "parameters": ", ".join(f"{k} {_plain(v)}" for k, v in m.recipe.params.items()) or "none",
        "weights": f"{m.weights['name']} {m.weights['role']} {m.weights['digest'][:8]}" if m.weights else "",
        "code": m.made_by,
        "made": m.made_at[:16].replace("T", " "),
    }


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    if isinstance(value, dict):
        return " ".join(f"{k} {_plain(v)}" for k, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@flow("lineage")
def lineage(
    ref: Annotated[
        str, form("From", "An artifact as kind:digest, a finding as report:digest#3, a scan as scan:digest", min_length=4)
    ],
    forward: Annotated[bool, form("Forward", "All that was made of it, instead of all that it was made of")] = False,
) -> dict[str, Any]:
    """Draw what an artifact was made of, or all that was made of it: weights, parameters, code, down to the voxels."""
    traced = trace(open_store(), ref, forward=forward or ref.startswith("scan:"))
    shown = preview(traced)
    create_markdown_artifact(preview_markdown(shown), key="lineage", description=shown.headline)
    return traced.as_json()
