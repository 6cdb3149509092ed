"""Settings as a person types them, ``loop.epochs=3``, to validated parameters; groups keep their defaults elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from artifacts.errors import UsageError
from tasks.stage import Params

CLEARING = ("", "null", "none")


def with_settings(params: type[Params], settings: Mapping[str, str], of: str, allowed: Iterable[str] | None = None) -> Params:
    """``params`` with values by dotted name; lists and mappings as JSON, ``null``, ``none`` or nothing for None.

    of: whose they are; allowed: fields.

    UsageError names what there is, or what a value may be.
    """
    values: dict[str, Any] = {}
    for name, text in settings.items():
        groups, _, last = name.rpartition(".")
        at, model = values, params
        for group in groups.split(".") if groups else ():
            at, model = at.setdefault(group, _defaults(model, group)), _group(model, group, name, of)
        known = list(allowed) if allowed is not None and model is params else list(model.model_fields)
        if model is not Anything and last not in known:
            raise UsageError(f"{of} has no parameter '{name}': it has {', '.join(known) or 'none'}")
        at[last] = None if _clears(text, model, last) else _value(text, model is Anything)
    try:
        return params.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        raise UsageError(f"{of}.{'.'.join(map(str, first['loc']))}: {first['msg']} (given {first['input']!r})") from e


class Anything(Params):
    """Stands for a mapping with any names, such as a network's arguments."""


def _group(model: type[BaseModel], group: str, name: str, of: str) -> type[Any]:
    field = model.model_fields.get(group)
    kind = field.annotation if field else None
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if kind is not None and str(kind).startswith("dict["):
        return Anything
    raise UsageError(f"{of} has no parameters '{name}': it has {', '.join(model.model_fields)}")


def _defaults(model: type[BaseModel], group: str) -> dict[str, Any]:
    """What the group holds where nobody says anything else."""
    field = model.model_fields.get(group)
    default = field.get_default(call_default_factory=True) if field else None
    return default.model_dump() if isinstance(default, BaseModel) else dict(default) if isinstance(default, dict) else {}


def _clears(text: str, model: type[BaseModel], name: str) -> bool:
    """``null``, ``none`` or nothing, where the parameter may be None and the word is none of its choices."""
    field = model.model_fields.get(name)
    kinds = get_args(field.annotation) if field else ()
    return type(None) in kinds and text.lower() in CLEARING and not any(text in get_args(kind) for kind in kinds)


def _value(text: str, free: bool) -> Any:
    if text[:1] not in "[{" and not free:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
