"""Commands: the CIFAR line. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
