"""What the command line does with the flow of images: run it, print what came out, write the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from artifacts.arrays import write_json
from artifacts.errors import UsageError
from artifacts.image_scores import ImageScores
from artifacts.images import Images
from artifacts.store import Ref, Store, exporting, write_whole
from flows.cifar_line import Made, again, cifar_line
from flows.console import TerminalWatcher, engine, watching, wide_console
from flows.settle import open_index, open_store, settle
from tasks.images.pretrained import DOWNLOAD
from tasks.images.source import SYNTHETIC, check_there
from tasks.stage import Compute, Params

TITLES = ("Images", "Statistics", "Network", "Scores")


def token_of(data: str | None, names: tuple[str, ...]) -> str:
    """What the flow is told: a known name as it is, a path as a token."""
    if not data:
        return SYNTHETIC
    return data if data in names and not Path(data).exists() else open_index().token(Path(data))


def run_cifar(data: str | None, params: Mapping[str, Params], pretrained: str | None, *, direct: bool, **options: Any) -> Made:
    """Run the flow with progress at the terminal. Prefect is told a token, never a path."""
    from flows.cifar import cifar, pretrained_source
    from tasks.images.official import NAMES
    from tasks.images.recipes import TrainParams

    train: Any = params.get("train") or TrainParams()
    if data and data not in (SYNTHETIC, *NAMES):
        check_there(Path(data))
    settle(options.get("device", "auto"), options.get("precision", "auto"))
    again(options.get("refresh", ()), options.get("from_stage"))
    weights = token_of(pretrained, (DOWNLOAD,)) if pretrained else None
    pretrained_source(train.network, train.frozen, weights)  # before a server starts
    given = {"data": token_of(data, (SYNTHETIC, *NAMES)), "pretrained": weights, **options, **params}
    return through(cifar, direct, given)


def through(flow: Any, direct: bool, given: Mapping[str, Any]) -> Any:
    """Call a flow, with or without Prefect's engine, with progress at the terminal."""
    watcher = TerminalWatcher(Console(stderr=True))
    watching.set(watcher)
    if not direct:
        watcher.say(engine())
    run: Callable[..., Any] = flow.fn if direct else flow
    return run(**given)


def plan_cifar(
    data: str | None, params: Mapping[str, Params], pretrained: str | None, device: str, precision: str, **options: Any
) -> list[dict[str, str]]:
    """For each stage whether it would be reused or run, and because of what."""
    from flows.cifar import image_source, pretrained_source, settle_training
    from tasks.images.official import NAMES
    from tasks.images.recipes import TrainParams
    from tasks.line import Plan

    source = image_source(token_of(data, (SYNTHETIC, *NAMES)))
    train: Any = params.get("train") or TrainParams()
    weights = pretrained_source(train.network, train.frozen, token_of(pretrained, (DOWNLOAD,)) if pretrained else None)
    asked = again(options.get("refresh", ()), options.get("from_stage"))
    used = settle_training(device, precision)[1]
    plan = Plan(open_store(), source.digest, {}, params, used, asked, compute=Compute(precision=used))
    cifar_line(plan, source, weights)
    return [{"stage": s.stage, "action": s.action, "because": s.because, "ref": str(s.ref)} for s in plan.steps]


def network_behind(store: Store, ref: Ref) -> Ref:
    """The trained network that ``ref`` is, or was made with. UsageError where there is none, or more than one."""
    made = {m.digest for m in store.lineage(ref) if m.kind == "trained"}
    if len(made) != 1:
        is_what = "several trained networks: name one of them" if made else "no trained network: name one"
        raise UsageError(f"{ref} is {is_what}, a trained:… that `hounsfield cifar` printed")
    return store.ref("trained", made.pop())


