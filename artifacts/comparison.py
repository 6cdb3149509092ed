"""Comparison: what two screenings of one scan say differently, finding by finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from artifacts.arrays import read_json, with_tuples, write_json
from artifacts.artifact import Preview
from artifacts.geometry import Vector

WHAT = ("appeared", "vanished", "moved", "shifted")


@dataclass(frozen=True)
class Side:
    """A finding as one of the two screenings has it."""

    rank: int
    label: int
    center_lps_mm: Vector
    diameter_mm: float
    p_nodule: float
    p_malignant: float | None


@dataclass(frozen=True)
class Change:
    """One place; before or after is None where the finding vanished or appeared.

    what: of ``WHAT``, nothing where both agree; distance_mm: between the centers
    """

    before: Side | None
    after: Side | None
    what: tuple[str, ...]
    distance_mm: float | None

    @property
    def side(self) -> Side:
        """The one to be shown: the later."""
        found = self.after or self.before
        assert found
        return found


@dataclass
class Comparison:
    """changes: every finding of either screening once, those that differ first; differs: what the screenings did differently."""

    kind: ClassVar[str] = "comparison"

    changes: list[Change]
    differs: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        write_json(folder / "comparison.json", {"changes": [asdict(c) for c in self.changes], "differs": self.differs})

    @classmethod
    def read(cls, folder: Path) -> Self:
        body = read_json(folder / "comparison.json")
        return cls([_change(row) for row in body["changes"]], tuple(body["differs"]))

    def summary(self) -> dict[str, Any]:
        counts = {what: sum(what in c.what for c in self.changes) for what in WHAT}
        return counts | {"same": sum(not c.what for c in self.changes)}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.comparison_pictures import comparison_preview

        return comparison_preview(self, inputs["volume"], inputs["before"], inputs["after"])


def _change(row: dict[str, Any]) -> Change:
    sides = {n: Side(**with_tuples(row[n])) if row[n] else None for n in ("before", "after")}
    return Change(**sides, what=tuple(row["what"]), distance_mm=row["distance_mm"])
