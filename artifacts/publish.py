"""Show an artifact in the Prefect UI. The one file of this floor that imports Prefect."""

from __future__ import annotations

import logging


def publish(kind: str, digest: str, markdown: str, description: str) -> None:
    """Publish ``markdown`` on the current run's page. A server that does not answer costs the picture, not the run."""
    from prefect.artifacts import create_markdown_artifact

    try:
        create_markdown_artifact(markdown, key=f"{kind}-{digest[:12]}", description=description)
    except Exception as e:
        log = logging.getLogger("hounsfield")
        log.warning("the preview of %s:%s could not be shown (%s)", kind, digest[:12], type(e).__name__)
