"""The command line: `hounsfield screen PATH` and what goes with it. Heavy things are imported by the command that needs them."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from artifacts import NOTICE
from artifacts.discreet import interrupted, kept
from artifacts.errors import EXIT_CODES, HounsfieldError, UsageError
from flows.answered import answered
from flows.commands import evaluating, images, learning, operating, scans
from flows.options import (
    Device,
    Direct,
    FromStage,
    Json,
    Partial,
    Precision,
    Refresh,
    Scan,
    SeriesOption,
    Set,
    StoreOption,
    Weights,
)

CODES = "Exit codes:\n\n" + "\n\n".join(f"{code}  {what}" for code, what in EXIT_CODES.items())

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help=f"A chest CT in, a report of lung nodules out. {NOTICE}",
    epilog=CODES,
    pretty_exceptions_enable=False,
)
weights_app = typer.Typer(no_args_is_help=True, help="The networks' weights: what there is, and how to bring your own.")
app.add_typer(weights_app, name="weights")
for part in (learning, evaluating, images, operating, scans):
    part.register(app)


def print_version(asked: bool) -> None:
    if asked:
        from artifacts.version import code_version

        print(f"hounsfield {code_version()}")
        raise typer.Exit


@app.callback()
def hounsfield(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Say the version and end")
    ] = False,
) -> None:
    """See ``help`` above."""


@app.command()
def screen(
    path: Scan,
    series: SeriesOption = "best",
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: Precision = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the report (default: ./hounsfield-<scan>)")] = None,
    as_json: Json = False,
    direct: Direct = False,
    partial: Partial = False,
    from_stage: FromStage = None,
    refresh: Refresh = [],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file, also those whose size and time are known")] = False,
    settings: Set = [],
    store: StoreOption = None,
) -> None:
    """Screen a chest CT: find its nodules, measure them, say how suspicious each looks.

    Every stage keeps what it made: run the same command again and nothing is computed twice.
    """
    from flows.run import check_out, run_screen, show_reports

    check_out(out)
    options = {"series": series, "weights": weights, "device": device, "precision": precision, "verify": verify}
    options |= {"refresh": list(refresh), "from_stage": from_stage}
    refs, failed = run_screen(path, stage_params(settings, partial, store), direct=direct, **options)
    show_reports(refs, out, as_json)
    if failed:
        raise failed


@app.command()
def plan(
    path: Annotated[Path | None, typer.Argument(help="As `screen` takes it; with --archive a folder tree")] = None,
    series: SeriesOption = "best",
    weights: Weights = "phantom",
    device: Device = "auto",
    precision: Precision = "auto",
    partial: Partial = False,
    from_stage: FromStage = None,
    refresh: Refresh = [],
    archive: Annotated[bool, typer.Option("--archive", help="PATH is a whole archive: how many of each stage would run")] = False,
    as_json: Json = False,
    settings: Set = [],
    store: StoreOption = None,
) -> None:
    """Say for each stage whether it would be reused or run, and because of what. Reads no pixels, computes nothing.

    With --archive: how many of each stage, for every study under PATH; without PATH for every scan that was ever screened.
    """
    from rich.table import Table

    from flows.console import wide_console
    from flows.run import plan_screen

    params = stage_params(settings, partial, store)
    if archive:
        from flows.run_many import plan_archive

        plan_archive(path, params, series, weights, device, precision, refresh, from_stage, as_json)
        return
    if path is None:
        raise UsageError("give the scan's PATH, or --archive for all scans that were ever screened")
    plans = plan_screen(path, params, series, weights, device, precision, refresh, from_stage)
    if as_json:
        print(json.dumps(plans, indent=1))
        return
    for uid, steps in plans.items():
        table = Table("stage", "", "because", "artifact", title=f"series {uid}", title_justify="left")
        for step in steps:
            table.add_row(step["stage"], step["action"], step["because"], step["ref"])
        wide_console(markup=False).print(table)


@app.command("stage")
def run_one_stage(
    name: Annotated[
        str, typer.Argument(help="load, outline, segment, group, crop, crop-for-grade, classify, grade, measure or report")
    ],
    ref: Annotated[str, typer.Argument(help="Any artifact of the scan, as kind:digest (a prefix will do)")],
    weights: Annotated[str | None, typer.Option(help="Weights set (default: that of the artifact's lineage)")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    again: Annotated[bool, typer.Option("--refresh", help="Run again although the artifact is whole")] = False,
    inputs: Annotated[list[str], typer.Option("--input", help="ARGUMENT=REF where the lineage is ambiguous")] = [],
    downstream: Annotated[bool, typer.Option("--downstream", help="Run every stage after it as well, to a new report")] = False,
    direct: Direct = False,
    settings: Annotated[list[str], typer.Option("--set", help="PARAMETER=VALUE, any number of times: threshold=0.4")] = [],
    store: StoreOption = None,
) -> None:
    """Run one stage alone, from any artifact; its other inputs follow from the artifact's lineage."""
    from flows.nodule_line import SLOTS
    from flows.run import run_single

    stage = getattr(SLOTS.get(name), "name", name)  # crop-for-grade has the parameters of crop
    named = (f"{stage}.", *(f"{s}." for s in SLOTS if downstream))
    qualified = [s if s.startswith(named) else f"{stage}.{s}" for s in settings]
    params = stage_params(qualified, False, store)
    chosen = dict(pair(text) for text in inputs)
    options = {"weights": weights, "device": device, "precision": precision, "refresh": again}
    print(run_single(name, ref, params, chosen, direct, downstream, **options))


