"""What a stage is: a pure function with a name, a version, parameters, and what it makes.

``@stage`` leaves the function as it was written (``group(volume, lung_mask, heat_map)`` is plain Python on in-memory
artifacts); what it adds is the declaration. Binding to the store and to Prefect is done here too, late, so that a stage's
file imports and its function runs on a host that has neither.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from artifacts.artifact import Artifact
from artifacts.checkpoint import Role

Progress = Callable[[float], None]  # told the share done, 0..1


def silent(_share: float) -> None:
    """The progress of a caller who does not look."""


class Params(BaseModel):
    """Base of every stage's parameters: unknown names are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, eq=False)
class Stage:
    """A declared stage. Calling it calls the plain function."""

    name: str
    version: int
    function: Callable[..., Any]
    params: type[Params]
    network: Role | None = None
    gpu: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.function)

    @cached_property
    def inputs(self) -> dict[str, type[Artifact]]:
        """Argument name -> artifact type, in the function's order."""
        names = inspect.signature(self.function).parameters
        return {n: self._hints[n] for n in names if hasattr(self._hints.get(n), "kind")}

    @cached_property
    def produces(self) -> type[Artifact]:
        return self._hints["return"]

    def wants(self, argument: str) -> bool:
        return argument in inspect.signature(self.function).parameters


def stage(
    name: str, *, version: int, params: type[Params], network: Role | None = None, gpu: bool = False
) -> Callable[[Callable[..., Any]], Stage]:
    """Declare a stage. ``version`` rises whenever the same inputs would give another output.

    The function's arguments: its input artifacts by name; ``params``; and, where it names them, ``network`` (a
    ``tasks.nets.Network``), ``progress`` (a ``Progress``) and ``lineage`` (list of ancestor manifests as dicts).
    """

    def declare(function: Callable[..., Any]) -> Stage:
        return Stage(name, version, function, params, network, gpu)

    return declare
