"""`make weights`: train the three shipped networks on phantoms, from nothing, and write their checkpoints and cards.

    python -m flows.make_weights --phantoms 100 --minutes 40 --workers 2 --out weights/phantom
    python -m flows.make_weights … --plant SCAN --plant SCAN --doubtful weights/doubtful.csv    # real lungs as well

1. Patches of slices are cut from the first half of the phantoms; the segmenter learns from them.  2. The other half goes through
outline, segment and group with it: what the line would propose, and what the nodule classifier learns from; then the grader,
from the classifier's weights.  3. Phantoms that no training saw settle the classifier's threshold; others are the test.

``--segmenter SET`` keeps the segmenter of a set: all phantoms are cut with what it proposes, the classifiers alone are trained.
``--start SET --only ROLE`` lets one network of a set learn on, from phantoms and what its segmenter proposes in them; the others
are kept.
``--beside SET`` puts the nodule classifier of a set beside the new one: their mean answers (``flows.join_weights`` joins others).
``--skip 100 --grainy 20``: other phantoms than the first 100, and 20 of them with grainy lungs.
``--more 80 --more-minutes 60`` goes on with a second round: further phantoms, what the first segmenter proposes in them, and the
three trainings go on from the first ones' weights with all that was cut in both rounds.

With ``--plant`` nodules are planted into real scans as well, so that the networks see real vessels, walls and noise. What such a
scan holds already, nodule or not, stands in the table ``--doubtful`` (LUNA16's columns) and is neither shown as one nor as none.

Every step is a stage and its artifact kept in ``--work``: a run that was killed goes on where it was. The same arguments give the
same weights on the same machine. A phantom's volume is made, cut and forgotten: crops and patches alone are kept.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from artifacts.checkpoint import ROLES, Card, Checkpoint, Role, read_checkpoint, write_checkpoint
from artifacts.store import Ref, Store
from artifacts.trained import Trained
from flows.console import measured
from flows.join_weights import joined, members_of, own_metrics
from flows.phantom_cuts import in_processes
from tasks.line import Line
from tasks.phantom_examples import phantom_examples
from tasks.phantom_patches import phantom_patches
from tasks.stage import Outcome, Params
from tasks.train_malignancy import TrainMalignancyParams, train_malignancy
from tasks.train_nodule import TrainNoduleParams, train_nodule
from tasks.train_segmenter import TrainSegmenterParams, train_segmenter
from tasks.training.evaluation import best_threshold, line_metrics, screen_seed, table
from tasks.training.loop import LoopParams
from tasks.training.phantoms import NODULES, PhantomSource, Split, TrainingSource, grainy, seeds
from tasks.training.planted import PlantedSource, doubtful_in, read_soil
from tasks.training.ready import CheckpointSource

SHARE = {"segmenter": 0.4, "nodule": 0.45, "malignancy": 0.15}  # of the minutes
STEPS_A_MINUTE = {"segmenter": 400, "nodule": 100, "malignancy": 200}  # on two cores that nothing else uses, without AMX
EPOCHS = {"segmenter": 12, "nodule": 12, "malignancy": 8}
PLANTED_SEEDS = {"segmenter": range(1000), "classifiers": range(1000, 2000), "more": range(2000, 3000)}
SEED = {"segmenter": 1, "nodule": 2, "malignancy": 3}
LEARNING_RATE = {"segmenter": 4e-3, "nodule": 3e-3, "malignancy": 1e-3}
CLASSIFIER = {"stem_channels": 8, "stem": 3, "widths": [32, 64, 128], "strides": [1, 2, 2, 2]}  # every voxel is looked at
DATA = "synthetic phantoms (tasks.phantom); nothing of a patient"
PLANTED = "synthetic phantoms (tasks.phantom), and synthetic nodules planted into {} real scans (tasks.phantom.plant)"


@dataclass
class Run:
    """What was asked for; says what happens, with the minutes since the start. It is the watcher of its lines."""

    out: Path
    work: Path
    phantoms: int
    minutes: float
    workers: int
    tests: int
    small: bool = False
    plant: list[Path] = field(default_factory=list)
    doubtful: Path | None = None
    planted: int = 6
    segmenter: Path | None = None
    start: Path | None = None
    only: Role | None = None
    beside: Path | None = None
    more: int = 0
    more_minutes: float = 60
    skip: int = 0
    grainy: int = 0
    learning_rate: float | None = None
    started_at: float = field(default_factory=time.perf_counter)

    def say(self, text: str) -> None:
        print(f"{(time.perf_counter() - self.started_at) / 60:5.1f} min  {text}", flush=True)

    @property
    def unfinished(self) -> Path:
        """Networks whose threshold is not settled yet."""
        return self.work / "weights"

    def started(self, stage: str) -> None:
        self.say(f"{stage} …")

    def progress(self, share: float) -> None:
        pass

    def tell(self, metrics: Any) -> None:
        self.say("  " + measured(metrics))

    def finished(self, stage: str, ref: Ref, outcome: Outcome, seconds: float) -> None:
        self.say(f"{stage} {'reused' if outcome.reused else 'ran'} in {seconds / 60:.1f} min: {outcome.headline}")

    @property
    def trains(self) -> tuple[Role, ...]:
        """The networks that this run trains; the others are kept as a set has them."""
        if self.only:
            return (self.only,)
        return ("nodule", "malignancy") if self.segmenter else ROLES

    def train_seeds(self) -> list[int]:
        """Those after the first ``skip``; the last ``grainy`` of them are the next ones with grainy lungs."""
        end = self.skip + self.phantoms - self.grainy
        return [*seeds("train", end)[self.skip :], *islice(grainy("train", end), self.grainy)]

    def split(self) -> dict[str, Sequence[int]]:
        """Seeds: for the segmenter, for its proposals, to watch, to settle the threshold, and never looked at in training."""
        all_train, watched = self.train_seeds(), max(2, self.phantoms // 12)
        first = 0
        if "segmenter" in self.trains:
            first = self.phantoms if self.only else round(0.5 * self.phantoms)
        return {
            "segmenter": all_train[:first],
            "classifiers": all_train[first:],
            "more": seeds("train", self.skip + self.phantoms + self.more)[self.skip + self.phantoms :],
            "validation": seeds("validation", watched),
            "threshold": seeds("validation", watched + self.tests)[watched:],
            "test": seeds("test", self.tests),
        }

    def sources(self, part: str, split: Split = "train") -> list[TrainingSource]:
        phantoms: list[TrainingSource] = [PhantomSource(seed, split, NODULES, self.small) for seed in self.split()[part]]
        return [*phantoms, *(s for k in range(len(self.plant)) for s in self.in_real_scan(k, part))]

    def in_real_scan(self, k: int, part: str) -> list[PlantedSource]:
        """The same scan with other nodules for each network that learns from it; none of it is ever watched or tested on."""
        if part not in PLANTED_SEEDS:
            return []
        path = self.plant[k]
        doubtful = doubtful_in(self.doubtful, read_soil(path)[1].series.uid) if self.doubtful else ()
        return [PlantedSource(path, seed, doubtful) for seed in PLANTED_SEEDS[part][k * self.planted : (k + 1) * self.planted]]

    def loop(self, role: Role, again: bool) -> tuple[LoopParams, int]:
        """The loop, and its steps an epoch: in proportion to the minutes, so that they do not depend on the machine."""
        minutes = self.more_minutes if again and self.more else self.minutes
        seed = SEED[role] + 10 * again
        share = SHARE[role] / sum(SHARE[r] for r in self.trains)
        steps = max(2, round(STEPS_A_MINUTE[role] * share * minutes / EPOCHS[role]))
        rate = LEARNING_RATE[role] if self.learning_rate is None else self.learning_rate
        return LoopParams(epochs=EPOCHS[role], seed=seed, learning_rate=rate, ema=min(0.995, 1 - 2 / steps)), steps


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("weights/phantom"), help="the weights set to write")
    parser.add_argument("--work", type=Path, default=Path("runs/make-weights"), help="where what is made on the way is kept")
    parser.add_argument("--phantoms", type=int, default=100, help="how many phantoms to train on")
    parser.add_argument("--minutes", type=float, default=40, help="about how long to train, phantoms not counted")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes and threads")
    parser.add_argument("--tests", type=int, default=12, help="how many phantoms to settle the threshold on, and to test on")
    parser.add_argument("--small", action="store_true", help="coarse phantoms: for trying this out")
    parser.add_argument("--plant", type=Path, action="append", default=[], help="a real scan to plant into (again for several)")
    parser.add_argument("--doubtful", type=Path, help="CSV of what those scans hold already: neither nodule nor none")
    parser.add_argument("--planted", type=int, default=6, help="how often each is planted into, for each network")
    parser.add_argument("--segmenter", type=Path, help="a weights set whose segmenter is kept: the classifiers alone are trained")
    parser.add_argument("--start", type=Path, help="a weights set of which the network of --only learns on; the others are kept")
    parser.add_argument("--only", choices=ROLES, help="with --start: which one")
    parser.add_argument("--beside", type=Path, help="a weights set whose nodule classifier is asked too; the mean counts")
    parser.add_argument("--more", type=int, default=0, help="phantoms of a second round that goes on from the first; 0: none")
    parser.add_argument("--more-minutes", type=float, default=60, help="about how long the second round trains")
    parser.add_argument(
        "--skip", type=int, default=0, help="leave out the first so many training phantoms: other weights know them"
    )
    parser.add_argument("--grainy", type=int, default=0, help="how many of the phantoms have grainy lungs")
    parser.add_argument("--learning-rate", type=float, help="the highest of the training; small ones keep what was known")
    asked = parser.parse_args()
    if asked.grainy and asked.more:
        parser.error("--grainy and --more exclude each other")
    if not 0 <= asked.grainy <= asked.phantoms:
        parser.error(f"--grainy: between 0 and --phantoms ({asked.phantoms})")
    if asked.skip < 0:
        parser.error("--skip: 0 or more")
    if sum(map(bool, (asked.segmenter, asked.start, asked.more))) > 1:
        parser.error("--segmenter, --start and --more exclude each other")
    if bool(asked.start) != bool(asked.only):
        parser.error("--start and --only go together")
    run = Run(**vars(asked))
    torch.set_num_threads(run.workers)
    if run.start and run.only:
        trained = train_on(run, run.start, run.only)
    elif run.segmenter:
        trained = train_classifiers(run, run.segmenter)
    else:
        trained = train_all(run)
    if run.beside:
        both = (trained["nodule"], read_checkpoint(run.beside, "nodule"))
        trained["nodule"] = write_checkpoint(run.unfinished, *joined((c, m) for c in both for m in members_of(c)))
    release(run, trained)


def train_on(run: Run, known: Path, role: Role) -> dict[Role, Checkpoint]:
    """One network of ``known`` after further phantoms, from where it stands; the others as they are."""
    ones = {r: read_checkpoint(known, r) for r in ROLES}
    segmenter, start = CheckpointSource(ones["segmenter"]), CheckpointSource(ones[role])
    cut = partial(third_cut if role == "segmenter" else second_cut, run.work, segmenter)
    part = "segmenter" if role == "segmenter" else "classifiers"
    cuts: list[Any] = in_processes("cut", cut, run.sources(part), run.workers, run.say)
    cuts += in_processes("cut, to watch", cut, run.sources("validation", "validation"), run.workers, run.say)
    store = Store(run.work)
    line = Line(store, "make-weights-again", params=recipe(run, again=True), watcher=run)
    if role == "segmenter":
        trained = line(train_segmenter, patches=[patches for patches, _ in cuts], start=start)
    else:
        trained = line(train_nodule if role == "nodule" else train_malignancy, examples=cuts, start=start)
    same: dict[Role, Checkpoint] = {
        r: write_checkpoint(run.unfinished, c.card, c.tensors()) for r, c in ones.items() if r != role
    }
    return {**same, role: kept(run, store, trained)}


def train_classifiers(run: Run, known: Path) -> dict[Role, Checkpoint]:
    """The classifiers of what the segmenter of ``known`` proposes; it is the set's segmenter as it is."""
    known_one = read_checkpoint(known, "segmenter")
    segmenter = write_checkpoint(run.unfinished, known_one.card, known_one.tensors())
    cut = partial(second_cut, run.work, CheckpointSource(segmenter))
    crops = in_processes("cut", cut, run.sources("classifiers"), run.workers, run.say)
    crops += in_processes("cut, to watch", cut, run.sources("validation", "validation"), run.workers, run.say)
    store = Store(run.work)
    line = Line(store, "make-weights", params=recipe(run, again=False), watcher=run)
    nodule = line(train_nodule, examples=crops)
    malignancy = line(train_malignancy, examples=crops, start=nodule)
    return {"segmenter": segmenter, "nodule": kept(run, store, nodule), "malignancy": kept(run, store, malignancy)}


