"""Run from a deployment: whoever may start runs in the UI may not read every file of this machine, nor leave a name there.

Paths in a run's parameters are confined to configured roots; and a path that was typed into the form is replaced on the run's
page by its ``source-…`` token, before anything else happens.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from artifacts.private_index import TOKEN, PrivateIndex

ROOTS, INBOX = "HOUNSFIELD_ROOTS", "HOUNSFIELD_INBOX"


def code_of_this_machine() -> dict[str, str]:
    """The first step of every deployment: a run starts in the code of the machine that takes it, not of the one that deployed."""
    folder = str(Path(__file__).parents[1])
    os.chdir(folder)
    return {"directory": folder}


def roots() -> list[Path]:
    """The folders that deployments may read: ``HOUNSFIELD_ROOTS``, as ``PATH`` is written, and the inbox."""
    named = [p for p in os.environ.get(ROOTS, "").split(os.pathsep) if p]
    return [Path(p).expanduser() for p in [*named, os.environ.get(INBOX, "")] if p]


def deployed_run() -> Any:
    """The Prefect run that this code runs in, where a deployment started it; else None."""
    from tasks.stage import inside_prefect

    if not inside_prefect():
        return None
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return context if run and run.deployment_id else None


def confined(index: PrivateIndex) -> PrivateIndex:
    """``index``; in a run of a deployment one that opens no path outside the roots, once the run's page names none."""
    context = deployed_run()
    if context is None:
        return index
    index.roots = roots()
    _hide(index, context)
    return index


def _hide(index: PrivateIndex, context: Any) -> None:
    """Typed paths become tokens on the run's page; the roots themselves name no patient and stay."""
    from prefect.client.orchestration import get_client

    kept, parameters = {str(r) for r in roots()}, dict(context.flow_run.parameters)

    def hide(value: Any) -> Any:
        if isinstance(value, list):
            return [hide(v) for v in value]
        return _token(index, value) if isinstance(value, str) and value not in kept else value

    hidden = {n: hide(v) for n, v in parameters.items()}
    if hidden == parameters:
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, parameters=hidden).raise_for_status()
        context.flow_run.parameters = hidden
    except Exception as e:
        logging.getLogger("hounsfield").warning("a typed path could not be hidden on the run's page (%s)", type(e).__name__)


def _token(index: PrivateIndex, value: str) -> str:
    is_path = not value.startswith(TOKEN) and value.startswith(("/", "~", "./", "../"))
    return index.token(Path(value)) if is_path else value
