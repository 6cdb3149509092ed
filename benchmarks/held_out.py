"""Weights on phantoms never trained on: results by size, kind and dose, FROC, CPM.

    python -m benchmarks.held_out --weights phantom                    # the shipped ones
    python -m benchmarks.held_out --weights phantom --weights book     # beside the published checkpoints
    python -m benchmarks.held_out --weights DIR --count 8              # a quick look at weights just trained
    python -m benchmarks.held_out --weights DIR --settle 1             # results and a threshold into its cards

Half of the phantoms have no nodule. What is done lies in --work: stopped, it goes on; with other weights only those are run.
Pages of results (HTML) and tables (CSV) lie there too. Synthetic results: phantoms are not patients.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifacts.evaluation import Evaluation
    from tasks.evaluation.phantoms import Trial

PHANTOMS = ("held-out", "classic", "small")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", action="append", help="name of a weights set, its folder, or book (again for several)")
    parser.add_argument("--count", type=int, default=None, help="only the first so many phantoms")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, of one thread each")
    parser.add_argument("--work", type=Path, default=Path("runs/held-out"), help="where what is done is kept")
    parser.add_argument("--phantoms", choices=PHANTOMS, default="held-out", help="which; small ones are for trying this out")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--assess-only", action="store_true", help="screen and assess; no tables, no page (for a bare GPU host)")
    parser.add_argument("--settle", type=float, help="write into the cards: results, and the threshold of so many false a scan")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws of the scans")
    run(parser.parse_args())


def run(asked: argparse.Namespace) -> None:
    from benchmarks.__main__ import hardware
    from benchmarks.weights_at import weights_at
    from tasks.evaluation.phantoms import Trial, phantoms_called
    from tasks.nets.network import settle_device, settle_precision
    from tasks.processes import in_processes

    names = asked.weights or ["phantom"]
    weights = {Path(n).name: weights_at(n, asked.work / "weights") for n in names}
    phantom, seeds = phantoms_called(asked.phantoms)
    seeds = list(seeds)[: asked.count]
    device = settle_device(asked.device)
    trial = Trial(weights, asked.work, phantom, asked.phantoms, str(device), settle_precision(asked.precision, device))
    todo = [s for s in seeds if not all(trial.done(name, s) for name in weights)]
    started = time.perf_counter()
    print(f"{len(seeds)} phantoms ({asked.phantoms}), {len(seeds) - len(todo)} done before; {hardware()}", file=sys.stderr)

    def said(seed: int) -> None:
        left.discard(seed)
        minutes = (time.perf_counter() - started) / 60
        to_go = minutes / (len(todo) - len(left)) * len(left)
        print(f"seed {seed} done, {len(left)} to go, {to_go:.1f} min", file=sys.stderr, flush=True)

    left = set(todo)
    in_processes(trial.run, todo, asked.workers, said)
    print(f"{time.perf_counter() - started:.0f} s for {len(todo)} phantoms with {asked.workers} processes, {trial.precision}")
    if not asked.assess_only:
        conclude(asked, trial, seeds)


def conclude(asked: argparse.Namespace, trial: Trial, seeds: list[int]) -> None:
    """Tables on stdout, pages and CSV in the work folder."""
    from tasks.evaluate import EvaluateParams, evaluate
    from tasks.evaluation.breakdown import probability_at
    from tasks.evaluation.export import export

    for name in trial.weights:
        params = EvaluateParams(weights=name, data=f"{len(seeds)} phantoms ({asked.phantoms})", bootstraps=asked.draws)
        assessments = trial.assessments(name, seeds)
        if asked.settle:
            marks = evaluate(assessments, params=EvaluateParams(bootstraps=10)).marks
            threshold = round(probability_at(asked.settle, len(seeds), marks), 3)
            params = params.model_copy(update={"threshold": threshold})
        made = evaluate(assessments, params=params)
        if asked.settle:
            settle(trial.weights[name], made, asked.settle, seeds, trial.precision)
        show(made)
        folder = asked.work / f"{asked.phantoms}-{name}"
        export(made, folder)
        print(f"page: {folder / 'evaluation.html'}\n")


def settle(weights: Path, made: Evaluation, rate: float, seeds: list[int], precision: str) -> None:
    """Write into the cards of ``weights`` what was measured, and into the nodule classifier's the threshold of ``made``."""
    from artifacts.checkpoint import ROLES, read_checkpoint, write_checkpoint

    threshold = made.about["nodule_threshold"]
    results = {
        "synthetic": True,
        "seeds_first_last": [seeds[0], seeds[-1]],
        "phantoms": len(made.scans),
        "nodules": len(made.nodules),
        "found": sum(n["found"] for n in made.nodules),
        "threshold": {"nodule": threshold, "chosen": f"{rate:g} false findings a phantom on these same phantoms"},
        **{k: made.metrics["froc"][k] for k in ("cpm", "cpm_low", "cpm_high", "sensitivities")},
        "malignancy": made.metrics["malignancy"],
        "precision": precision,
    }
    for role in ROLES:
        checkpoint = read_checkpoint(weights, role)
        own = {"threshold": threshold} if role == "nodule" else {}
        card = checkpoint.card.model_copy(update=own | {"metrics": checkpoint.card.metrics | {"held_out": results}})
        write_checkpoint(weights, card, checkpoint.tensors())


def show(made: Evaluation) -> None:
    """The headline and every table as markdown, ready for a README."""
    print(f"## {made.headline}\n")
    for title, rows in made.tables().items():
        columns = list(dict.fromkeys(c for r in rows for c in r))
        print(f"{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for r in rows:
            print("| " + " | ".join("" if r.get(c) is None else str(r[c]) for c in columns) + " |")
        print()


if __name__ == "__main__":
    main()
