"""Commands: make data, cache candidates, train. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.options import Device, Direct, Json, Precision, StoreOption

DataFolder = Annotated[Path, typer.Argument(help="LUNA16 or LIDC-IDRI as it unpacks, phantoms, or scans with a CSV of nodules")]
LayoutOption = Annotated[
    Literal["auto", "luna16", "lidc", "table"], typer.Option(help="What the folder is; auto: recognised by what lies in it")
]
TableOption = Annotated[Path | None, typer.Option(help="CSV of nodules, where the folder holds none or several")]
DataSet = Annotated[
    list[str], typer.Option("--set", help="STAGE.PARAMETER=VALUE, any number of times: dataset.consensus=2, cut.negatives=50")
]


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    app.command()(dataset)
    app.command()(cache)


def dataset(
    folder: DataFolder,
    layout: LayoutOption = "auto",
    table: TableOption = None,
    as_json: Json = False,
    settings: DataSet = [],
    store: StoreOption = None,
) -> None:
    """Say what a data set holds: scans, splits, nodules by size, what is missing, what is wrong. Reads headers, no pixels."""
    from flows.cache import parsed
    from flows.dataset import described, gather, show_dataset
    from flows.settle import open_index, open_store, use_store

    use_store(store)
    found = gather(open_store(), open_index(), folder, parsed(settings)["dataset"], layout, table)  # type: ignore[arg-type]
    print(json.dumps(described(found), indent=1)) if as_json else show_dataset(found)


def cache(
    folder: DataFolder,
    layout: LayoutOption = "auto",
    table: TableOption = None,
    segmenter: Annotated[str | None, typer.Option(help="Weights set whose segmenter's own false lumps are cut too")] = None,
    scans: Annotated[int | None, typer.Option(min=1, help="Only the first so many, for a quick try")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep volumes, lung masks and heat maps in the store")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    direct: Direct = False,
    as_json: Json = False,
    settings: DataSet = [],
    store: StoreOption = None,
) -> None:
    """Cut every scan of a data set to the crops and patches that training reads; what is cut already is reused.

    A scan that breaks is skipped and listed. Stop it at any time: the same command goes on where it was.
    """
    from flows.cache import parsed, run_cache, show_cached
    from flows.settle import use_store

    use_store(store)
    options = {"layout": layout, "segmenter": segmenter, "scans": scans, "keep": keep, "device": device, "precision": precision}
    done = run_cache(folder, parsed(settings), direct=direct, table=table, **options)
    show_cached(done, as_json)
