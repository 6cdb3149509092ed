"""The accuracy table: every network, several seeds, tested on images never seen. What is done already is not done again.

    python -m benchmarks.cifar --seeds 5 --networks convnet,resnet,fast --data ../shared/data/cifar10/jpeg-60000.zip
    python -m benchmarks.cifar --two-classes --seeds 5 --networks convnet
    python -m benchmarks.cifar --race 5          # `fast` and `resnet` with a DataLoader, five minutes each

Every run goes through the store: one that was killed goes on from its last epoch, one that is whole is only read. The table is
printed after each run and kept in ``--out``/results.json.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.__main__ import hardware
from tests.conftest import real_data

REACH = {"convnet": ">= 75 %", "resnet": ">= 93 %", "fast": ">= 94 %, 3.5 s on an H100", "convnet, two classes": ">= 88 %"}
ZIP = real_data() / "cifar10" / "jpeg-60000.zip"
FEW_STEPS = 8


def one(data: Path, network: str, seed: int, classes: str, settings: list[str], device: str) -> dict[str, Any]:
    """Train and judge through the store."""
    from rich.console import Console

    from artifacts.image_scores import ImageScores
    from artifacts.trained import Trained
    from flows.cifar import cifar
    from flows.commands.images import image_params
    from flows.console import TerminalWatcher, watching
    from flows.settle import open_index, open_store

    watching.set(TerminalWatcher(Console(stderr=True)))
    params = image_params([f"train.seed={seed}", *settings], network, classes or None, None)
    made = cifar.fn(data=open_index().token(data), device=device, **params)
    store = open_store()
    scores, trained = store.open(made.scores, ImageScores), store.open(made.trained, Trained)
    return {
        "network": network + (", two classes" if classes else ""),
        "seed": seed,
        "accuracy": scores.accuracy,
        "views": scores.views,
        "images": len(scores.truth),
        "epochs": len(trained.history),
        "seconds": steady_seconds(trained),
        "device": trained.card["training"]["device"],
        "data": trained.card["training"]["data"],
        "trained": str(made.trained),
    }


def steady_seconds(trained: Any) -> float:
    """Training alone, judging and the first epoch's compiling left out: epochs times the median epoch."""
    n = trained.card["training"]["images"]
    return round(len(trained.history) * n / statistics.median(r["examples_per_second"] for r in trained.history), 2)


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| network | accuracy | to reach | n | epochs | training (median) |", "|---|---|---|---|---|---|"]

    def key_of(r: dict[str, Any]) -> tuple[Any, ...]:
        return r["network"], r["epochs"], r["device"].split(",")[0], r["views"]  # however many threads

    for key in dict.fromkeys(map(key_of, rows)):
        same = [r for r in rows if key_of(r) == key]
        values = [100 * r["accuracy"] for r in same]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        views = "" if key[3] == "none" else f" ({key[3]})"
        on = "; ".join(
            f"{device}: {statistics.median(r['seconds'] for r in same if r['device'] == device):.0f} s"
            for device in dict.fromkeys(r["device"] for r in same)
        )
        mean = f"{statistics.mean(values):.2f}{spread} %{views}"
        lines.append(f"| {key[0]} | {mean} | {REACH.get(key[0], '')} | {len(same)} | {key[1]} | {on} |")
    return "\n".join(lines)


def opened(path: Path) -> Any:
    """``Images`` at a path, without the store."""
    from tasks.images.read import ReadParams, read
    from tasks.images.source import find_source

    return read(find_source(str(path), path, path).open(), ReadParams())


# -- the race: as many steps as the time allows ---------------------------------------------------------------------------------


