"""Nightly: every scan of a folder that fills up, screened; what is already there is reused."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact

from artifacts.errors import HounsfieldError, InputError
from flows.console import watcher
from flows.form import Device, Folder, PrecisionField, Series, Weights
from flows.screen import screen
from flows.settle import open_index


@flow(name="nightly", persist_result=False)
def nightly(
    folder: Folder,
    series: Series = "best",
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: PrecisionField = "auto",
) -> list[dict[str, str]]:
    """Screen every entry of a folder. One bad scan never stops the rest; one table says what became of each."""
    index = open_index()
    inbox = index.path(folder)
    if not inbox.is_dir():
        raise InputError("the nightly folder is not there: set the deployment's parameter 'folder' to one that is")
    rows = []
    for entry in sorted(p for p in inbox.iterdir() if not p.name.startswith(".")):
        token = index.token(entry)
        try:
            reports = screen.fn(source=token, series=series, weights=weights, device=device, precision=precision)
            rows.append({"scan": token, "state": "done", "reports": ", ".join(map(str, reports))})
        except Exception as e:
            why = str(e) if isinstance(e, HounsfieldError) else f"unexpected {type(e).__name__}"
            watcher().say(f"{token}: {why}")
            done = ", ".join(map(str, getattr(e, "reports", ())))
            rows.append({"scan": token, "state": f"not screened: {why}", "reports": done})
    create_table_artifact(rows or [{"scan": "none", "state": "the folder is empty", "reports": ""}], key="nightly")
    return rows
