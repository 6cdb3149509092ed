"""Run from a deployment: whoever may start runs in the UI may not read every file of this machine, nor leave a name there.

Paths in a run's parameters are confined to configured roots; and a path that was typed into the form is replaced on the run's
page by its ``source-…`` token, before anything else happens.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from artifacts.errors import HounsfieldError
from artifacts.home import private_folder
from artifacts.private_index import PrivateIndex

ROOTS, INBOX = "HOUNSFIELD_ROOTS", "HOUNSFIELD_INBOX"


def code_of_this_machine() -> dict[str, str]:
    """The first step of every deployment: a run starts in the code of the machine that takes it, not of the one that deployed.

    Its page names no typed path from here on, also where its parameters turn out to be none that the flow takes.
    """
    folder = str(Path(__file__).parents[1])
    os.chdir(folder)
    if run := os.environ.get("PREFECT__FLOW_RUN_ID"):
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            _hide(client.read_flow_run(UUID(run)))
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
    """``index``; in a run of a deployment one that opens no path outside the roots."""
    if deployed_run() is not None:
        index.roots = roots()
    return index


@contextmanager
def hidden_paths() -> Iterator[None]:
    """In a run of a deployment, paths that were typed into the form are tokens: on the run's page, and in what a failure says.

    The roots themselves name no patient and stay.
    """
    context = deployed_run()
    if context is None:
        yield
        return
    tokens = _hide(context.flow_run)
    try:
        yield
    except HounsfieldError as e:
        for typed in sorted(tokens, key=len, reverse=True):
            e.args = tuple(a.replace(typed, tokens[typed]) if isinstance(a, str) else a for a in e.args)
        raise


def _hide(run: Any) -> dict[str, str]:
    """The tokens of typed paths, which stand in the run's parameters from now on."""
    from prefect.client.orchestration import get_client

    typed, tokens = dict(run.parameters), dict[str, str]()
    index, kept = PrivateIndex(private_folder(), roots()), {str(r) for r in roots()}

    def hide(value: Any) -> Any:
        if isinstance(value, dict):
            return {n: hide(v) for n, v in value.items()}
        if isinstance(value, list):
            return [hide(v) for v in value]
        if isinstance(value, str) and "/" in value and "://" not in value and value not in kept:
            path = Path(value).expanduser()  # one that is refused must not open by its name on the page
            return tokens.setdefault(value, index.token(path) if index.inside(path) else index.name(path))
        return value

    hidden = hide(typed)
    if not tokens:
        return tokens
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, parameters=hidden).raise_for_status()
        run.parameters = hidden
    except Exception as e:
        logging.getLogger("hounsfield").warning("a typed path could not be hidden on the run's page (%s)", type(e).__name__)
    return tokens
