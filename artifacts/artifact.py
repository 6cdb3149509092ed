"""What every artifact is: something that writes itself into a folder, reads itself back, and shows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable


@dataclass
class Preview:
    """What a person sees of an artifact: a sentence, tables, pictures. Rendered once, when the artifact is made.

    tables    title -> rows; every row a mapping of column name to a plain str, int or float
    pictures  caption -> PNG or JPEG bytes (keep the sum below 600 kB: the Prefect UI shows at most 1 MB)
    """

    headline: str
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)


@runtime_checkable
class Artifact(Protocol):
    """In memory: a dataclass of numpy arrays and plain values. On disk: the files that ``write`` puts into a folder."""

    kind: ClassVar[str]

    def write(self, folder: Path) -> None: ...

    @classmethod
    def read(cls, folder: Path) -> Self: ...

    def summary(self) -> dict[str, Any]:
        """A few numbers for the manifest and the progress line; nothing that may name a patient."""
        ...

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        """``inputs``: the artifacts that the stage was given, by argument name."""
        ...