@app.command()
def show(
    ref: Annotated[str, typer.Argument(help="An artifact, as kind:digest (a prefix will do), or its folder")],
    as_json: Json = False,
    store: StoreOption = None,
) -> None:
    """Print an artifact's manifest, its lineage and its preview."""
    from flows.settle import use_store
    from flows.show import show_artifact

    use_store(store)
    show_artifact(ref, as_json)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Where the DICOM series goes (made if missing)")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another chest")] = 0,
    small: Annotated[bool, typer.Option("--small", help="A coarse one in a second, for trying things")] = False,
) -> None:
    """Make a phantom chest CT as a real DICOM series, with truth.csv beside it."""
    from flows.demo import make_series

    series = make_series(folder, seed, small)
    print(f"{series}\n{series.parent / 'truth.csv'}")


@app.command()
def demo(
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another phantom")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the phantom and its report")] = Path("runs/demo"),
    direct: Direct = False,
    store: StoreOption = None,
) -> None:
    """Make a phantom, screen it with the weights that ship, and compare with its truth."""
    from flows.demo import run_demo
    from flows.settle import use_store

    use_store(store)
    run_demo(seed, out, direct)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
    inbox: Annotated[Path | None, typer.Option("--inbox", "--nightly", help="The folder tree that the inbox screens")] = None,
    root: Annotated[list[Path], typer.Option(help="A folder that runs started in the UI may read; any number of times")] = [],
    prefect_days: Annotated[int, typer.Option(min=1, help="Days after which the server forgets a run that ended")] = 30,
) -> None:
    """Start the Prefect server, a worker, and the deployments of prefect.yaml. CTRL-C ends all of it."""
    from flows.ui import serve

    serve(port, inbox, [r.absolute() for r in root], prefect_days)


@weights_app.command("list")
def weights_list(as_json: Json = False) -> None:
    """The weights sets at hand, with what each network was trained on and under which licence."""
    from flows.weights import list_sets

    list_sets(as_json)


@weights_app.command("import")
def weights_import(
    name: Annotated[str, typer.Option(help="What to call the set: lowercase letters, digits, dashes")],
    segmenter: Annotated[Path, typer.Option(help="The published segmentation checkpoint (torch.save)")],
    nodule: Annotated[Path, typer.Option(help="The published nodule classifier")],
    malignancy: Annotated[Path, typer.Option(help="The published malignancy classifier")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace a set of the same name")] = False,
) -> None:
    """Turn the book's published checkpoints into safetensors with cards. Loads weights only, never code."""
    from flows.weights import import_set

    import_set(name, segmenter, nodule, malignancy, replace)


def stage_params(settings: list[str], partial: bool, store: Path | None) -> dict[str, Any]:
    """Validated parameters by stage, of ``--set`` and ``--partial``; sets the store on the way."""
    from flows.nodule_line import STAGES
    from flows.settle import use_store
    from tasks.line import parse_params

    use_store(store)
    return parse_params(STAGES, [*settings, *(["load.partial=true"] if partial else [])])


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"'{text}' is not ARGUMENT=REF")
    return name, value


def quiet_prefect() -> None:
    """At a terminal our own lines are enough; Prefect's go to its UI. Set before Prefect is imported, which makes no folders."""
    if place := os.environ.get("PREFECT_HOME"):
        with suppress(OSError):
            Path(place).expanduser().mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "60")  # a busy machine takes longer than 20


def main() -> None:
    """Entry point: runs the command, turns failures into one line and a documented exit code."""
    quiet_prefect()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        if "" in sys.argv[1:]:  # a path of nothing would be the folder one stands in
            raise UsageError("an argument is empty (a variable that is not set?): give a value, or leave it out")
        with answered():
            code = app(standalone_mode=False)
        if code == 130:  # typer's word for CTRL-C
            raise KeyboardInterrupt
    except HounsfieldError as e:
        complain(f"{e}" + (f" [{e.private}]" if e.private else ""))
        code = e.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = cancelled()
    except Exception as e:
        if hasattr(e, "format_message"):  # click's own: a usage error
            if message := e.format_message():
                asked = getattr(getattr(e, "ctx", None), "command_path", "hounsfield")
                complain(f"{message} (see `{asked} --help`)")
            code = 2
        elif os.environ.get("HOUNSFIELD_DEBUG"):
            raise
        elif interrupted(e):
            code = cancelled()
        else:
            complain(f"unexpected {type(e).__name__}; {kept(e)}; HOUNSFIELD_DEBUG=1 shows it here")
            code = 1
    leave(code or 0)


def leave(code: int) -> None:
    """Ends the process: at once where its Prefect server has gone, for Prefect would send it its last words for minutes."""
    if code and "prefect" in sys.modules:
        from artifacts.publish import server_there

        if not server_there():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def cancelled() -> int:
    complain("cancelled; whole artifacts are kept, the same command continues")
    return 130


def complain(line: str) -> None:
    """One line, whatever is in it: a path may hold line ends."""
    print(f"hounsfield: {' '.join(line.splitlines())}", file=sys.stderr)


if __name__ == "__main__":
    main()
