"""Commands: make data, cache candidates, train. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.options import Device, Direct, Json, Precision, Scan, SeriesOption, StoreOption

DataFolder = Annotated[Path, typer.Argument(help="LUNA16 or LIDC-IDRI as it unpacks, phantoms, or scans with a CSV of nodules")]
LayoutOption = Annotated[
    Literal["auto", "luna16", "lidc", "table"], typer.Option(help="What the folder is; auto: recognised by what lies in it")
]
TableOption = Annotated[Path | None, typer.Option(help="CSV of nodules, where the folder holds none or several")]
DataSet = Annotated[
    list[str], typer.Option("--set", help="STAGE.PARAMETER=VALUE, any number of times: dataset.consensus=2, cut.negatives=50")
]

Role = Literal["segmenter", "nodule", "malignancy"]
TrainSet = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="PARAMETER=VALUE of the training (batch=64, loop.patience=5, augmentation.noise=40) or STAGE.PARAMETER=VALUE of the "
        "data (dataset.splits.test_fold=0, cut.negatives=50, patch.size=96); any number of times",
    ),
]


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    app.command()(phantoms)
    app.command()(plant)
    app.command()(oracle)
    app.command()(dataset)
    app.command()(cache)
    app.command()(train)


def phantoms(
    folder: Annotated[Path, typer.Argument(help="Where scans and tables go; one that was stopped goes on")],
    count: Annotated[int, typer.Option(min=1, help="How many scans")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first; the others count up from it")] = 0,
    style: Annotated[Literal["varied", "classic"], typer.Option(help="Everything drawn, or one plain healthy chest")] = "varied",
    how: Annotated[Literal["mhd", "dicom"], typer.Option("--format", help="As LUNA16 comes, or as a scanner would")] = "mhd",
    nodule_free: Annotated[float, typer.Option(min=0, max=1, help="Share of scans without nodules")] = 0.5,
    held_out: Annotated[bool, typer.Option("--held-out", help="The frozen test phantoms instead of --seed and --count")] = False,
    small: Annotated[bool, typer.Option("--small", help="Coarse ones in a second or two, for trying things")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one a core; each up to 2 GB)")] = None,
    as_json: Json = False,
) -> None:
    """Make a data set of phantom chest CTs in LUNA16's shape: scans in subsets, annotations, candidates, malignancy, truth.

    The same seeds give the same scans. Seeds from 1,000,000 on belong to this project's own training, validation and test.
    """
    from flows.phantom_data import make_phantoms
    from tasks.phantom.splits import HELD_OUT

    seeds = HELD_OUT if held_out else range(seed, seed + count)
    make_phantoms(folder, seeds, style, how, nodule_free, small, workers, as_json)


def plant(
    scan: Scan,
    folder: Annotated[Path, typer.Argument(help="Where planted scans and tables go; one that was stopped goes on")],
    count: Annotated[int, typer.Option(min=1, help="How many times the scan is planted into")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first; the others count up from it")] = 0,
    nodules: Annotated[int | None, typer.Option(min=1, max=40, help="How many each time (default: one to five)")] = None,
    known: Annotated[
        Path | None, typer.Option(help="CSV of nodules the scan has already (LUNA16's columns): kept clear of, and excluded")
    ] = None,
    series: SeriesOption = "best",
    how: Annotated[Literal["mhd", "dicom"], typer.Option("--format", help="As LUNA16 comes, or as a scanner would")] = "mhd",
    as_json: Json = False,
) -> None:
    """Plant made nodules into a real scan, many times over: real lungs and noise, known truth, in LUNA16's shape.

    Nodules that the scan has and --known does not name would be taught as none: plant into scans you know. What comes out holds
    the patient's voxels; name, ids and dates are left out.
    """
    from flows.planting import plant_into

    plant_into(scan, folder, range(seed, seed + count), nodules, known, series, how, as_json)


def oracle(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder of phantoms; without it nodules are drawn for the purpose")
    ] = None,
    nodules: Annotated[int, typer.Option(min=10, help="How many to draw")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawing")] = 0,
    as_json: Json = False,
) -> None:
    """Say how well phantoms' malignancy can be told at all: AUC of the risk model it was drawn from, and of diameter alone."""
    from flows.phantom_data import tell_oracle

    tell_oracle(folder, nodules, seed, as_json)


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


def train(
    role: Annotated[Role, typer.Argument(help="Which network")],
    data: Annotated[Path | None, typer.Option(help="LUNA16 or LIDC-IDRI as it unpacks, or scans with a CSV of nodules")] = None,
    phantoms: Annotated[
        int, typer.Option(min=0, help="So many phantoms beside the data, or without any: to train on, a fifth to watch")
    ] = 0,
    name: Annotated[str, typer.Option(help="Weights set to write into; what it lacks comes from the shipped set")] = "mine",
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the examples")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Examples a step")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest of the schedule")] = None,
    network: Annotated[
        str | None, typer.Option(help="unet2d, monai-basicunet; resnet3d, luna3d, monai-densenet121, monai-resnet10")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="dice-ce, tversky-ce, book, monai-dice-ce, -tversky, -focal, -dice-focal; cross-entropy, focal"),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, other weights")] = None,
    segmenter: Annotated[
        str, typer.Option(help="Weights set whose segmenter's false lumps the classifiers learn from; none")
    ] = "none",
    start: Annotated[
        str,
        typer.Option(
            help="Weights set to go on from (the grader: from its nodule classifier), or none; default: none, the grader --name's"
        ),
    ] = "",
    layout: LayoutOption = "auto",
    table: TableOption = None,
    scans: Annotated[int | None, typer.Option(min=1, help="Only the first so many scans, for a quick try")] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="GPUs, or CPU processes; more than one with --strategy ddp")] = 1,
    strategy: Annotated[str, typer.Option(help="auto (one device) or ddp")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 (mixed)")] = "float32",
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard's event files")] = None,
    direct: Direct = False,
    settings: TrainSet = [],
    store: StoreOption = None,
) -> None:
    """Train a network on a data set, on phantoms, or on both, and write it into a weights set that `screen --weights` uses.

    The data are cut once and shared by every training. CTRL-C keeps the last whole epoch: the same command goes on from there.
    """
    from flows.settle import use_store
    from flows.train_run import run_train

    use_store(store)
    given = {"loop.epochs": epochs, "batch": batch, "loop.learning_rate": learning_rate, "architecture": network, "loss": loss}
    given |= {"loop.seed": seed}
    short = [f"{k}={v}" for k, v in given.items() if v is not None]
    options = {"phantoms": phantoms, "name": name, "layout": layout, "scans": scans, "device": device, "devices": devices}
    options |= {"strategy": strategy, "precision": precision}
    ref = run_train(role, data, table, tensorboard, [*settings, *short], segmenter, start, direct=direct, **options)
    print(ref)
