"""A two-stage line on one small array: enough to put the store, the keys and the plan through everything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from artifacts.arrays import read_array, write_array
from artifacts.artifact import Preview
from tasks.stage import Params, stage

calls: list[str] = []  # every time a stage's function really ran


@dataclass
class Numbers:
    kind: ClassVar[str] = "numbers"
    values: np.ndarray

    def write(self, folder: Path) -> None:
        write_array(folder, "values", self.values)

    @classmethod
    def read(cls, folder: Path) -> Numbers:
        return cls(read_array(folder, "values"))

    def summary(self) -> dict:
        return {"sum": int(self.values.sum())}

    def preview(self, inputs) -> Preview:
        return Preview(f"{self.values.size} numbers")


@dataclass
class Sum:
    kind: ClassVar[str] = "sum"
    value: int

    def write(self, folder: Path) -> None:
        (folder / "sum.txt").write_text(str(self.value))

    @classmethod
    def read(cls, folder: Path) -> Sum:
        return cls(int((folder / "sum.txt").read_text()))

    def summary(self) -> dict:
        return {"value": self.value}

    def preview(self, inputs) -> Preview:
        return Preview(f"the sum of {inputs['numbers'].values.size} numbers is {self.value}")


class CountParams(Params):
    step: int = Field(1, ge=1)


class AddParams(Params):
    offset: int = 0


@stage("count", version=1, params=CountParams)
def count(scan: list, params: CountParams = CountParams()) -> Numbers:
    calls.append("count")
    return Numbers(np.array(scan, dtype=np.int16).reshape(1, 1, -1)[:, :, :: params.step])


@stage("add", version=1, params=AddParams)
def add(numbers: Numbers, params: AddParams = AddParams()) -> Sum:
    calls.append("add")
    return Sum(int(numbers.values.sum()) + params.offset)


@dataclass
class Scan:
    values: list
    digest: str = "5ca9" * 8

    def open(self) -> list:
        return self.values


def toy_line(line, scan):
    numbers = line(count, scan=scan)
    return line(add, numbers=numbers)
