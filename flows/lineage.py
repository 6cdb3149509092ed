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
    anchor = store.lineage(ref)
    if not anchor:
        raise UsageError(f"{ref} is damaged or gone: run the stage that makes it again")
    for argument in stage.inputs:
        if argument not in found:
            found[argument] = _one(store, stage, argument, makers[argument], ref, anchor, wants or {})
    return found


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
    listed = " or ".join(f"--input {argument}={c}" for c in choices)
    raise UsageError(f"{stage.name} could take several for {argument}: say which with {listed}")


def _made_beside(store: Store, anchor: list[Manifest]) -> list[tuple[Ref, Manifest]]:
    """Artifacts of the same scan whose own lineage does not contradict the anchor's: where both know a stage, they agree."""
    known = {m.recipe.stage: m.digest for m in anchor}
    beside = []
    for ref in store.refs():
        try:
            manifest = store.manifest(ref)
        except Damaged:
            continue
        if manifest.scan != anchor[-1].scan:
            continue
        lineage = {m.recipe.stage: m.digest for m in store.lineage(ref)}
        if all(lineage[s] == known[s] for s in lineage.keys() & known.keys()):
            beside.append((ref, manifest))
    return beside
