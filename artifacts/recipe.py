"""Recipe: all that decides what an artifact contains, and the key made of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Recipe:
    """Stage, version, parameters, the digests of inputs and weights, precision. Never time, host, path, device or workers."""

    stage: str
    version: int
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    weights: str | None = None
    precision: str | None = None

    @property
    def digest(self) -> str:
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Self:
        return cls(**d)

    def changed_since(self, earlier: Recipe) -> str:
        """Why this recipe gives another artifact than ``earlier`` did: one phrase, the first cause upstream first."""
        if self.inputs != earlier.inputs:
            names = sorted(n for n in {*self.inputs, *earlier.inputs} if self.inputs.get(n) != earlier.inputs.get(n))
            return f"input: {', '.join(names)} changed"
        return next(self.done_otherwise(earlier), "")

    def done_otherwise(self, earlier: Recipe) -> Iterator[str]:
        """All that is not as in ``earlier``, whatever the inputs: a phrase each of version, weights, precision, parameters."""
        if self.version != earlier.version:
            yield f"version: {earlier.version} -> {self.version}"
        if self.weights != earlier.weights:
            yield "weights: another checkpoint"
        if self.precision != earlier.precision:
            yield f"params: precision {earlier.precision or 'float32'} -> {self.precision or 'float32'}"
        before, after = flat(earlier.params), flat(self.params)
        changes = [f"{k} {before.get(k)} -> {after.get(k)}" for k in sorted({*before, *after}) if before.get(k) != after.get(k)]
        if changes:
            yield f"params: {', '.join(changes)}"


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters as one level: ``{"spec.border": "pad", …}``."""
    one_level: dict[str, Any] = {}
    for name, value in params.items():
        one_level |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return one_level
