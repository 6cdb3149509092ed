"""Who is trained on and who is tested on: by patient, from hashes alone, so that a scan more moves nobody else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydantic import Field, model_validator

from artifacts.dataset import Split
from tasks.stage import Params


class SplitParams(Params):
    """How patients are shared out. The same patient, salt and shares give the same split on every machine."""

    folds: int = Field(10, ge=2, le=100, title="Folds", description="Into how many folds patients go; LUNA16's own ten are kept")
    validation: float = Field(0.1, ge=0.0, le=0.9, title="Validation share", description="Share of patients to watch training on")
    test: float = Field(0.1, ge=0.0, le=0.9, title="Test share", description="Share of patients never trained on nor watched")
    test_fold: int = Field(
        -1, ge=-1, le=99, title="Test fold", description="This fold is the test, the next one validation; -1: by the shares above"
    )
    salt: str = Field("hounsfield", max_length=100, title="Salt", description="Another salt, another split")

    @model_validator(mode="after")
    def _some_to_train_on(self) -> SplitParams:
        if self.validation + self.test > 0.95:
            raise ValueError("validation and test together may be 0.95 of the patients at most")
        if self.test_fold >= self.folds:
            raise ValueError(f"test_fold must be below folds ({self.folds})")
        return self


@dataclass(frozen=True)
class Place:
    split: Split
    fold: int


def identity_of(patient_id: str) -> str:
    """32 hex digits for a patient's ID (or a series UID), in memory. Never written where others read: it can be guessed."""
    return hashlib.blake2b(patient_id.encode(), digest_size=16, person=b"hounsfield-id").hexdigest()


def place(identity: str, params: SplitParams = SplitParams(), official: int | None = None) -> Place:
    """Split and fold of a patient. ``official``: the fold that the data set itself gives, kept where ``params`` have as many."""
    fold = (
        official if official is not None and official < params.folds else int(draw(identity, params.salt, "fold") * params.folds)
    )
    if params.test_fold >= 0:
        ahead = (fold - params.test_fold) % params.folds
        return Place("test" if ahead == 0 else "validation" if ahead == 1 and params.folds > 2 else "train", fold)
    at = draw(identity, params.salt, "split")
    split: Split = "test" if at < params.test else "validation" if at < params.test + params.validation else "train"
    return Place(split, fold)


def draw(identity: str, salt: str, what: str) -> float:
    """0 <= value < 1, the same for the same words."""
    h = hashlib.blake2b(f"{salt}\0{what}\0{identity}".encode(), digest_size=6)
    return int.from_bytes(h.digest(), "big") / 2**48