def train_all(run: Run) -> dict[Role, Checkpoint]:
    """The three networks, each a stage on the artifacts before it."""
    store = Store(run.work)
    line = Line(store, "make-weights", params=recipe(run, again=False), watcher=run)
    first = in_processes("first cut", partial(first_cut, run.work), run.sources("segmenter"), run.workers, run.say)
    watched = in_processes(
        "first cut, to watch", partial(first_cut, run.work), run.sources("validation", "validation"), run.workers, run.say
    )
    segmenter = line(train_segmenter, patches=[patches for patches, _ in first + watched])
    second = partial(second_cut, run.work, segmenter)
    mined = in_processes("second cut", second, run.sources("classifiers"), run.workers, run.say)
    watched_crops = in_processes("second cut, to watch", second, run.sources("validation", "validation"), run.workers, run.say)
    crops = [examples for _, examples in first] + mined + watched_crops
    nodule = line(train_nodule, examples=crops)
    malignancy = line(train_malignancy, examples=crops, start=nodule)
    refs: dict[Role, Ref] = {"segmenter": segmenter, "nodule": nodule, "malignancy": malignancy}
    if run.more:
        more = in_processes("third cut", partial(third_cut, run.work, segmenter), run.sources("more"), run.workers, run.say)
        patches, crops = [p for p, _ in first + more + watched], crops + [examples for _, examples in more]
        line = Line(store, "make-weights-again", params=recipe(run, again=True), watcher=run)
        refs["nodule"] = line(train_nodule, examples=crops, start=nodule)
        refs["segmenter"] = line(train_segmenter, patches=patches, start=segmenter)
        refs["malignancy"] = line(train_malignancy, examples=crops, start=refs["nodule"])
    return {role: kept(run, store, refs[role]) for role in ROLES}


