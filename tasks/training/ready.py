"""A network straight out of training, ready to run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from artifacts.checkpoint import Card, Checkpoint, write_checkpoint
from artifacts.trained import Trained
from tasks.nets import Network, load_network
from tasks.nets.network import Precision


def network_of(trained: Trained, device: str = "cpu", precision: Precision = "float32") -> Network:
    """As ``load_network`` gives it of the checkpoint that ``trained`` becomes."""
    with tempfile.TemporaryDirectory() as folder:
        return load_network(write_checkpoint(Path(folder), Card.model_validate(trained.card), trained.tensors), device, precision)


@dataclass(frozen=True)
class CheckpointSource:
    """A checkpoint as a line takes it where a stage wants a ``Trained``: known by its digest."""

    checkpoint: Checkpoint

    @property
    def digest(self) -> str:
        return self.checkpoint.digest

    def open(self) -> Trained:
        return Trained(self.checkpoint.card.model_dump(mode="json"), self.checkpoint.tensors())
