"""Diff: two screenings of a scan, or two weights sets over every scan that was screened with both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

from prefect.artifacts import create_table_artifact

from artifacts.comparison import Comparison
from artifacts.comparison_pictures import headline
from artifacts.errors import UsageError
from artifacts.home import find_weights, weights_sets
from artifacts.manifest import Damaged, Manifest
from artifacts.store import Ref, Store
from flows.console import watcher
from flows.flow import flow
from flows.form import form
from flows.settle import open_store
from tasks.compare import CompareParams, compare
from tasks.line import Line
from tasks.stage import inside_prefect

Which = Annotated[
    str,
    form(
        "Before", "A report or findings as kind:digest; or a weights set (its name, or the digest of a checkpoint)", min_length=1
    ),
]
Other = Annotated[str, form("After", "The same of the other one", min_length=1)]


@flow("diff")
def diff(
    before: Which, after: Other, params: Annotated[CompareParams, form("Compare", "When a finding changed")] = CompareParams()
) -> list[Ref]:
    """What appeared, vanished, moved, and whose probabilities shifted, with pictures. One comparison a scan."""
    store = open_store()
    pairs = list(_pairs(store, before, after))
    refs = [_compared(store, old, new, params) for old, new in pairs]
    if inside_prefect():
        create_table_artifact(overview(store, refs), key="diff", description=f"{before} and {after}")
    return refs


def overview(store: Store, refs: list[Ref]) -> list[dict[str, Any]]:
    """One row a scan, and their sum where there are several."""
    rows = [{"scan": store.manifest(r).scan[:12], "comparison": str(r), **store.manifest(r).summary} for r in refs]
    if len(rows) > 1:
        counts = [k for k in rows[0] if k not in ("scan", "comparison")]
        rows.append({"scan": "all", "comparison": f"{len(refs)} scans", **{k: sum(int(r[k]) for r in rows) for k in counts}})
    return rows


def _compared(store: Store, before: Ref, after: Ref, params: CompareParams) -> Ref:
    """Two findings of one scan; raises UsageError where they are of two."""
    old, new = ({m.recipe.stage: m for m in store.lineage(r)} for r in (before, after))
    scans = [m[max(m)].scan for m in (old, new)]
    if scans[0] != scans[1]:
        raise UsageError(f"{before} and {after} are of different scans: give two runs of one")
    for stages, ref in ((old, before), (new, after)):
        if "load" not in stages:
            raise UsageError(f"the volume that {ref} was made of is gone: run `hounsfield stage load {ref}` first")
    volume = store.ref("volume", new["load"].digest)
    line = Line(store, scans[1], params={"compare": params}, watcher=watcher())
    try:
        return line(compare, volume=volume, before=before, after=after, differs=_differs(old, new))
    finally:
        watcher().close()
        store.forget()


def _differs(old: dict[str, Manifest], new: dict[str, Manifest]) -> tuple[str, ...]:
    """Stage by stage, what was not done in the same way: parameters, weights, versions; what follows from that is not said."""
    said = []
    for name, after in new.items():
        if before := old.get(name):
            names = " -> ".join(m.weights["name"] if m.weights else "none" for m in (before, after))
            for why in after.recipe.done_otherwise(before.recipe):
                said.append(f"{name}: {why}" + (f" ({names})" if why.startswith("weights") else ""))
    return tuple(said)


def _pairs(store: Store, before: str, after: str) -> Iterator[tuple[Ref, Ref]]:
    """The findings to compare: of two artifacts, or of every scan that was screened with both weights."""
    named = [_weights(store, text) for text in (before, after)]
    if (named[0] is None) != (named[1] is None):
        ref = store.resolve(after if named[0] else before)
        raise UsageError(f"{ref} is one run, '{named[0] or named[1]}' are weights: give two runs of one scan, or two weights")
    if None not in named:
        roles = {_role(store, text) for text in (before, after)} - {""}
        if len(roles) > 1:
            raise UsageError(
                f"'{before}' and '{after}' are checkpoints of two roles ({', '.join(sorted(roles))}): give two of one"
            )
        old, new = (_screened_with(store, wanted) for wanted in named if wanted)
        both = [scan for scan in new if scan in old]
        if not both:
            seen = f"{len(old)} with '{before}', {len(new)} with '{after}'"
            raise UsageError(f"no scan was screened with both ({seen}): `hounsfield screen PATH --weights NAME` with each")
        yield from ((old[s], new[s]) for s in both)
        return
    yield _findings(store, before), _findings(store, after)


def _findings(store: Store, text: str) -> Ref:
    ref = store.resolve(text)
    if ref.kind == "findings":
        return ref
    found = [store.ref(*p.split(":")) for p in store.manifest(ref).parents.values() if p.startswith("findings:")]
    if ref.kind != "report" or not found:
        raise UsageError(f"{ref} is no report and no findings: give two of those, or two weights sets")
    return found[0]


def _weights(store: Store, text: str) -> str | None:
    """``text`` where it names weights; an artifact's ref wins."""
    if ":" in text or "/" in text:
        return None
    if text in weights_sets():
        return text
    try:
        store.resolve(text)
        return None
    except UsageError:
        if not any(w["name"] == text or _begins(w["digest"], text) for w in _used(store)):
            sets = ", ".join(weights_sets())
            raise UsageError(f"'{text}' is no artifact and no weights: write kind:digest, or one of {sets}") from None
        return text


def _role(store: Store, text: str) -> str:
    """Of the checkpoint that ``text`` names by its digest; empty for a set."""
    roles = (w["role"] for w in _used(store) if _begins(w["digest"], text))
    return "" if text in weights_sets() else next(roles, "")


def _used(store: Store) -> Iterator[dict[str, Any]]:
    """About the weights of everything in the store that a network made."""
    for ref in store.refs():
        if ref.kind in ("heatmap", "scores"):
            with suppress(Damaged):
                if about := store.manifest(ref).weights:
                    yield about


def _begins(digest: str, text: str) -> bool:
    return len(text) >= 6 and digest.startswith(text)


def _screened_with(store: Store, wanted: str) -> dict[str, Ref]:
    """Scan -> its newest findings that rest on ``wanted``: on the set of that name, or on a checkpoint of that digest.

    Sets that share a checkpoint share its artifacts, under the name of the first: a set at hand is known by its digests.
    """
    at_hand = {c.digest for c in find_weights(wanted).values()} if wanted in weights_sets() else None
    found = {}
    for ref in store.refs("findings"):
        lineage = store.lineage(ref)
        used = [m.weights for m in lineage if m.weights]
        of_set = all(w["digest"] in at_hand for w in used) if at_hand else all(w["name"] == wanted for w in used)
        if used and (of_set or any(_begins(w["digest"], wanted) for w in used)):
            found[lineage[-1].scan] = ref
    return found


def shown(store: Store, ref: Ref) -> dict[str, Any]:
    """A comparison as plain values."""
    comparison: Comparison = store.open(ref, Comparison)
    m = store.manifest(ref)
    return {
        "ref": str(ref),
        "scan": m.scan,
        "headline": headline(m.summary),
        "differs": list(comparison.differs),
        "summary": m.summary,
        "changes": [asdict(c) for c in comparison.changes],
    }
