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


def run(n: int = 1) -> list[dict[str, Any]]:
    """ru_maxrss of the child, imports included."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = series_of(Path(scratch) / "series")
        environment = os.environ | {"HOUNSFIELD_HOME": f"{scratch}/home"}
        command = [sys.executable, "-m", "flows.cli", "screen", str(folder), "--direct", "--out", f"{scratch}/out"]
        with Path(f"{scratch}/said").open("w+") as said:
            child = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
            _, child.returncode, used = os.wait4(child.pid, 0)  # of this child alone: other benchmarks had children too
            if child.returncode:
                said.seek(0)
                raise RuntimeError(said.read())
        peak = used.ru_maxrss * 1024 / 1e9
    note = f"peak {peak:.2f} GB ({'reached' if peak <= LIMIT_GB else 'NOT reached'}), imports included"
    what = f"peak memory, {SLICES} slices, `screen --direct`"
    return [{"what": what, "ours_s": None, "theirs_s": None, "ratio": None, "reach": "<= 3 GB", "n": n, "note": note}]


if __name__ == "__main__":
    print(run())
