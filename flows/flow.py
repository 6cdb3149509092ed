"""A flow of ours: Prefect's, whose failures tell nothing private, and whose results stay in the store."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import prefect
from prefect import Flow

from artifacts.discreet import discreet
from flows.answered import answered
from flows.deployed import hidden_paths


def flow(name: str) -> Callable[[Callable[..., Any]], Flow]:
    """Declare a function as a flow called ``name``. What it raises, Prefect's log and state may hold."""

    def declare(function: Callable[..., Any]) -> Flow:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with discreet(), answered(), hidden_paths():
                return function(*args, **kwargs)

        # with types, not their names: Prefect would look for those among this file's
        run.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
        return prefect.flow(name=name, persist_result=False)(run)

    return declare