def kept(run: Run, store: Store, ref: Ref) -> Checkpoint:
    """A trained network as a checkpoint in the work folder, its threshold not settled yet."""
    trained = store.open(ref, Trained)
    return write_checkpoint(run.unfinished, Card.model_validate(trained.card), trained.tensors)


def recipe(run: Run, again: bool) -> dict[str, Params]:
    """Parameters of the three training stages; in the second round the segmenter learns that a miss is dear."""

    def common(role: Role) -> dict[str, Any]:
        loop, steps = run.loop(role, again)
        data = PLANTED.format(len(run.plant)) if run.plant else DATA
        about = {"name": f"phantom-{role}", "data": data, "licence": "Apache-2.0"}
        return {**about, "loop": loop, "steps": steps, "watched": 1500}

    arguments = {} if run.start else CLASSIFIER  # the network is that of the set
    return {
        "train-segmenter": TrainSegmenterParams(
            **common("segmenter"), arguments={"depth": 3, "width": 16}, loss="tversky-ce" if again else "dice-ce"
        ),
        "train-nodule": TrainNoduleParams(**common("nodule"), arguments=arguments),
        "train-malignancy": TrainMalignancyParams(**common("malignancy"), arguments=arguments, tuned="later"),
    }


def first_cut(work: Path, source: TrainingSource) -> tuple[Ref, Ref]:
    """What a phantom gives before there is a segmenter: patches and crops."""
    store = Store(work)
    line = Line(store, source.digest)
    refs = line(phantom_patches, phantom=source), line(phantom_examples, phantom=source)
    store.forget()
    return refs