def export(ref: str, what: set[str], out: Path | None) -> list[Path]:
    """The files asked for, of a trained network in the store and of the images it was trained on."""
    from artifacts.channel_stats import ChannelStats
    from artifacts.trained import Trained
    from tasks.images import export as files

    store = open_store()
    anchor = store.resolve(ref)
    network = network_behind(store, anchor)
    lineage = {m.kind: store.ref(m.kind, m.digest) for m in store.lineage(network)}
    missing = [kind for kind in ("images", "channel-stats") if kind not in lineage]
    if missing:
        raise UsageError(f"{anchor} was not made by `hounsfield cifar` (no {missing[0]} behind it): name a trained:… it printed")
    folder = out or Path(f"hounsfield-cifar-{network.digest[:12]}")
    images: Images = store.open(lineage["images"], Images)
    trained: Trained = store.open(network, Trained)
    stats: ChannelStats = store.open(lineage["channel-stats"], ChannelStats)
    made: list[Path] = []
    if "weights" in what:
        made += files.export_weights(trained, folder)
    if "images" in what:
        made.append(files.export_images(images, folder / "images.h5"))
    if "normalised" in what:
        made.append(files.export_normalised(images, stats, folder / "normalised.h5"))
    if "features" in what:
        made.append(files.export_features(images, trained, folder / "features.h5"))
    return made


def report(made: Made, out: Path | None) -> Path:
    """A folder with report.html, scores.json and predictions.csv."""
    store = open_store()
    folder = out or Path(f"hounsfield-cifar-{made.scores.digest[:12]}")
    scores: ImageScores = store.open(made.scores, ImageScores)
    about = scores.numbers() | {"views": scores.views, "by_class": scores.by_class(), "refs": {r.kind: str(r) for r in made}}
    with exporting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "report.html", page(store, made, headline(scores)))
        write_json(folder / "scores.json", about)
        write_whole(folder / "predictions.csv", predictions(scores))
    return folder


def headline(scores: ImageScores) -> str:
    return f"{scores.network}: {scores.accuracy:.2%} of {len(scores.truth)} {scores.part} images right"


def predictions(scores: ImageScores) -> str:
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["image", "truth", "called", *(f"p {c}" for c in scores.classes)])
    for k, p in enumerate(scores.probability):
        names = (scores.classes[scores.truth[k]], scores.classes[scores.called[k]])
        table.writerow([k, *names, *(f"{v:.5f}" for v in p)])
    return stream.getvalue()


def page(store: Store, refs: Mapping[str, Ref] | Made, title: str) -> str:
    """The previews that the UI shows, one after the other, as one self-contained HTML page without scripts or requests."""
    named = dict(zip(TITLES, refs, strict=False)) if isinstance(refs, Made) else refs
    bodies = {t: (r.path / "preview.md").read_text(encoding="utf-8") for t, r in named.items()}
    return html_page(title, {f"{t} ({named[t]})": markdown(body) for t, body in bodies.items()})


def markdown(text: str) -> str:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table").render(text)


def html_page(title: str, sections: Mapping[str, str]) -> str:
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#1c2733}img{max-width:100%}"
        "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
        "td,th{padding:2px 10px;border-bottom:1px solid #dde}"
        "h1{font-size:1.5em}h2{border-top:2px solid #456;padding-top:.6em}"
    )
    body = "".join(f"<section><h2>{escape(name)}</h2>{text}</section>" for name, text in sections.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def shown(value: Any) -> str:
    return "–" if value is None else f"{value:.1%}" if isinstance(value, float) else str(value)


def show(made: Made, folder: Path) -> None:
    """Accuracy, a row a class, where the report is."""
    store, console = open_store(), wide_console(markup=False)
    scores: ImageScores = store.open(made.scores, ImageScores)
    table = Table("class", "images", "accuracy", "precision", "mostly taken for")
    for row in scores.by_class()[:30]:
        table.add_row(*(shown(v) for v in row.values()))
    console.print(table)
    views = "" if scores.views == "none" else f", mean of the views {scores.views}"
    console.print(f"{headline(scores)}{views}; calibration error {scores.calibration_error:.3f}", highlight=False)
    images: Images = store.open(made.images, Images)
    if images.origin.startswith("synthetic"):
        console.print(
            "a synthetic set of shapes, for no data was given: try --data cifar10, a zip, a folder, an npz or an HDF5",
            style="dim",
        )
    console.print(f"report: {folder / 'report.html'}", highlight=False)
