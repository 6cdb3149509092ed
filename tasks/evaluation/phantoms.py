"""Weights tried on phantoms that no training, watching or testing used: each made, screened and assessed in memory."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from artifacts.assessment import Assessment
from artifacts.checkpoint import ROLES, Checkpoint, read_checkpoint
from tasks.phantom import Phantom

Device = str
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Trial:
    """Weights sets by name -> folder, tried on phantoms; what is done lies in ``work`` and is not done again."""

    weights: Mapping[str, Path]
    work: Path
    phantom: Callable[[int], Phantom]  # of a seed; importable, for it goes to other processes
    style: str
    device: Device = "cpu"
    precision: Precision = "float32"

    def place(self, name: str, seed: int) -> Path:
        """Where the assessment lies: by what the phantoms are and by the weights' digests."""
        digests = [self._checkpoint(name, role).digest for role in ROLES]
        thresholds = [self._checkpoint(name, role).card.threshold for role in ROLES]
        key = hashlib.blake2b(repr((digests, thresholds, self.precision)).encode(), digest_size=6).hexdigest()
        return self.work / self.style / f"{name}-{key}" / str(seed)

    def done(self, name: str, seed: int) -> bool:
        return (self.place(name, seed) / "assessment.json").is_file()

    def _checkpoint(self, name: str, role: str) -> Checkpoint:
        return read_checkpoint(self.weights[name], role)  # type: ignore[arg-type]

    def run(self, seed: int) -> int:
        """Make the phantom once, and assess it with every weights set that has not seen it."""
        todo = [name for name in self.weights if not self.done(name, seed)]
        if todo:
            phantom = self.phantom(seed)
            for name in todo:
                self._write(self._assessed(name, phantom), self.place(name, seed))
        return seed

    def _assessed(self, name: str, phantom: Phantom) -> Assessment:
        from tasks.evaluation.in_memory import screened
        from tasks.evaluation.reference import reference_of_phantom
        from tasks.nets import load_network

        networks = {role: load_network(self._checkpoint(name, role), self.device, self.precision) for role in ROLES}
        return screened(phantom.volume, networks).assessed(reference_of_phantom(phantom))  # type: ignore[arg-type]

    @staticmethod
    def _write(assessment: Assessment, place: Path) -> None:
        """Whole or not at all."""
        temporary = place.with_name(f".{place.name}-{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        assessment.write(temporary)
        shutil.rmtree(place, ignore_errors=True)
        temporary.rename(place)

    def assessments(self, name: str, seeds: Iterable[int]) -> Sequence[Assessment]:
        return [Assessment.read(self.place(name, seed)) for seed in seeds]


def classic(seed: int) -> Phantom:
    """The classic phantom of a seed; even seeds have no nodule."""
    from tasks.phantom import make_phantom

    return make_phantom(seed, nodules=None if seed % 2 else 0)


def small(seed: int) -> Phantom:
    """A coarse one in a second, for trying things."""
    from tasks.phantom import make_phantom

    return make_phantom(seed, nodules=None if seed % 2 else 0, small=True)


def phantoms_called(name: str) -> tuple[Callable[[int], Phantom], Sequence[int]]:
    """How a phantom of a seed is made, and the seeds: never trained on, watched, or tested on before a training ended."""
    from tasks.phantom.splits import HELD_OUT, data_phantom

    known: dict[str, tuple[Callable[[int], Phantom], Sequence[int]]] = {
        "held-out": (data_phantom, HELD_OUT),
        "classic": (classic, range(3_900_000, 3_900_060)),
        "small": (small, range(3_900_000, 3_900_008)),
    }
    return known[name]
