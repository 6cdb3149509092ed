"""Commands: the CIFAR line. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from artifacts.errors import UsageError
from flows.options import Device, Direct, FromStage, Json, Refresh, StoreOption

Data = Annotated[
    str | None,
    typer.Option(
        help="A zip or folder of class folders, an npz, an HDF5, a torchvision root, or cifar10 / cifar100 (downloaded where "
        "missing); nothing: a small synthetic set"
    ),
]
Network = Annotated[
    str | None,
    typer.Option(help="linear, mlp, convnet, resnet, fast, or a classifier of torchvision by name: resnet18, alexnet, …"),
]
Pretrained = Annotated[
    str | None, typer.Option(help="For a torchvision network: a file of its published weights, or the word download")
]
Classes = Annotated[str | None, typer.Option(help="Only these classes, comma-separated: bird,airplane")]
Set = Annotated[
    list[str],
    typer.Option("--set", help="STAGE.PARAMETER=VALUE, any number of times: train.learning_rate=0.01, read.fraction=0.1"),
]
Precision = Annotated[str, typer.Option(help="Of the training's arithmetic: float32, bfloat16, or auto (bfloat16 on a GPU)")]
Out = Annotated[Path | None, typer.Option(help="Folder for the report (default: ./hounsfield-cifar-<scores>)")]

EXPORTS = ("weights", "images", "features", "normalised")

cifar_app = typer.Typer(invoke_without_command=True, help="Images in, a trained classifier out: normalise, train, explain, fast.")


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    app.add_typer(cifar_app, name="cifar")
    app.command()(recognise)


@cifar_app.callback()
def cifar(
    context: typer.Context,
    data: Data = None,
    network: Network = None,
    classes: Classes = None,
    pretrained: Pretrained = None,
    settings: Set = [],
    device: Device = "auto",
    precision: Precision = "auto",
    refresh: Refresh = [],
    from_stage: FromStage = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say for each stage whether it would be reused or run")] = False,
    direct: Direct = False,
    out: Out = None,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Train a classifier of images and judge it on images it never saw: read, statistics, train, evaluate.

    Every stage keeps what it made: with another learning rate the images and their statistics are reused.
    """
    if context.invoked_subcommand:
        check_after(context)
        return
    from flows.cifar_run import plan_cifar, report, run_cifar, show

    params = image_params(settings, network, classes, store)
    options: dict[str, Any] = {"refresh": list(refresh), "from_stage": from_stage, "device": device, "precision": precision}
    if plan:
        show_plan(plan_cifar(data, params, pretrained, **options), as_json)
        return
    made = run_cifar(data, params, pretrained, direct=direct, **options)
    folder = report(made, out)
    if as_json:
        print((folder / "scores.json").read_text())
    else:
        show(made, folder)


def check_after(context: typer.Context) -> None:
    """UsageError where options stand before the subcommand, which would never see them."""
    given = (o for o in context.command.params if str(context.get_parameter_source(str(o.name))).endswith("COMMANDLINE"))
    if early := next(given, None):
        raise UsageError(f"options stand behind the subcommand: hounsfield cifar {context.invoked_subcommand} {early.opts[0]} …")


@cifar_app.command()
def compare(
    data: Data = None,
    over: Annotated[
        str, typer.Option(help="What differs, and its values: train.PARAMETER=ONE,TWO,…")
    ] = "train.loss=cross-entropy,nll,mse",
    network: Network = None,
    classes: Classes = None,
    pretrained: Pretrained = None,
    settings: Set = [],
    device: Device = "auto",
    precision: Precision = "auto",
    direct: Direct = False,
    out: Out = None,
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Train several times with one thing different (the three losses, if nothing else is asked) and show them side by side.

    With --pretrained download each network of torchvision starts from its own published weights; ours start from nothing.
    """
    from flows.cifar_compare import show_comparison

    name, equals, values = over.partition("=")
    if not (equals and values and name.startswith("train.")):
        raise UsageError(f"'{over}' is not train.PARAMETER=ONE,TWO,…: --over train.learning_rate=0.001,0.01")
    names = [v.strip() for v in values.split(",") if v.strip()]
    if len(set(names)) != len(names):
        raise UsageError(f"--over {over}: a value is named twice")
    each = [image_params([*settings, f"{name}={value}"], network, classes, store) for value in names]
    options = {"names": names, "variants": [params["train"] for params in each], "device": device, "precision": precision}
    options |= {k: v for k, v in each[0].items() if k != "train"}
    show_comparison(data, pretrained, direct, out, as_json, options)


@cifar_app.command()
def export(
    ref: Annotated[str, typer.Argument(help="A trained network or its scores, as `hounsfield cifar` prints them: trained:25f7")],
    what: Annotated[str, typer.Option(help="Comma-separated: weights, images, features, normalised")] = "weights",
    out: Annotated[Path | None, typer.Option(help="Folder for the files (default: ./hounsfield-cifar-<network>)")] = None,
    store: StoreOption = None,
) -> None:
    """Write a network's weights (safetensors, torch.save), its images, their features or a normalised copy (HDF5)."""
    from flows.cifar_run import export as write
    from flows.settle import use_store

    use_store(store)
    asked = {w.strip() for w in what.split(",") if w.strip()}
    if unknown := asked - set(EXPORTS):
        raise UsageError(f"nothing called '{min(unknown)}' is exported: there are {', '.join(EXPORTS)}")
    for path in write(ref, asked, out):
        print(f"{path}  {path.stat().st_size:,} bytes")


def recognise(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them")],
    checkpoint: Annotated[
        str | None, typer.Option(help="A network of ours: trained:… of the store, or an exported checkpoint.safetensors")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A classifier of torchvision with its ImageNet weights: resnet18, …")] = None,
    weights: Annotated[Path | None, typer.Option(help="File of the model's published weights (default: download)")] = None,
    top: Annotated[int, typer.Option(min=1, max=20, help="Classes shown of each image")] = 5,
    out: Annotated[Path, typer.Option(help="Where the picture goes: .png, .jpg or a folder")] = Path(),
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Say what images show: class probabilities by a network of ours, or by a torchvision model with its own transforms."""
    from flows.recognise import run_recognise
    from flows.settle import use_store

    use_store(store)
    run_recognise(images, checkpoint, model, weights, top, out, as_json)


def image_params(settings: list[str], network: str | None, classes: str | None, store: Path | None) -> dict[str, Any]:
    """Validated parameters by stage; sets the store on the way."""
    from flows.cifar_line import STAGES
    from flows.settle import use_store
    from tasks.line import parse_params

    use_store(store)
    named = [*([f"train.network={network}"] if network else []), *([f"read.classes={classes}"] if classes else [])]
    return parse_params(STAGES, [*named, *settings])


def show_plan(steps: list[dict[str, str]], as_json: bool) -> None:
    from rich.table import Table

    from flows.console import wide_console

    if as_json:
        print(json.dumps(steps, indent=1))
        return
    table = Table("stage", "", "because", "artifact")
    for step in steps:
        table.add_row(*step.values())
    wide_console(markup=False).print(table)
