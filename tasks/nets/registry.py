"""The registry of networks: an architecture is a decorated class in a file of this folder, found by the name in a card."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from artifacts.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

Architecture = TypeVar("Architecture", bound=Callable[..., "nn.Module"])
_architectures: dict[str, Callable[..., nn.Module]] = {}
_takes: dict[str, str] = {}


def network(name: str, takes: str = "volumes") -> Callable[[Architecture], Architecture]:
    """Register what builds a network under ``name``. takes: volumes, or images."""

    def register(builder: Architecture) -> Architecture:
        _takes[name] = takes
        known = _architectures.setdefault(name, builder)
        if known is not builder:
            raise ValueError(f"two networks are called {name!r}")
        return builder

    return register


def architectures() -> dict[str, Callable[..., nn.Module]]:
    """All registered networks by name. Imports every file of this folder, and with them torch."""
    folder = importlib.import_module("tasks.nets")
    for module in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f"tasks.nets.{module.name}")
    return dict(sorted(_architectures.items()))


def image_networks() -> dict[str, Callable[..., nn.Module]]:
    """Those that take images; each is built with ``classes``, ``channels`` and ``size`` (rows, columns)."""
    return {name: builder for name, builder in architectures().items() if _takes[name] == "images"}


def build(name: str, **arguments: Any) -> nn.Module:
    """A network with fresh weights. WeightsError where the name or an argument is unknown or out of range."""
    known = architectures()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)
        raise WeightsError(f"no network is called '{name}'; did you mean {' or '.join(near)}?")
    try:
        return known[name](**arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError) as e:
        raise WeightsError(f"the network {name} cannot be built with these arguments: {str(e).splitlines()[0]}") from e