def second_cut(work: Path, segmenter: Ref | CheckpointSource, source: TrainingSource) -> Ref:
    """What a phantom gives when the segmenter has seen it: crops, with those of its own false lumps."""
    store = Store(work)
    ref = Line(store, source.digest)(phantom_examples, slot="mined", phantom=source, segmenter=segmenter)
    store.forget()
    return ref


def third_cut(work: Path, segmenter: Ref | CheckpointSource, source: TrainingSource) -> tuple[Ref, Ref]:
    """Patches and crops, with those of the segmenter's false lumps; the source is made once for both."""
    store = Store(work)
    line = Line(store, source.digest)
    examples = line(phantom_examples, slot="mined", phantom=source, segmenter=segmenter)
    patches = line(phantom_patches, phantom=source, examples=examples)
    store.forget()
    return patches, examples


def release(run: Run, trained: dict[Role, Checkpoint]) -> None:
    """Settle the threshold and test the whole line on phantoms that no training saw; write cards and weights to ``out``."""
    screen = partial(screen_seed, run.unfinished, small=run.small)
    settled = in_processes("screening, to settle the threshold", screen, run.split()["threshold"], run.workers, run.say)
    threshold = best_threshold(settled)
    run.say(f"threshold of the nodule classifier: {threshold}")
    outcomes = in_processes("screening, to test", screen, run.split()["test"], run.workers, run.say)
    for row in table(outcomes, threshold):
        run.say("  ".join(f"{k} {v}" for k, v in row.items()))
    metrics = line_metrics(outcomes, threshold)
    run.say(f"the whole line: {metrics}")
    for role, checkpoint in trained.items():
        card = checkpoint.card
        new = how(run) if role in run.trains else {}
        done = {"metrics": own_metrics(card) | {"whole_line_test": metrics}, "training": card.training | new}
        own = {"threshold": threshold} if role == "nodule" else {}
        write_checkpoint(run.out, card.model_copy(update=done | own), checkpoint.tensors())
    run.say(f"written to {run.out}: try `hounsfield screen PATH --weights {run.out.name}`")


def how(run: Run) -> dict[str, Any]:
    """What a card says so that the run can be repeated."""
    return {
        "seeds_first_last": {k: [min(r), max(r)] for k, r in run.split().items() if r},
        **({"planted_into": [read_soil(p)[1].series.uid for p in run.plant]} if run.plant else {}),
        "command": "python -m flows.make_weights " + shlex.join(without_folders(sys.argv[1:])),
        "hardware": f"{platform.machine()} CPU, {run.workers} threads of {os.cpu_count()}",
    }


def without_folders(arguments: list[str]) -> list[str]:
    """A card names scans and tables, not where they lie on this machine."""
    return [Path(a).name if Path(a).is_absolute() else a for a in arguments]


if __name__ == "__main__":
    main()
