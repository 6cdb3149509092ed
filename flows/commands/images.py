"""Commands: the CIFAR line. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options import Device, Direct, FromStage, Json, Refresh, StoreOption

Data = Annotated[
    str | None,
    typer.Option(
        help="A zip or folder of class folders, an npz, a torchvision root, or cifar10 / cifar100 (downloaded where missing); "
        "nothing: a small synthetic set"
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
Precision = Annotated[str, typer.Option(help="Of the training's arithmetic: float32, bfloat16, or auto")]
Out = Annotated[Path | None, typer.Option(help="Folder for the report (default: ./hounsfield-cifar-<scores>)")]

cifar_app = typer.Typer(invoke_without_command=True, help="Images in, a trained classifier out: normalise, train, explain, fast.")


def register(app: typer.Typer) -> None:
    """Add these commands to ``hounsfield``."""
    app.add_typer(cifar_app, name="cifar")


@cifar_app.callback()
def cifar(
    context: typer.Context,
    data: Data = None,
    network: Network = None,
    classes: Classes = None,
    pretrained: Pretrained = None,
    settings: Set = [],
    device: Device = "auto",
    precision: Precision = "float32",
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
        return
    from flows.cifar_run import plan_cifar, report, run_cifar, show

    params = image_params(settings, network, classes, store)
    options: dict[str, Any] = {"refresh": list(refresh), "from_stage": from_stage}
    if plan:
        show_plan(plan_cifar(data, params, pretrained, **options), as_json)
        return
    options |= {"device": device, "precision": precision}
    made = run_cifar(data, params, pretrained, direct=direct, **options)
    folder = report(made, out)
    if as_json:
        print((folder / "scores.json").read_text())
    else:
        show(made, folder)


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
    wide_console().print(table)
