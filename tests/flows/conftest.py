"""A home of its own for every test, a small phantom as DICOM, and the command line as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

TIMEOUT_S = 300


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Cli:
    """`hounsfield …` in a process of its own, with a home of its own."""

    def __init__(self, home: Path):
        self.home = home
        self.env = os.environ | {
            "HOUNSFIELD_HOME": str(home),
            "PREFECT_HOME": str(home / "prefect"),
            "OMP_NUM_THREADS": "2",
            "COLUMNS": "200",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # on a busy machine
        }
        for name in ("HOUNSFIELD_STORE", "PREFECT_API_URL"):
            self.env.pop(name, None)

    def __call__(self, *arguments: object, **env: str) -> Done:
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.env | env, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def python(self, script: str, *arguments: object) -> subprocess.Popen:
        """Start a script with the same home; the caller ends it."""
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def cli(tmp_path) -> Cli:
    return Cli(tmp_path / "home")


@pytest.fixture(scope="session")
def phantom_series(tmp_path_factory) -> Path:
    """A small phantom chest (coarse voxels) as a DICOM series; truth.csv stands beside it."""
    from flows.demo import make_series

    return make_series(tmp_path_factory.mktemp("phantom"), seed=0, small=True)


@pytest.fixture(scope="session")
def screened(tmp_path_factory, phantom_series) -> Cli:
    """A home in which the small phantom was screened once with --direct; tests that change it copy it."""
    cli = Cli(tmp_path_factory.mktemp("screened"))
    done = cli("screen", phantom_series, "--direct", "--out", cli.home / "out", "--json")
    assert done.code == 0, done.err
    return cli
