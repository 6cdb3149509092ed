"""Recognise: what a network says of images, as a table and a picture. Nothing of it is stored: the images may be private."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from artifacts.errors import InputError, UsageError
from artifacts.trained import Trained
from flows.cifar_run import network_behind
from flows.console import wide_console
from flows.settle import open_store
from tasks.images.recognise import (
    LeftOut,
    Recognised,
    Recogniser,
    image_files,
    picture_of,
    recognise,
    with_checkpoint,
    with_model,
)

PICTURED = 50
PICTURE = "hounsfield-recognised.png"


def run_recognise(
    images: list[Path], checkpoint: str | None, model: str | None, weights: Path | None, top: int, out: Path, as_json: bool
) -> None:
    """Print the ``top`` classes of each image and write the picture. InputError where not one image could be read."""
    if bool(checkpoint) == bool(model):
        raise UsageError("name a network: either --checkpoint trained:… (or a .safetensors) or --model resnet18")
    if weights and checkpoint:
        raise UsageError("--weights is of a published --model: a --checkpoint has its own")
    files = image_files(images)
    recogniser = ours(checkpoint) if checkpoint else published_model(str(model), weights)
    found: list[Recognised] = []
    for result in recognise(recogniser, files, top):
        if isinstance(result, LeftOut):
            print(f"hounsfield: {result.name} is left out: {result.why}", file=sys.stderr)
        else:
            found.append(result)
    if not found:
        raise InputError("none of the files is an image that can be read")
    from tasks.images.export import written

    out = out / PICTURE if out.is_dir() else out.with_suffix(out.suffix or ".png")
    written(out, picture_of(found[:PICTURED], out.suffix))
    show(found, out, as_json, len(files) - len(found))


def ours(checkpoint: str) -> Recogniser:
    """From the store, or from an exported file."""
    if checkpoint.endswith(".safetensors"):
        from tasks.images.export import import_weights

        return with_checkpoint(import_weights(Path(checkpoint)))
    store = open_store()
    ref = store.resolve(checkpoint)
    trained: Trained = store.open(network_behind(store, ref), Trained)
    if "classes" not in trained.card or "input" not in trained.card:
        raise UsageError(f"{ref} is not a network for images")
    return with_checkpoint(trained)


def published_model(model: str, path: Path | None) -> Recogniser:
    from tasks.images.pretrained import DOWNLOAD, find_pretrained, published_as

    weights = published_as(model, path)
    state = find_pretrained(model, DOWNLOAD if path is None else "", path or Path()).open()
    return with_model(model, state, weights)


def show(found: list[Recognised], out: Path, as_json: bool, left_out: int) -> None:
    from rich.table import Table

    if as_json:
        rows = [{"image": r.name, "top": [{"class": c, "p": round(p, 5)} for c, p in r.top]} for r in found]
        print(json.dumps({"images": rows, "left_out": left_out, "picture": str(out)}, indent=1))
        return
    table = Table("image", *(str(k + 1) for k in range(len(found[0].top))))
    for r in found:
        table.add_row(r.name, *(f"{name} {p:.1%}" for name, p in r.top))
    console = wide_console(markup=False)
    console.print(table)
    console.print(f"picture: {out}" + (f"; left out: {left_out}" if left_out else ""), highlight=False)
