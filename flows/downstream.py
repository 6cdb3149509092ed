"""Downstream: after one stage has run alone, every stage that comes after it in the line, from the same lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from artifacts.checkpoint import Checkpoint, Role
from artifacts.errors import StoreError
from artifacts.store import Ref, Store
from flows.nodule_line import STAGES, downstream, filled_in
from tasks.line import Line
from tasks.stage import Params, Stage


class Rest:
    """A runner of the line: what comes before ``slot`` is what ``first`` was made of, what comes after runs."""

    def __init__(self, line: Line, slot: str, first: Ref):
        self.line, self.slot, self.first = line, slot, first
        self.after = downstream(slot) - {slot}
        self.lineage = line.store.lineage(first)[:-1]

    def __call__(self, stage: Stage, *, slot: str | None = None, **given: Any) -> Ref:
        place = slot or stage.name
        if place == self.slot:
            return self.first
        kept = None if place in self.after else self._kept(stage, given)
        return kept or self.line(stage, slot=slot, **given)

    def _kept(self, stage: Stage, given: Mapping[str, Any]) -> Ref | None:
        """The ancestor that ``stage`` made; of crops those with the spec asked for. Raises StoreError where it is not whole."""
        wanted = {n: v.model_dump(mode="json") for n, v in given.items() if n == "spec"}
        for m in self.lineage:
            if m.recipe.stage == stage.name and all(m.recipe.params.get(n) == v for n, v in wanted.items()):
                ref = self.line.store.ref(m.kind, m.digest)
                if (state := self.line.store.verify(ref)) != "whole":
                    raise StoreError(f"{stage.name}'s {ref} is {state}: run {stage.name} again, with what comes after it")
                return ref
        return None


def last_params(store: Store, scan: str, weights: Mapping[Role, Checkpoint]) -> dict[str, Params]:
    """What each stage was last told for this scan; what the networks' cards say is left to the cards."""
    found: dict[str, Params] = {}
    for name, stage in STAGES.items():
        last = store.last_recipe(scan, name)
        if last is None:
            continue
        filled = {n: _plain(v) for n, v in filled_in(name, weights).items()}
        chosen = {n: v for n, v in last.params.items() if n != "series_choice" and v != filled.get(n, v is None)}
        try:
            found[name] = stage.params.model_validate(chosen)
        except ValidationError:  # of another version
            continue
    return found


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
