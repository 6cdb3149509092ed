"""Show something in the Prefect UI. The one file of this floor that imports Prefect."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

CONNECT_S = 3.0


def shown(call: Callable[..., Any], what: str, **arguments: Any) -> Any:
    """What ``call`` gives. A server that does not answer costs what was to be seen, never the run; nobody waits for it."""
    try:
        if not server_there():
            raise ConnectionError
        return call(**arguments)
    except Exception as e:
        logging.getLogger("hounsfield").warning("%s could not be shown (%s)", what, type(e).__name__)
        return None


def server_there() -> bool:
    """Whether somebody listens where the server is: Prefect's own client would ask for minutes. An embedded one always is."""
    from prefect.settings import PREFECT_API_URL

    if not (url := PREFECT_API_URL.value()):
        return True
    at = urlsplit(url)
    try:
        socket.create_connection((at.hostname or "", at.port or (443 if at.scheme == "https" else 80)), CONNECT_S).close()
    except OSError:
        return False
    return True


def publish(kind: str, digest: str, markdown: str, description: str) -> None:
    """Publish ``markdown`` on the current run's page."""
    from prefect.artifacts import create_markdown_artifact

    key, what = f"{kind}-{digest[:12]}", f"the preview of {kind}:{digest[:12]}"
    shown(create_markdown_artifact, what, markdown=markdown, key=key, description=description)


class LiveTable:
    """A table on the current run's page that grows while a stage runs."""

    SHOWN = 100

    def __init__(self, name: str):
        self.key = f"live-{name}-{uuid.uuid4().hex[:8]}"
        self.rows: list[dict[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Publish the table with one more row."""
        from prefect.artifacts import create_table_artifact

        self.rows.append({k: round(float(v), 5) if isinstance(v, float) else v for k, v in row.items()})
        about = "while it runs; a row an epoch"
        shown(create_table_artifact, "the live table", table=self.rows[-self.SHOWN :], key=self.key, description=about)
