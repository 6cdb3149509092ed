"""What the command line does with the flows that train: settings to parameters, paths to tokens, progress at the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from artifacts.checkpoint import Role
from artifacts.errors import InputError, UsageError
from artifacts.home import find_weights, weights_folder
from artifacts.store import Ref
from flows.cache import STAGES as CUTTING
from flows.cache import parsed
from flows.console import TerminalWatcher, engine, watching
from flows.settle import open_index
from tasks.settings import with_settings
from tasks.stage import Params


def run_train(
    role: Role,
    data: Path | None,
    table: Path | None,
    tensorboard: Path | None,
    settings: Sequence[str],
    segmenter: str,
    start: str,
    *,
    direct: bool,
    **options: Any,
) -> Ref:
    """Run the flow of ``role``. Prefect is told tokens, never a path."""
    from flows.train import FLOWS, STAGES
    from tasks.nets.network import settle_device

    if data and not data.is_dir():
        raise InputError("there is no folder at the given path: give the folder of a data set", private=str(data))
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", options["name"]):
        raise UsageError(f"'{options['name']}' cannot name a weights set: use lowercase letters, digits and dashes")
    settle_device(options["device"])
    of_data = [s for s in settings if s.split("=")[0].split(".")[0] in CUTTING]
    params = {"train": chosen(STAGES[role].params, [s for s in settings if s not in of_data]), **parsed(of_data)}
    index = open_index()
    paths = {"source": data, "table": table, "tensorboard": tensorboard}
    given = {k: index.token(p.absolute()) if p else None for k, p in paths.items()}
    given |= {"segmenter": none(segmenter)} if role != "segmenter" else {}
    given |= {"start": start_of(role, options["name"], start)}
    for name in filter(None, (given.get("segmenter"), given["start"])):
        find_weights(name)  # wrong weights end here, before a server starts and scans are cut
    if given["start"] and any(s.removeprefix("train.").startswith("architecture=") for s in settings):
        raise UsageError(f"weights '{given['start']}' bring their network along: leave --network out, or say --start none")
    watcher = TerminalWatcher(Console(stderr=True))
    watching.set(watcher)
    if not direct:
        watcher.say(engine())
    run: Any = FLOWS[role].fn if direct else FLOWS[role]
    return run(**given, **options, **params)


def none(name: str) -> str | None:
    return None if name in ("", "none") else name


def start_of(role: Role, name: str, start: str) -> str | None:
    """Where training starts: as asked; unasked from nothing, the grader from the set's own nodule classifier where it has one."""
    own = role == "malignancy" and (weights_folder() / name / "nodule.json").is_file()
    return none(start) if start else name if own else None


def chosen(params: type[Params], settings: Sequence[str]) -> Params:
    """``["batch=64", "loop.epochs=3"]`` as parameters; UsageError says what was allowed."""
    values = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"'{text}' is not PARAMETER=VALUE")
        values[name.removeprefix("train.")] = value
    return with_settings(params, values, "train")
