"""`make weights`: train the three shipped networks on phantoms, from nothing, and write their checkpoints and cards.

    python -m flows.make_weights --out weights/phantom

1. Phantoms with many nodules; patches of slices and crops are cut from them.  2. The segmenter.  3. Further phantoms go through
outline, segment and group with it: what the line would propose.  4. The nodule classifier, then from its weights the
malignancy classifier.  5. Whole phantoms never trained on go through the whole line; cards get what came out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from artifacts.checkpoint import ROLES, Card, CropSpec, InputSpec, Role, read_checkpoint, write_checkpoint
from tasks.nets import build, load_network
from tasks.nets.network import windowed
from tasks.training.batches import crop_batches, patch_batches
from tasks.training.candidates import Examples, bright_places, concatenate, cut_examples, jittered, proposed
from tasks.training.evaluation import line_metrics, malignancy_aucs, screen_seed, table
from tasks.training.loop import Loss, seed_everything, start_afresh, train
from tasks.training.losses import dice_and_cross_entropy, soft_cross_entropy
from tasks.training.metrics import roc_auc
from tasks.training.phantoms import Patches, cut_patches, seeds, training_phantom

Result = TypeVar("Result")

WINDOW = (-1000.0, 1000.0)
CROP = CropSpec(shape_zyx=(32, 32, 32), spacing_zyx_mm=(1.0, 1.0, 1.0), border="pad")
SEGMENTER = ("unet2d", {"in_channels": 7, "classes": 1, "depth": 3, "width": 8})
CLASSIFIER = ("luna3d", {"in_channels": 1, "conv_channels": 8, "crop_zyx": [32, 32, 32], "classes": 2})
STEPS_A_MINUTE = {"segmenter": 250, "nodule": 50, "malignancy": 20}  # of the whole run, on 2 cores without AMX


@dataclass
class Run:
    """What was asked for."""

    out: Path
    phantoms: int
    minutes: float
    workers: int
    tests: int
    started: float = field(default_factory=time.perf_counter)

    def say(self, text: str) -> None:
        print(f"{(time.perf_counter() - self.started) / 60:5.1f} min  {text}", flush=True)

    def split(self) -> dict[str, range]:
        """Seeds of the phantoms: for the segmenter and for its proposals, to watch, and never looked at in training."""
        all_train, first = seeds("train", self.phantoms), round(0.6 * self.phantoms)
        return {
            "segmenter": all_train[:first],
            "classifiers": all_train[first:],
            "validation": seeds("validation", max(2, self.tests // 3)),
            "test": seeds("test", self.tests),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("weights/phantom"), help="the weights set to write")
    parser.add_argument("--seeds", type=int, default=64, help="how many phantoms to train on")
    parser.add_argument("--minutes", type=float, default=25, help="about how long; training steps are in proportion")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes and threads")
    parser.add_argument("--tests", type=int, default=12, help="how many phantoms to test on")
    parser.add_argument("--only", choices=list(AGAIN), help="this one again; the others stay as they are in --out")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.workers)
    run = Run(chosen.out, chosen.seeds, chosen.minutes, chosen.workers, chosen.tests)
    unfinished = run.out.with_name(f".{run.out.name}.unfinished")
    finish(run, unfinished, (AGAIN[chosen.only] if chosen.only else train_all)(run, unfinished))
    shutil.rmtree(unfinished)


def train_all(run: Run, folder: Path) -> dict[Role, Card]:
    """The three networks into ``folder``, with cards that have no results yet."""
    split = run.split()
    run.say(f"making {len(split['segmenter'])} phantoms for the segmenter")
    cut = in_processes(run, first_cut, split["segmenter"])
    cards: dict[Role, Card] = {"segmenter": train_segmenter(run, folder, [patches for patches, _ in cut])}
    examples = [e for _, e in cut]
    del cut
    run.say(f"making {len(split['classifiers'])} phantoms for the classifiers, and what the segmenter proposes in them")
    examples += in_processes(run, partial(second_cut, folder), split["classifiers"])
    validation = concatenate(in_processes(run, partial(second_cut, folder), split["validation"]))
    everything = concatenate(examples)
    cards["nodule"], module = train_nodule(run, folder, everything, validation)
    cards["malignancy"] = train_malignancy(run, folder, everything, validation, module)
    return cards


def segmenter_again(run: Run, folder: Path) -> dict[Role, Card]:
    """A new segmenter beside the classifiers that are there."""
    cards = kept(run, folder)
    run.say(f"making {len(run.split()['segmenter'])} phantoms for the segmenter")
    cut = in_processes(run, first_cut, run.split()["segmenter"])
    return cards | {"segmenter": train_segmenter(run, folder, [patches for patches, _ in cut])}


def nodule_on(run: Run, folder: Path) -> dict[Role, Card]:
    """The nodule classifier trained on, from the weights it has, on what the segmenter that is there proposes."""
    cards, split = kept(run, folder), run.split()
    run.say(f"making {len(split['classifiers'])} phantoms for the classifier, and what the segmenter proposes in them")
    examples = concatenate(in_processes(run, partial(second_cut, folder), split["classifiers"]))
    validation = concatenate(in_processes(run, partial(second_cut, folder), split["validation"]))
    begun, there = cards["nodule"], load_network(read_checkpoint(run.out, "nodule")).module
    card, _ = train_nodule(run, folder, examples, validation, there.requires_grad_(True))
    return cards | {"nodule": card.model_copy(update={"training": {**card.training, "continued_from": begun.training}})}


def kept(run: Run, folder: Path) -> dict[Role, Card]:
    """The checkpoints that are there, copied to where the new one goes."""
    there = {role: read_checkpoint(run.out, role) for role in ROLES}
    for checkpoint in there.values():
        write_checkpoint(folder, checkpoint.card, checkpoint.tensors())
    return {role: checkpoint.card for role, checkpoint in there.items()}


AGAIN: dict[str, Callable[[Run, Path], dict[Role, Card]]] = {"segmenter": segmenter_again, "nodule": nodule_on}


def first_cut(seed: int) -> tuple[Patches, Examples]:
    """What a phantom gives before there is a segmenter."""
    rng, phantom = np.random.default_rng([1, seed]), training_phantom(seed)
    places = np.concatenate([jittered(rng, phantom, 3), bright_places(rng, phantom, 70)])
    return cut_patches(rng, phantom), cut_examples(phantom, places, CROP)


def second_cut(folder: Path, seed: int) -> Examples:
    """What a phantom gives when the segmenter has seen it."""
    rng, phantom = np.random.default_rng([2, seed]), training_phantom(seed)
    segmenter = load_network(read_checkpoint(folder, "segmenter"))
    places = np.concatenate([jittered(rng, phantom, 2), bright_places(rng, phantom, 40), proposed(phantom, segmenter)])
    return cut_examples(phantom, places, CROP)


def train_segmenter(run: Run, folder: Path, parts: Sequence[Patches]) -> Card:
    hu, masks = np.concatenate([p.hu for p in parts]), np.concatenate([p.masks for p in parts])
    run.say(f"segmenter: {len(hu)} patches")
    card = Card(
        name="phantom-segmenter",
        role="segmenter",
        architecture=SEGMENTER[0],
        arguments=SEGMENTER[1],
        input=InputSpec(window_hu=WINDOW, context_slices=3, views=4),
        licence="Apache-2.0",
        source="Trained by `make weights` on synthetic phantoms",
    )
    seed_everything(1)
    module = start_afresh(build(card.architecture, **card.arguments)).to(memory_format=torch.channels_last)
    batches = patch_batches(np.random.default_rng(1), hu, masks, WINDOW, size=16, crop=64)
    return fitted(run, folder, card, module, batches, dice_and_cross_entropy, learning_rate=4e-3)


def train_nodule(
    run: Run, folder: Path, data: Examples, validation: Examples, module: nn.Module | None = None
) -> tuple[Card, nn.Module]:
    """From nothing, or on from ``module``."""
    run.say(f"nodule classifier: {len(data.hu)} crops, {int(data.is_nodule.sum())} of nodules")
    card = classifier_card("nodule")
    seed_everything(2)
    module = module or start_afresh(build(card.architecture, **card.arguments)).to(memory_format=torch.channels_last_3d)
    batches = crop_batches(np.random.default_rng(2), data.hu, data.is_nodule, WINDOW, size=32, share=0.4)
    card = fitted(run, folder, card, module, batches, soft_cross_entropy, learning_rate=2e-3)
    scores = probability(module, validation.hu)
    truth = validation.is_nodule > 0.5
    metrics = {
        "auc_candidates_validation": round(roc_auc(scores, truth), 4),
        "sensitivity_at_half_validation": round(float((scores[truth] > 0.5).mean()), 4),
        "specificity_at_half_validation": round(float((scores[~truth] <= 0.5).mean()), 4),
    }
    run.say(f"nodule classifier on unseen candidates: {metrics}")
    return card.model_copy(update={"metrics": metrics}), module


def train_malignancy(run: Run, folder: Path, data: Examples, validation: Examples, nodule: nn.Module) -> Card:
    """From the nodule classifier's weights; the target is the risk model's probability, not the coin it tossed."""
    nodules = data.keep(data.nodule >= 0)
    run.say(f"malignancy classifier: {len(nodules.hu)} crops")
    seed_everything(3)
    batches = crop_batches(
        np.random.default_rng(3), nodules.hu, nodules.risk, WINDOW, size=32, share=float((nodules.risk > 0.5).mean())
    )
    card = fitted(run, folder, classifier_card("malignancy"), nodule, batches, soft_cross_entropy, learning_rate=1.5e-3)
    seen = validation.keep(validation.nodule >= 0)
    metrics = {"crops_validation": malignancy_aucs(probability(nodule, seen.hu), seen.risk, seen.malignant, seen.diameter_mm)}
    run.say(f"malignancy classifier on unseen nodules: {metrics}")
    return card.model_copy(update={"metrics": metrics})


def classifier_card(role: Role) -> Card:
    return Card(
        name=f"phantom-{role}",
        role=role,
        architecture=CLASSIFIER[0],
        arguments=CLASSIFIER[1],
        input=InputSpec(window_hu=WINDOW, crop=CROP),
        licence="Apache-2.0",
        source="Trained by `make weights` on synthetic phantoms",
    )


def fitted(
    run: Run, folder: Path, card: Card, module: nn.Module, batches: Iterator[Any], loss: Loss, *, learning_rate: float
) -> Card:
    """Train, write the checkpoint, and say in the card how."""
    steps, started = max(20, round(STEPS_A_MINUTE[card.role] * run.minutes)), time.perf_counter()
    for report in train(module, batches, loss, steps=steps, learning_rate=learning_rate, report_every=max(1, steps // 10)):
        run.say(f"{card.role}: step {report['step']} of {steps}, loss {report['loss']:.4f}")
    training = {
        "data": "synthetic phantoms (tasks.phantom); nothing of a patient",
        "seeds_first_last": {k: [r.start, r.stop - 1] for k, r in run.split().items()},
        "seed": {"segmenter": 1, "nodule": 2, "malignancy": 3}[card.role],
        "steps": steps,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "command": "python -m flows.make_weights " + shlex.join(sys.argv[1:]),
        "hardware": f"{platform.machine()} CPU, {run.workers} threads of {os.cpu_count()}",
        "torch": torch.__version__,
    }
    card = card.model_copy(update={"training": training})
    write_checkpoint(folder, card, {k: v.detach().cpu().numpy() for k, v in module.state_dict().items()})
    return card


@torch.inference_mode()
def probability(module: nn.Module, hu: np.ndarray) -> np.ndarray:
    """Of class 1, for crops int16 ``[n, z, y, x]``."""
    module.eval()
    parts = [windowed(torch.from_numpy(hu[k : k + 64]), InputSpec(window_hu=WINDOW)).unsqueeze(1) for k in range(0, len(hu), 64)]
    return torch.cat([module(x).softmax(1)[:, 1] for x in parts]).numpy()


def finish(run: Run, folder: Path, cards: dict[Role, Card]) -> None:
    """Try the whole line on unseen phantoms, complete the cards, and put everything where it belongs."""
    run.say(f"testing on {run.tests} phantoms never trained on")
    outcomes = in_processes(run, partial(screen_seed, folder), run.split()["test"])
    for row in table(outcomes):
        run.say("  ".join(f"{k} {v}" for k, v in row.items()))
    metrics = line_metrics(outcomes)
    run.say(f"the whole line: {metrics}")
    minutes = round((time.perf_counter() - run.started) / 60, 1)
    for role, card in cards.items():
        training = {"minutes_of_the_whole_run": minutes, **card.training}
        done = card.model_copy(update={"metrics": {**card.metrics, "whole_line_test": metrics}, "training": training})
        write_checkpoint(run.out, done, read_checkpoint(folder, role).tensors())


def in_processes(run: Run, work: Callable[[int], Result], over: Sequence[int]) -> list[Result]:
    """``work`` on every seed, several at once, in order."""
    if run.workers == 1:
        return [work(seed) for seed in over]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(run.workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(work, over))


if __name__ == "__main__":
    main()
