"""Show an artifact: its manifest, what it was made of, its preview."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

from rich.markdown import Markdown
from rich.tree import Tree

from artifacts.errors import StoreError
from artifacts.manifest import Damaged, Manifest
from artifacts.store import Ref, Store
from flows.console import wide_console
from flows.settle import open_store


def show_artifact(text: str, as_json: bool) -> None:
    """Print the artifact that ``text`` names, as people or machines read it."""
    store = open_store()
    ref = store.resolve(text)
    state = store.verify(ref)
    try:
        manifest = store.manifest(ref)
    except Damaged as e:
        raise StoreError(f"{ref} is damaged ({e}): screening its scan again mends it") from e
    if as_json:
        about = asdict(manifest) | {"state": state, "path": str(ref.path), "lineage": [m.digest for m in store.lineage(ref)]}
        print(json.dumps(about, indent=1))
        return
    console = wide_console()
    console.print(f"[bold]{ref}[/]  {state}", highlight=False)
    console.print(str(ref.path), highlight=False, markup=False)
    for name, value in _facts(manifest).items():
        console.print(f"{name:<10} {value}", highlight=False, markup=False)
    console.print(_tree(store, ref, seen=set()))
    if (ref.path / "preview.md").is_file():
        console.print(Markdown(without_pictures((ref.path / "preview.md").read_text(encoding="utf-8"))))
        page = "report.html" if (ref.path / "report.html").is_file() else "preview.md"
        console.print(f"pictures: {ref.path / page}", highlight=False, markup=False)


def _facts(m: Manifest) -> dict[str, str]:
    return {
        "made by": f"{m.recipe.stage} version {m.recipe.version}, code {m.made_by}",
        "made at": f"{m.made_at} in {m.seconds:.2f} s",
        "params": json.dumps(m.recipe.params),
        "weights": f"{m.weights['name']} {m.weights['role']} {m.weights['digest'][:12]}" if m.weights else "none",
        "precision": m.recipe.precision or "exact",
        "summary": json.dumps(m.summary),
        "files": f"{len(m.files)}, {m.bytes:,} bytes",
        "software": ", ".join(f"{k} {v}" for k, v in m.software.items()),
    }


def _tree(store: Store, ref: Ref, name: str = "", *, seen: set[str]) -> Tree:
    """What ``ref`` was made of, drawn down to the scan; what was drawn already is only named."""
    label = f"{name}: {ref}" if name else str(ref)
    try:
        manifest = store.manifest(ref)
    except Damaged as e:
        return Tree(f"{label} [red]{e}[/]")
    tree = Tree(f"{label} [dim]{manifest.recipe.stage}[/]")
    if ref.digest not in seen:
        seen.add(ref.digest)
        for argument, parent in reversed(manifest.parents.items()):
            tree.add(_tree(store, store.ref(*parent.split(":")), argument, seen=seen))
    return tree


def without_pictures(markdown: str) -> str:
    return re.sub(r"!\[([^\]]*)\]\(data:[^)]*\)", r"(picture: \1)", markdown)
