"""Data sets made from nothing: phantoms in LUNA16's shape, in processes, resumable, reproducible from their seeds."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.errors import InputError, StoreError, UsageError
from flows.console import wide_console
from tasks.phantom.folder import Format, Record, bright_places, read_records, write_scan, write_tables
from tasks.phantom.style import Style
from tasks.processes import in_processes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

MADE_OF = "phantoms.json"


@dataclass(frozen=True)
class Wanted:
    """What every scan of a folder has in common; kept beside them, so that nobody mixes two kinds by mistake."""

    style: Style
    format: Format
    nodule_free: float
    small: bool
    generator: str


def make_phantoms(
    folder: Path,
    seeds: Sequence[int],
    style: Style,
    how: Format,
    nodule_free: float,
    small: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Make what is missing of ``seeds`` in ``folder``, then its tables; says what there is."""
    from tasks.phantom.splits import GENERATOR

    wanted = Wanted(style, how, nodule_free, small, GENERATOR if style == "varied" else "classic")
    claim(folder, asdict(wanted))
    missing = [s for s in seeds if s not in read_records(folder)]
    make_each(partial(one_phantom, folder, wanted), missing, workers, "phantoms", folder)
    tell(folder, write_tables(folder), as_json)


def one_phantom(folder: Path, wanted: Wanted, seed: int) -> None:
    import numpy as np

    from tasks.phantom.splits import data_phantom, split_of

    p = data_phantom(seed, style=wanted.style, nodule_free=wanted.nodule_free, small=wanted.small)
    rng = np.random.default_rng([0xCA4D, seed])
    others = [list(m.center) for m in p.mimics] + bright_places(rng, p.volume, p.lung_labels, p.nodules)
    facts = {"split": split_of(seed) or "", **p.facts}
    write_scan(p.volume, p.nodules, p.nodule_labels, others, folder, seed, wanted.format, facts)


def claim(folder: Path, wanted: Record) -> None:
    """Note what the folder is made of. Raises UsageError where it holds something else."""
    path = folder / MADE_OF
    if path.exists():
        there = json.loads(path.read_text())
        if there != wanted:
            other = ", ".join(f"{k} {there.get(k)}" for k in {**there, **wanted} if there.get(k) != wanted.get(k))
            raise UsageError(
                f"the folder was made with other settings ({other}): give the same, or another folder", private=str(folder)
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise UsageError("the folder holds something else already: give a new or an empty one", private=str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=1) + "\n")
    except OSError as e:
        raise StoreError(f"the folder cannot be written to ({e.strerror}): give another", private=str(folder)) from None


def make_each(work: Callable[[int], Any], over: Sequence[int], workers: int | None, what: str, folder: Path) -> None:
    """``work`` on each number, several at once, with a bar; tables are written even where it is stopped halfway."""
    from rich.console import Console

    try:
        with progress_bar(Console(stderr=True), disable=not over) as bar:
            task = bar.add_task(what, total=len(over))
            in_processes(work, over, workers or os.cpu_count() or 1, lambda _made: bar.advance(task))
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError("the disk is full: make room and give the same command again, it goes on where it was") from None
        raise
    finally:
        if read_records(folder):
            write_tables(folder)


def progress_bar(console: Console, disable: bool = False) -> Progress:
    """A bar with the time that is left, and in the end the time it took."""
    from rich.progress import Progress, TimeRemainingColumn

    columns = Progress.get_default_columns()[:-1]
    return Progress(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=console, disable=disable)


def tell(folder: Path, records: dict[int, Record], as_json: bool) -> None:
    """How many scans and nodules there are, of which kinds, and how well malignancy can be told."""
    from collections import Counter

    from tasks.phantom.oracle import oracle

    nodules = [n for r in records.values() for n in r["nodules"]]
    counts = {k: dict(Counter(n[k] for n in nodules).most_common()) for k in ("kind", "margin", "place")}
    free = sum(not r["nodules"] for r in records.values())
    told = oracle(nodules)
    said = {"scans": len(records), "nodule_free": free, **counts, "malignancy": told}
    if as_json:
        print(json.dumps(said))
        return
    console = wide_console(markup=False)
    console.print(f"{len(records)} scans, {free} of them without nodules; {len(nodules)} nodules", highlight=False)
    for name, count in counts.items():
        console.print(f"  {name:<8}" + "  ".join(f"{k} {v}" for k, v in count.items()), highlight=False)
    console.print(
        f"  malignant {told['malignant']}; AUC of the risk model {told['auc_oracle']}, of diameter alone {told['auc_diameter']}"
    )
    console.print(f"what it holds:  hounsfield dataset {folder}", highlight=False)


def tell_oracle(source: Path | None, nodules: int, seed: int, as_json: bool) -> None:
    """The oracle of a folder's truth.csv, or of nodules drawn for the purpose."""
    from tasks.phantom.oracle import draw_risks, oracle

    if source is None:
        said = oracle(draw_risks(nodules, seed))
    else:
        path = source / "truth.csv"
        if not path.is_file():
            raise InputError(
                "there is no truth.csv in the folder: give one that `hounsfield phantoms` or `plant` made", private=str(source)
            )
        with path.open(newline="") as f:
            said = oracle(list(csv.DictReader(f)))
    if as_json:
        print(json.dumps(said))
    else:
        wide_console(markup=False).print(
            f"{said['nodules']} nodules, {said['malignant']} malignant: AUC of the risk model {said['auc_oracle']}, of diameter "
            f"alone {said['auc_diameter']}",
            highlight=False,
        )