def race(data: Path, minutes: float, contestants: tuple[str, ...] = ("fast", "resnet")) -> list[dict[str, Any]]:
    """``fast`` on our feed, ``resnet`` on torchvision transforms in a DataLoader (2 workers): the same minutes, then the test."""
    from tasks.images.evaluate import probabilities
    from tasks.images.recipes import TrainParams
    from tasks.images.statistics import statistics as measured
    from tasks.images.train import card_of, normaliser_of

    images = opened(data)
    stats, rows = measured(images), []
    for network in contestants:
        params = TrainParams(network=network, batch_size=256 if network == "fast" else None)  # many small steps: time is short
        card = card_of(images, stats, params)
        module, batches, optimizers = contestant(images, card, params)
        seconds, steps = fitted(module, batches, params, optimizers, minutes * 60)
        p = probabilities(module, normaliser_of(card), images.test.images, "flip-shift" if network == "fast" else "none")
        accuracy = float((p.argmax(1) == images.test.labels).mean())
        shown = steps * int(params.batch_size or 0)
        rows.append({"network": network, "accuracy": accuracy, "seconds": seconds, "steps": steps, "images_shown": shown})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def contestant(images: Any, card: dict[str, Any], params: Any) -> tuple[nn.Module, Callable[[], Iterable[Any]], Any]:
    from tasks.images.train import feed_of, feed_sample, look, network_of, normaliser_of, optimizers_for
    from tasks.nets.network import settle_device
    from tasks.training.loop import seed_everything

    seed_everything(0)
    module, normalise = network_of(card), normaliser_of(card)
    if params.network == "fast":
        look(module, normalise(feed_sample(images)))
        feed = feed_of(images, normalise, params, settle_device())
        return module, lambda: endless(map(feed, itertools.count())), optimizers_for(params, feed.batch_size)
    return module, lambda: loader(images, params, card), None


def loader(images: Any, params: Any, card: dict[str, Any]) -> Iterable[Any]:
    from torchvision import transforms as T

    moves = [T.RandomCrop(32, params.shift, padding_mode="reflect"), T.RandomHorizontalFlip()]
    transform = T.Compose([*moves, T.ToTensor(), T.Normalize(card["input"]["mean"], card["input"]["std"])])
    from PIL import Image

    class Set(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(images.train)

        def __getitem__(self, k: int) -> tuple[Any, int]:
            pixels = np.ascontiguousarray(images.train.images[k].transpose(1, 2, 0))
            return transform(Image.fromarray(pixels)), int(images.train.labels[k])

    batches = torch.utils.data.DataLoader(Set(), params.batch_size, shuffle=True, num_workers=2, drop_last=True)
    return endless(batches for _ in itertools.count())


endless = itertools.chain.from_iterable


def fitted(
    module: nn.Module, batches: Callable[[], Iterable[Any]], params: Any, optimizers: Any, seconds: float
) -> tuple[float, int]:
    """Some steps on a copy tell how many fit; then those, the rate rising and falling once. Returns seconds and steps."""
    from tasks.images.train import loss_for
    from tasks.training.loop import fit

    loop = params.loop().model_copy(update={"epochs": 1})

    def go(net: nn.Module, steps: int) -> float:
        started = time.perf_counter()
        some = lambda _epoch: itertools.islice(batches(), steps)  # noqa: E731
        list(fit(net, some, loss_for(params), loop, steps_an_epoch=steps, optimizers=optimizers))
        return time.perf_counter() - started

    go(copy.deepcopy(module), 1)  # what a process does once
    first, more = go(copy.deepcopy(module), 1), go(copy.deepcopy(module), 1 + FEW_STEPS)
    a_step = max((more - first) / FEW_STEPS, 1e-3)  # what starting up takes stands in both
    steps = max(int((seconds - first) / a_step), 1)
    return round(go(module, steps), 1), steps


def main() -> None:
    about = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=about[0], epilog=about[2], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ZIP)
    parser.add_argument("--networks", default="convnet,resnet,fast")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--two-classes", action="store_true", help="bird and airplane only")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="STAGE.PARAMETER=VALUE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--race", type=float, metavar="MINUTES", help="fast against resnet with a DataLoader, so long each")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.race:
        rows = race(given.data, given.race)
        (given.out / f"race-{given.race:g}.json").write_text(json.dumps({"hardware": hardware(), "rows": rows}, indent=1))
        print(hardware())
        return
    kept = given.out / "results.json"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    classes = "bird,airplane" if given.two_classes else ""
    for seed, network in itertools.product(range(given.seeds), given.networks.split(",")):
        print(f"{network}, seed {seed} …", file=sys.stderr, flush=True)
        made = one(given.data, network, seed, classes, given.settings, given.device)
        rows = [r for r in rows if r["trained"] != made["trained"]] + [made]
        kept.write_text(json.dumps(rows, indent=1))
        print(table(rows), flush=True)
    print(f"\n{hardware()}; data: {rows[-1]['data']}; tested on {rows[-1]['images']:,} images; compiling and loading left out")


if __name__ == "__main__":
    main()
