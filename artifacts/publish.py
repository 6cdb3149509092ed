"""Show an artifact in the Prefect UI. The one file of this floor that imports Prefect."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any


def publish(kind: str, digest: str, markdown: str, description: str) -> None:
    """Publish ``markdown`` on the current run's page. A server that does not answer costs the picture, not the run."""
    from prefect.artifacts import create_markdown_artifact

    try:
        create_markdown_artifact(markdown, key=f"{kind}-{digest[:12]}", description=description)
    except Exception as e:
        log = logging.getLogger("hounsfield")
        log.warning("the preview of %s:%s could not be shown (%s)", kind, digest[:12], type(e).__name__)


class LiveTable:
    """A table on the current run's page that grows while a stage runs."""

    SHOWN = 100

    def __init__(self, name: str):
        self.key = f"live-{name}-{uuid.uuid4().hex[:8]}"
        self.rows: list[dict[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Publish the table with one more row. A server that does not answer costs the table, not the run."""
        from prefect.artifacts import create_table_artifact

        self.rows.append({k: round(float(v), 5) if isinstance(v, float) else v for k, v in row.items()})
        try:
            create_table_artifact(self.rows[-self.SHOWN :], key=self.key, description="while it runs; a row an epoch")
        except Exception as e:
            logging.getLogger("hounsfield").warning("the live table could not be shown (%s)", type(e).__name__)
