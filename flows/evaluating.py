"""What `hounsfield evaluate`, `compare-evaluations` and `calibrate` do at the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from artifacts.checkpoint import Card, Checkpoint, Role, tempered, write_checkpoint
from artifacts.errors import InputError, UsageError
from artifacts.evaluation import Evaluation
from artifacts.home import find_weights, weights_folder, weights_sets
from artifacts.store import Ref, explained, exporting, write_whole
from flows.console import TerminalWatcher, watching, wide_console
from flows.evaluate import evaluate, parsed, read_evaluation
from flows.settle import open_index, open_store, settle
from tasks.evaluation.breakdown import probability_at

SHOWN = (
    "Sensitivity (FROC, LUNA16's rule)",
    "Confusion of nodules",
    "Where missed nodules were lost",
    "Segmentation",
    "Malignancy of nodules found",
    "Calibration",
    "By size",
)
ROLE: dict[str, Role] = {"nodule": "nodule", "malignant": "malignancy"}


def run_evaluate(
    folder: Path, settings: list[str], partial: bool, *, direct: bool, table: Path | None, precision: str, **options: Any
) -> Ref:
    """``evaluate`` with or without Prefect's engine, which is told tokens and never a path."""
    params = parsed(settings, partial)
    if "evaluate" in params:
        params["evaluation"] = params.pop("evaluate")
    if not folder.is_dir():
        raise InputError("there is no folder at the given path: give the folder of a data set", private=str(folder))
    if table and not table.is_file():
        raise InputError("there is no table at the given path", private=str(table))
    find_weights(options["weights"])  # wrong weights and options end here, before a server starts
    settle(options["device"], precision)
    index = open_index()
    watching.set(TerminalWatcher(Console(stderr=True)))
    run: Any = evaluate.fn if direct else evaluate
    tokens = {"source": index.token(folder), "table": index.token(table) if table else None}
    ref: Ref = run(**tokens, precision=precision, **options, **params)
    return ref


def show_evaluation(ref: Ref, out: Path | None, as_json: bool) -> None:
    """Export the page and the ledger; the numbers on stdout."""
    from tasks.evaluation.export import export

    made: Evaluation = open_store().open(ref, Evaluation)
    folder = out or Path(f"hounsfield-evaluation-{ref.digest[:8]}")
    export(made, folder)
    if as_json:
        print(json.dumps({"ref": str(ref), "out": str(folder), "about": made.about, "metrics": made.metrics}, indent=1))
        return
    tables = made.tables()
    console = wide_console(markup=False)
    console.print(f"{ref}  {made.headline}", highlight=False, soft_wrap=True)
    for title in SHOWN:
        if rows := tables.get(title):
            print_rows(title, rows)
    for line in made.about["skipped"]:
        console.print(f"! not evaluated: {line}", highlight=False, markup=False)
    console.print(f"page: {folder / 'evaluation.html'}", highlight=False)


def show_comparison(first: str, second: str, bootstraps: int, seed: int, out: Path | None, as_json: bool) -> None:
    from tasks.evaluation.compare import compare
    from tasks.evaluation.page import page

    found = compare(read_evaluation(first), read_evaluation(second), bootstraps=bootstraps, seed=seed)
    preview = found.preview()
    if out:
        with exporting(out):
            out.mkdir(parents=True, exist_ok=True)
            write_whole(out / "comparison.html", page("Comparison of two evaluations", preview))
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
        return
    wide_console(markup=False).print(preview.headline, highlight=False)
    for title, rows in preview.tables.items():
        print_rows(title, rows)
    if out:
        print(f"page: {out / 'comparison.html'}")


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    columns = list(dict.fromkeys(c for r in rows for c in r))
    table = Table(*columns, title=title, title_justify="left")
    for r in rows:
        table.add_row(*("" if r.get(c) is None else f"{r[c]:.4g}" if isinstance(r[c], float) else str(r[c]) for c in columns))
    wide_console(markup=False).print(table)


def write_calibrated(text: str, weights: str, name: str, false_a_scan: float | None, replace: bool) -> None:
    """The set ``weights`` as ``name``, its classifiers' cards with the temperatures that the evaluation fitted."""
    made, checkpoints = read_evaluation(text), find_weights(weights)
    check_evaluated(made.about, weights, checkpoints)
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise UsageError("a name of weights is made of a-z, 0-9 and dashes, such as phantom-calibrated")
    folder = weights_folder() / name
    if (folder.exists() or name in weights_sets()) and not replace:
        raise UsageError(f"weights '{name}' exist already: choose another name, or say --replace")
    fits = {what: fitted for what in ROLE if (fitted := made.metrics["calibration"][what])}
    if not fits:
        raise InputError("the evaluation has nothing to fit a temperature to: that takes findings on nodules and false ones")
    cards: dict[Role, Card] = {role: c.card for role, c in checkpoints.items()}
    for what, fitted in fits.items():
        role = ROLE[what]
        cards[role] = calibrated(cards[role], fitted, made.about["data"], _threshold(made, what, false_a_scan))
    with explained("write", "folder of weights", "$HOUNSFIELD_HOME"):
        for role, checkpoint in checkpoints.items():
            write_checkpoint(folder, cards[role], checkpoint.tensors())
    for what, role in ROLE.items():
        of = (
            f"fitted to {fits[what]['n']} of its probabilities"
            if what in fits
            else "as it was, for one of its classes is missing"
        )
        print(f"{role}: temperature {cards[role].temperature:.3f}, threshold {cards[role].threshold:.3f}; {of}")
    print(f"weights '{name}': use them with `hounsfield screen PATH --weights {name}`")


def check_evaluated(about: Mapping[str, Any], weights: str, checkpoints: Mapping[Role, Checkpoint]) -> None:
    """UsageError unless these very checkpoints were evaluated, whatever the set is called."""
    known = about.get("checkpoints") or {}
    if not known:
        raise UsageError("the evaluation does not say of which checkpoints it is, an older version made it: evaluate again")
    if others := [role for role, c in checkpoints.items() if known.get(role) != c.digest]:
        whose = "as they are now" if about["weights"] == weights else f"but '{about['weights']}'"
        which = ", ".join(f"another {role}" for role in others)
        raise UsageError(f"the evaluation is not of weights '{weights}' {whose} ({which}): evaluate '{weights}' first")


def _threshold(made: Evaluation, what: str, false_a_scan: float | None) -> float | None:
    """Of the nodule probability as it was evaluated; None: leave it."""
    if what != "nodule" or false_a_scan is None:
        return None
    return min(max(probability_at(false_a_scan, len(made.scans), made.marks), 0.01), 0.99)


def calibrated(card: Card, fitted: dict[str, Any], data: str, threshold: float | None = None) -> Card:
    """The card with the temperature on top of its own; its threshold (or the new one) means the same findings as before."""
    about = {k: round(v, 4) if isinstance(v, float) else v for k, v in fitted.items()}
    means = float(tempered(card.threshold if threshold is None else threshold, fitted["temperature"]))
    return card.model_copy(
        update={
            "temperature": min(max(card.temperature * fitted["temperature"], 0.05), 20.0),
            "threshold": min(max(means, 0.01), 0.99),
            "metrics": card.metrics | {"calibration": about | {"data": data}},
        }
    )
