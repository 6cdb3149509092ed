"""Manifest: the commit marker of an artifact. A folder without a whole one has no name."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from artifacts.recipe import Recipe

NAME = "manifest.json"


class Damaged(Exception):
    """The folder does not hold what its manifest promises; the message says what differs."""


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, of what it was made, and what its files must be."""

    kind: str
    digest: str
    recipe: Recipe
    scan: str  # digest of the scan that it was made of in the end
    parents: dict[str, str]  # argument name -> "kind:digest"
    summary: dict[str, Any]
    weights: dict[str, Any] | None  # name, role, digest, licence, training of the network used
    files: dict[str, tuple[int, str]]  # relative name -> size in bytes, blake2b
    seconds: float
    made_at: str  # UTC
    made_by: str
    software: dict[str, str]

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.files.values())

    def to_json(self) -> str:
        body = asdict(self)
        return json.dumps({"checksum": _checksum(body), **body}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of ``folder``; Damaged where it is missing, cut short or altered."""
        try:
            body = json.loads((folder / NAME).read_bytes())
            checksum = body.pop("checksum")
            if checksum != _checksum(body):
                raise Damaged("its manifest was altered")
            body["recipe"] = Recipe.from_dict(body["recipe"])
            body["files"] = {name: (int(size), str(sum_)) for name, (size, sum_) in body["files"].items()}
            return cls(**body)
        except FileNotFoundError:
            raise Damaged("its manifest is missing") from None
        except OSError:
            raise Damaged("its manifest cannot be read") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Damaged("its manifest is not readable") from None

    def check_sizes(self, folder: Path) -> None:
        """Names and sizes only: what ``plan`` can afford."""
        for name, (size, _) in self.files.items():
            try:
                actual = (folder / name).stat().st_size
            except OSError:
                raise Damaged(f"{name} is missing") from None
            if actual != size:
                raise Damaged(f"{name} has {actual} bytes, not {size}")

    def check_sums(self, folder: Path) -> None:
        """Every byte: what a run that reuses the artifact does."""
        self.check_sizes(folder)
        try:
            with ThreadPoolExecutor(2) as pool:  # hashing releases the interpreter lock
                for name, actual in zip(self.files, pool.map(lambda n: file_sum(folder / n), self.files), strict=True):
                    if actual != self.files[name][1]:
                        raise Damaged(f"{name} was altered")
        except OSError as e:
            raise Damaged(f"a file of it cannot be read ({os.strerror(e.errno) if e.errno else type(e).__name__})") from None


def inventory(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file under ``folder``: relative name -> size and checksum."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    with ThreadPoolExecutor(2) as pool:
        sums = pool.map(file_sum, paths)
        return {p.relative_to(folder).as_posix(): (p.stat().st_size, s) for p, s in zip(paths, sums, strict=True)}


def file_sum(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _checksum(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
