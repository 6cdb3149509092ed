"""Peak memory of `hounsfield screen --direct` on a phantom of 300 slices, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.load import SLICES, series_of

LIMIT_GB = 3.0
# A process counts the memory of the one that it was forked from, until it becomes another: so a small one starts ours.
START = """
import resource, subprocess, sys
with open(sys.argv[1], "w") as said:
    code = subprocess.run(sys.argv[2:], stdout=said, stderr=said).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def run(n: int = 1) -> list[dict[str, Any]]:
    """ru_maxrss of the process that screens, imports included."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = series_of(Path(scratch) / "series")
        environment = os.environ | {"HOUNSFIELD_HOME": f"{scratch}/home"}
        command = [sys.executable, "-m", "flows.cli", "screen", str(folder), "--direct", "--out", f"{scratch}/out"]
        said = Path(scratch) / "said"
        done = subprocess.run(
            [sys.executable, "-c", START, str(said), *command], env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(said.read_text())
        peak = int(done.stdout) * 1024 / 1e9
    note = f"peak {peak:.2f} GB ({'reached' if peak <= LIMIT_GB else 'NOT reached'}), imports included"
    what = f"peak memory, {SLICES} slices, `screen --direct`"
    return [{"what": what, "ours_s": None, "theirs_s": None, "ratio": None, "reach": "<= 3 GB", "n": n, "note": note}]


if __name__ == "__main__":
    print(run())
