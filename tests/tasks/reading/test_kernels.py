"""Makers' names for kernels."""

from __future__ import annotations

import pytest

from tasks.reading.kernels import kernel_class


@pytest.mark.parametrize(
    "name", ["B70f", "B60f", "Br64", "Bl57d", "I70f", "B50s", "LUNG", "BONEPLUS", "FC51", "FC86", "FC30", "YA", "L"]
)
def test_sharp(name: str) -> None:
    assert kernel_class(name) == "sharp"


@pytest.mark.parametrize("name", ["B30f", "B31s", "Br40", "I30f", "STANDARD", "SOFT", "FC08", "FC18", "B", "C", "B45f"])
def test_soft(name: str) -> None:
    assert kernel_class(name) == "soft"


@pytest.mark.parametrize("name", [None, "", "whatever", "12", "PHANTOM"])
def test_unknown(name: str | None) -> None:
    assert kernel_class(name) is None
