"""From any artifact to the inputs that a stage needs, through the artifacts' lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from artifacts.errors import UsageError
from artifacts.manifest import Damaged, Manifest
from artifacts.store import Ref, Store
from flows.nodule_line import edges
from tasks.stage import Stage


def inputs_for(
    store: Store, stage: Stage, ref: Ref, chosen: Mapping[str, str], wants: Mapping[str, Any] | None = None
) -> dict[str, Ref]:
    """The artifacts that ``stage`` takes, by argument name: chosen ones, else ``ref``'s ancestors, else what was made beside it.

    ``wants``: parameters that a `crop` must have been made with. Raises UsageError that lists the choices where there are
    several, or names the stage to run first where there is none.
    """
    unknown = set(chosen) - set(stage.inputs)
    if unknown:
        raise UsageError(f"{stage.name} has no input '{unknown.pop()}': it takes {', '.join(stage.inputs)}")
    makers = {argument: maker for name, argument, maker in edges() if name == stage.name}
    found = {argument: store.resolve(text) for argument, text in chosen.items()}
    for argument, given in found.items():
        if (made_by := _maker(store, given)) != makers[argument]:
            raise UsageError(f"{stage.name} takes {argument} from the stage {makers[argument]}; {given} is of {made_by}")
    if not store.lineage(ref):
        raise UsageError(f"{ref} is damaged or gone: run the stage that makes it again")
    for argument in stage.inputs:
        if argument not in found:
            anchor = _agreed(store, [*found.values(), ref])
            found[argument] = _one(store, stage, argument, makers[argument], ref, anchor, wants or {})
    _agreed(store, list(found.values()))
    return found


def _maker(store: Store, ref: Ref) -> str:
    try:
        return store.manifest(ref).recipe.stage
    except Damaged as e:
        raise UsageError(f"{ref} is damaged ({e}): run the stage that makes it again") from e


def _agreed(store: Store, refs: list[Ref]) -> list[Manifest]:
    """The union of the refs' lineages, the first ones' word counting: later ancestors that contradict them are left out.

    UsageError where the refs are of different scans.
    """
    lineages = [store.lineage(r) for r in refs]
    if len({lineage[-1].scan for lineage in lineages if lineage}) > 1:
        raise UsageError(f"{', '.join(map(str, refs))} are of different scans: give inputs of one")
    union: dict[str, Manifest] = {}
    for lineage in lineages:
        for m in lineage:
            if _agrees(_by_stage(store.lineage(store.ref(m.kind, m.digest))), _by_stage(list(union.values()))):
                union.setdefault(m.digest, m)
    return list(union.values())


def _by_stage(lineage: list[Manifest]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for m in lineage:
        found.setdefault(m.recipe.stage, set()).add(m.digest)
    return found


def _agrees(one: Mapping[str, set[str]], other: Mapping[str, set[str]]) -> bool:
    """Where both know a stage, they know the same artifact of it (crops may be of two kinds)."""
    return all(one[s] & other[s] for s in one.keys() & other.keys())


def _one(
    store: Store, stage: Stage, argument: str, maker: str, ref: Ref, anchor: list[Manifest], wants: Mapping[str, Any]
) -> Ref:
    def fits(m: Manifest) -> bool:
        return m.recipe.stage == maker and (maker != "crop" or all(m.recipe.params.get(k) == v for k, v in wants.items()))

    choices = [store.ref(m.kind, m.digest) for m in anchor if fits(m)]
    if not choices:
        choices = [r for r, m in _made_beside(store, anchor) if fits(m)]
    if len(choices) == 1:
        return choices[0]
    if not choices:
        first = f"run `hounsfield stage {maker} {ref}` first"
        raise UsageError(f"{stage.name} needs {argument}, and none was made with {ref}: {first}")
    listed = " or ".join(f"--input {argument}={c} ({_how(store, c)})" for c in choices)
    raise UsageError(f"{stage.name} could take several for {argument}: say which with {listed}")


def _how(store: Store, ref: Ref) -> str:
    """With which weights and when: what tells one choice from another."""
    names = sorted({m.weights["name"] for m in store.lineage(ref) if m.weights})
    return ", ".join([*names, store.manifest(ref).made_at[:16].replace("T", " ")])


def _made_beside(store: Store, anchor: list[Manifest]) -> list[tuple[Ref, Manifest]]:
    """Artifacts of the same scan whose own lineage does not contradict the anchor's: where both know a stage, they agree."""
    known, beside = _by_stage(anchor), []
    for ref in store.refs():
        try:
            manifest = store.manifest(ref)
        except Damaged:
            continue
        if manifest.scan == anchor[-1].scan and _agrees(_by_stage(store.lineage(ref)), known):
            beside.append((ref, manifest))
    return beside
