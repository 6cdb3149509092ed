"""Commands: inbox, backfill, diff, lineage, gc, doctor. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import typer

from flows.commands import housekeeping


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    housekeeping.register(app)
