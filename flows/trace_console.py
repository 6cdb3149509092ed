"""Lineage at the terminal: a tree, and where a finding lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from artifacts.errors import UsageError
from flows.console import wide_console
from flows.scans import scans_in
from flows.settle import open_index
from flows.trace import Node, Traced, artifact_row
from tasks.line import UNKNOWN


def scan_at(path: Path) -> str:
    """``scan:digest`` of what lies at ``path``, where it was screened before."""
    with scans_in(path, open_index(), series="best", kernel="any", partial=True, read=False) as scans:
        digests = [scan.digest for scan in scans]
    if UNKNOWN in digests or not digests:
        raise UsageError("the scan at the given path was never screened, or its files changed since: screen it first")
    return f"scan:{digests[0]}"


def print_lineage(traced: Traced) -> None:
    """Back: from the artifact to what it was made of. Forward: from the scan to what was made of it."""
    console = wide_console()
    if traced.finding:
        _print_finding(console, traced.finding)
    console.print(_children(traced) if traced.forward else _parents(traced), highlight=False)


def _print_finding(console: Any, finding: dict[str, Any]) -> None:
    from flows.commands.housekeeping import print_rows

    v, malignant = finding["voxels"], finding["p_malignant"]
    graded = "" if malignant is None else f", malignant p {malignant:.3f}"
    console.print(
        f"[bold]finding {finding['rank']}[/]: {finding['diameter_mm']:.1f} mm, {finding['side']}, "
        f"nodule p {finding['p_nodule']:.3f}{graded}",
        highlight=False,
    )
    box = " x ".join(f"{a}..{b}" for a, b in v["box_zyx"])
    console.print(f"voxels: {v['count']} of {v['volume']} where the label is {v['label']}, z y x {box}", highlight=False)
    console.print(f"middle slice: number {v['slice_number']}, SOP instance {v['sop_instance_uid']}", highlight=False)
    if finding.get("candidates"):
        rows = [
            {k.replace("_", " "): ", ".join(map(str, x)) if isinstance(x, list) else x for k, x in c.items()}
            for c in finding["candidates"]
        ]
        print_rows(rows, "found in these candidates")


def _label(node: Node, name: str = "") -> str:
    row = artifact_row(node)
    if node.manifest is None:
        return f"{name}{row['artifact']} [red]gone or damaged[/]"
    weights = f"  weights {escape(row['weights'])}" if row["weights"] else ""
    params = row["parameters"] if len(row["parameters"]) < 70 else row["parameters"][:69] + "…"
    return f"{name}[bold]{row['artifact']}[/] {row['stage']}{weights}[dim]  code {row['code']}  {escape(params)}[/]"


def _parents(traced: Traced) -> Tree:
    nodes, seen = {n.ref.digest: n for n in traced.nodes}, set[str]()

    def grow(node: Node, name: str) -> Tree:
        if node.ref.digest in seen:
            return Tree(f"{name}{node.ref} [dim](above)[/]")
        seen.add(node.ref.digest)
        tree = Tree(_label(node, name))
        for argument, parent in reversed(node.parents.items()):
            tree.add(grow(nodes[parent.digest], f"{argument}: "))
        if node.manifest and not node.parents:
            tree.add(f"scan: scan:{node.manifest.scan[:12]}")
        return tree

    return grow(traced.nodes[-1], "")


def _children(traced: Traced) -> Tree:
    """Each artifact once, under the last made of those that it was made of."""
    place = {n.ref.digest: i for i, n in enumerate(traced.nodes)}
    tree = Tree(f"[bold]scan:{traced.scan[:12]}[/] {len(traced.nodes)} artifacts made of it")
    trees: dict[str, Tree] = {}
    for node in traced.nodes:
        above = max((p.digest for p in node.parents.values() if p.digest in place), key=lambda d: place[d], default=None)
        trees[node.ref.digest] = (trees[above] if above else tree).add(_label(node))
    return tree
